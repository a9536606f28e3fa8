/* fields.h: the members of a struct by name, each with its type and what it may be. One table reads them from JSON, writes
 * them as JSON and checks a struct that a caller filled; the command line makes its options of the same table. Used by
 * train/train_config.c and by cli/options.c. */
#ifndef IM_FIELDS_H
#define IM_FIELDS_H

#include "data/files/json.h"

typedef struct im_range {                                      /* of numbers; both ends belong to it                  */
    double min, max;
    bool below;                                                /* max itself does not                                 */
    bool has_unset; double unset;                              /* one more number, which stands for "not said"        */
} im_range;

typedef enum { IM_FIELD_TEXT, IM_FIELD_INT, IM_FIELD_REAL, IM_FIELD_FLAG, IM_FIELD_SEED } im_field_kind;

enum im_field_flags {
    IM_DECIDES = 1,                                            /* another value gives another result                  */
    IM_PATH = 2,                                               /* a file or folder: written as an absolute path       */
    IM_MUST_BE = 4                                             /* a text that is never NULL                           */
};

typedef struct im_field {
    const char *name;                                          /* the option's, and the key's; NULL ends a table      */
    im_field_kind kind;                                        /* const char *, int, float, bool, uint64_t            */
    size_t at;                                                 /* offset in the struct                                */
    unsigned flags;
    im_range range;                                            /* INT, REAL                                           */
    const char *words;                                         /* TEXT: "sgd|adamw|lars"; NULL: any text              */
} im_field;

/* Rows of a table: name, offset, flags, range or words. im_range is given as { 1, 100 }. */
#define IM_TEXT_FIELD(n, o, f)            { .name = n, .kind = IM_FIELD_TEXT, .at = o, .flags = f }
#define IM_WORD_FIELD(n, o, f, w) \
    { .name = n, .kind = IM_FIELD_TEXT, .at = o, .flags = (f) | IM_MUST_BE, .words = w }
#define IM_INT_FIELD(n, o, f, ...)        { .name = n, .kind = IM_FIELD_INT, .at = o, .flags = f, .range = __VA_ARGS__ }
#define IM_REAL_FIELD(n, o, f, ...)       { .name = n, .kind = IM_FIELD_REAL, .at = o, .flags = f, .range = __VA_ARGS__ }
#define IM_FLAG_FIELD(n, o, f)            { .name = n, .kind = IM_FIELD_FLAG, .at = o, .flags = f }
#define IM_SEED_FIELD(n, o, f)            { .name = n, .kind = IM_FIELD_SEED, .at = o, .flags = f }
#define IM_NO_FIELD                       { .name = NULL }

#define IM_RANGE_LARGE 1e9                                     /* a limit that nobody meets is not worth naming       */
bool im_range_has(const im_range *r, double x);                /* false for NaN                                       */
/* "a whole number from 1 to 100", "a number of 0 or more and below 1, or -1" */
const char *im_range_text(const im_range *r, bool whole, char *out, size_t size);
/* What a field may be, for errors: "one of a|b", "a text in quotes, or null". */
const char *im_field_wanted(const im_field *f, char *out, size_t size);
bool im_words_have(const char *words, const char *word);       /* "a|b" has "b"                                       */

/* The field's value out of j, if j has its key: null, another type, or a value that the field may not be is an error. Texts
 * are borrowed of j. */
bool im_field_read(im_ctx *c, const im_json *j, const im_field *f, void *args);
/* The same of a value in a struct: fails and names the option ("--lr is -1; wanted ..."). */
bool im_fields_check(im_ctx *c, const im_field *const tables[], const void *args);         /* tables up to NULL      */

/* The value as JSON: a real as its shortest decimal, a seed as digits in quotes (64 bits are no number of JSON). NULL with
 * an error where a text is not UTF-8. */
struct json_t *im_field_json(im_ctx *c, const im_field *f, const void *args);

/* Digits, up to 2^64 - 1; NULL is none. */
bool im_seed_of_text(const char *text, uint64_t *out);

/* Shortest decimal that is this float, as a double: 0.1f is 0.1, not 0.10000000149. */
double im_decimal(float x);

#endif
