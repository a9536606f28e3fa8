/* json.h: reading JSON (RFC 8259) through jansson, with errors that name file, key, what was found and what was wanted.
 * What only Python's json.dump writes (NaN, Infinity, numbers of any size, half of a surrogate pair, a zero character) is
 * no reason to refuse a file: it is refused where it is asked for and does not fit.
 *
 * Used for config.json, scheduler_config.json, tokenizer files, index files and JSON lines of prompts. A key given
 * twice is an error. Getters: an absent key and null are the same; IM_MUST makes that an error, with IM_MAY the output
 * keeps the value it had (set the default first). IM_IF_THERE: an absent key is as with IM_MAY, null is an error: for files
 * that imago wrote itself. All return false after an error, at once when c has failed before. */
#ifndef IM_JSON_H
#define IM_JSON_H

#include "imago.h"

struct json_t;
typedef struct im_json {                                       /* a JSON object                                       */
    char *file;                                                /* the name that errors begin with                     */
    struct json_t *value;
} im_json;

typedef enum { IM_MAY, IM_MUST, IM_IF_THERE } im_need;
enum { IM_JSON_CONFIG_BYTES = 16 << 20 };                      /* far above any configuration file                    */

bool im_json_load(im_ctx *c, im_json *j, const char *path, size_t max_bytes);       /* the file holds one object      */
bool im_json_parse(im_ctx *c, im_json *j, const char *name, const char *text, size_t bytes);
/* A copy of text that is as RFC 8259 has it where only Python's was in the way, malloc'd; text[bytes] is zero. digits:
 * whole numbers beyond 64 bits become texts that keep all of their digits. */
char *im_json_from_python(im_ctx *c, const char *text, size_t bytes, bool digits);
void im_json_close(im_json *j);                                /* not for what im_json_object returned; {0} is fine   */

bool im_json_has(const im_json *j, const char *key);           /* present and not null                                */
bool im_json_int(im_ctx *c, const im_json *j, const char *key, im_need need, int min, int max, int *out);
bool im_json_long(im_ctx *c, const im_json *j, const char *key, im_need need, int64_t min, int64_t max, int64_t *out);
bool im_json_float(im_ctx *c, const im_json *j, const char *key, im_need need, double min, double max, double *out);
bool im_json_bool(im_ctx *c, const im_json *j, const char *key, im_need need, bool *out);
bool im_json_flag(im_ctx *c, const im_json *j, const char *key, bool *out);         /* IM_MAY, null is false (Python) */
bool im_json_string(im_ctx *c, const im_json *j, const char *key, im_need need, const char **out);  /* borrowed of j */
bool im_json_object(im_ctx *c, const im_json *j, const char *key, im_need need, im_json *out);      /* borrowed of j */
/* Fails: FILE: "key" is what was found; wanted `wanted`. */
bool im_json_wrong(im_ctx *c, const im_json *j, const char *key, const char *wanted);

/* Lists. im_json_length: number of elements, 0 when absent and IM_MAY, -1 after an error. The others fill out[n]: a
 * list must have n elements, a single value is given to all of them. */
int im_json_length(im_ctx *c, const im_json *j, const char *key, im_need need, int min, int max);
bool im_json_ints(im_ctx *c, const im_json *j, const char *key, im_need need, int min, int max, int out[], int n);
bool im_json_floats(im_ctx *c, const im_json *j, const char *key, im_need need, double min, double max, double out[],
                    int n);
bool im_json_bools(im_ctx *c, const im_json *j, const char *key, im_need need, bool out[], int n);
bool im_json_strings(im_ctx *c, const im_json *j, const char *key, im_need need, const char *out[], int n);

#endif
