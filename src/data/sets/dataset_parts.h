/* dataset_parts.h: what dataset*.c and shards.c share: a set while it is being gathered. Nobody else includes it. */
#ifndef IM_DATASET_PARTS_H
#define IM_DATASET_PARTS_H

#include "data/sets/dataset.h"

enum {
    IM_SET_TEXT_BYTES = 1 << 20,                               /* limit of a .cls or .txt in a shard                  */
    IM_SET_JSON_BYTES = 64 << 20,                              /* of a .json: EXIF as text may be megabytes           */
    IM_SET_LIST_BYTES = 1 << 30,                               /* of metadata.jsonl; 1.3 M pictures need about 200 MB */
    IM_SET_MAX_CLASSES = 1 << 20                               /* numbers as labels: the classes are 0 to the largest */
};

/* Texts that live as long as the set: blocks that are filled and never moved. */
typedef struct im_texts im_texts;
im_texts *im_texts_new(im_ctx *c);
const char *im_texts_add(im_ctx *c, im_texts *t, const char *text, size_t bytes);
void im_texts_free(im_texts *t);

typedef struct im_gather {                                     /* a set being gathered                                */
    im_ctx *c;
    im_dataset *d;
    const im_dataset_args *args;
    const char **labels;                                       /* a sample's class as text, NULL: none; like samples  */
    int64_t cap, cap_broken;
    int64_t n_odd; const char *odd;                            /* JSON that is not understood: how often, the first   */
    int64_t n_foreign; const char *foreign;                    /* texts that are not UTF-8: how often, the first      */
} im_gather;

/* One sample more; label may be NULL. s.name and s.caption are texts of the set. */
bool im_gather_add(im_gather *g, im_sample s, const char *label);
/* One broken file more; name is a text of the set, reason is copied. */
bool im_gather_broken(im_gather *g, const char *name, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* dataset_folders.c. Both fill g->d from folders; the first knows the labels. */
bool im_gather_class_folders(im_gather *g);
bool im_gather_flat(im_gather *g);

typedef struct im_listing { const char **names; int64_t n; } im_listing;
/* What is in a folder, "." and names that begin with a dot left out, sorted as bytes. files, folders: by kind (links are
 * followed). Names are texts of the set; the arrays are the caller's. */
bool im_list_folder(im_gather *g, const char *path, im_listing *files, im_listing *folders);
bool im_named_as_read(const char *name);                       /* ends in .jpg, .jpeg, .png, or another name of these */
bool im_named_as_other(const char *name);                      /* in .webp, .gif ...: a picture that is not read, but */
                                                               /* named as broken                                     */
bool im_named_as_picture(const char *name);                    /* one of both                                         */
bool im_named_as_shard(const char *name);                      /* ends in .tar, or .tar.gz and the like, which is     */
                                                               /* refused by name: it has no offsets to read at       */
void im_sort_names(const char **names, int64_t n, bool numbers_too);

/* dataset_labels.c */
bool im_read_class_list(im_gather *g);                         /* args->classes into d->classes                       */
bool im_resolve_labels(im_gather *g);                          /* g->labels into samples[].label and d->classes       */
/* Within the text of a .cls: without blanks before it, and without the plus of a number; -0 is 0. */
const char *im_class_text(const char *text);
bool im_is_whole(const char *text);                            /* digits, and one at least                            */
/* "a, b, c" of what fits into a message, "and 12 more" behind it. */
void im_name_all(char *out, size_t size, const char *const names[], int64_t n);

/* dataset_metadata.c */
bool im_gather_metadata(im_gather *g);                         /* metadata.jsonl, else metadata.csv                   */
bool im_listed_shards_are_there(im_gather *g);                 /* in metadata.jsonl of a folder of shards             */
/* The text and label of a JSON object: "text", "caption" or "prompt"; "label", a text or a number, or "class". `where`
 * begins errors. Where file_name is asked for, what is not a JSON object is an error; else it is ignored, and counted. */
bool im_caption_json(im_gather *g, const char *where, const char *text, size_t bytes, const char **file_name,
                     const char **caption, const char **label);

void im_warn_of_odd_texts(im_gather *g);                       /* once a set: how many of them, and the first         */

/* dataset_csv.c. add: a file that is listed, with its caption and class, NULL: none; texts are not those of the set. */
#define IM_SET_CSV "metadata.csv"
typedef bool (*im_listed_fn)(void *arg, const char *where, const char *name, const char *caption, const char *label);
bool im_is_metadata_csv(im_gather *g);                         /* does its first line name files? Others have such a  */
                                                               /* file, too, of quite another kind                    */
bool im_gather_csv(im_gather *g, const char *path, char *text, size_t bytes, im_listed_fn add, void *arg);

/* shards.c, shard_names.c */
bool im_gather_shards(im_gather *g, const char *const paths[], int64_t n);
bool im_gather_shard(im_gather *g, const char *path, int shard);                    /* the index of one               */
bool im_shard_paths(im_gather *g, const char *pattern, im_listing *out);            /* braces and globs               */

#endif
