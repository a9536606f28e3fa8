/* side_json.h: a few values out of an object of JSON that some other program wrote and of which we want nothing else.
 *
 * Read as Python's json.loads reads it, and a little further: NaN, Infinity, -Infinity; whole numbers of any length; of a
 * key that comes twice the last; half of a surrogate pair and "\u0000" (both become U+FFFD) and control characters in
 * texts; a byte order mark. What stands between the keys that are asked for is passed over without being kept, megabytes of
 * it, UTF-8 or not. For what imago needs itself, configurations and runs, json.h is strict.
 * Used by dataset_metadata.c for .json members of shards and lines of metadata.jsonl. */
#ifndef IM_SIDE_JSON_H
#define IM_SIDE_JSON_H

#include "imago.h"

typedef enum {
    IM_SIDE_NONE,                                              /* absent, or null                                     */
    IM_SIDE_TEXT, IM_SIDE_WHOLE,                               /* text: what it says; the digits of a whole number    */
    IM_SIDE_OTHER                                              /* text: the first bytes as they stand: NaN, [1, ; also */
                                                               /* of a text that is not UTF-8                          */
} im_side_kind;

typedef struct im_side_field {
    const char *key;                                           /* set by the caller                                   */
    im_side_kind kind;
    char *text;                                                /* malloc'd; NULL with IM_SIDE_NONE                    */
} im_side_field;

/* False: it is not a JSON object, and *at is the byte where that shows; or memory was short, with an error in c. The fields
 * are always to be freed. */
bool im_side_json(im_ctx *c, const char *text, size_t bytes, im_side_field fields[], int n, size_t *at);
void im_side_free(im_side_field fields[], int n);

#endif
