/* dataset.h: a set of pictures on disk: what there is, its classes and captions, and a way to the bytes of each.
 *
 * Four forms, told apart by what is found at the path:
 *   class folders   DIR/CLASS/x.jpg        torchvision's ImageFolder, with all folders in CLASS; label: rank of CLASS
 *   one folder      DIR/x.jpg              no labels
 *   metadata        DIR/metadata.jsonl     Hugging Face's imagefolder: {"file_name": ..., "text": ..., "label": ...} a
 *                                          line; "prompt" and "class", as `imago synth` writes them, do as well;
 *                                          or DIR/metadata.csv with columns of these names
 *   tar shards      X.tar, a folder of .tar, or a pattern such as "x-{000..012}.tar" or "x-*.tar"   (WebDataset): entries
 *                   that follow each other under one key are a sample: KEY.jpg|jpeg|png, KEY.cls, KEY.txt, KEY.json.
 *                   Shards go before a metadata.jsonl beside them
 * Files end in .jpg, .jpeg or .png (any case), or .jfif, .jpe, .apng, which are other names of these; names that begin with
 * a dot do not count; pictures in other formats (.webp, .gif, .ppm, .heic ...) are listed as broken, with what they are.
 * Classes are sorted as bytes; when all are whole numbers, as numbers (ImageNet-V2). Samples are sorted within a class,
 * folder by folder, as bytes, or stand as they are listed.
 * A picture is recognised by its first bytes when the set is opened; what is none is listed in `broken` and left out.
 * Used by loader.c, `imago data`, training and evaluation. */
#ifndef IM_DATASET_H
#define IM_DATASET_H

#include "imago.h"

typedef enum { IM_SET_CLASSES, IM_SET_FLAT, IM_SET_METADATA, IM_SET_SHARDS } im_set_kind;

typedef struct im_sample {
    const char *name;                                          /* below the set's path; in a shard SHARD.tar/KEY.jpg  */
    const char *caption;                                       /* NULL: none                                          */
    int32_t label;                                             /* -1: none                                            */
    int32_t shard;                                             /* -1: a file of its own                               */
    uint64_t offset, bytes;                                    /* where it lies in the shard; its size                */
    int64_t changed;                                           /* time of the last change of the file, ns             */
    int32_t root;                                              /* of a mix: which set it is of                        */
} im_sample;

typedef struct im_broken { const char *name, *reason; } im_broken;

typedef struct im_root { const char *folder; size_t skip; } im_root;    /* names below it begin with skip bytes more   */

typedef struct im_dataset {
    im_set_kind kind;
    const char *path;                                          /* as given                                            */
    const char *folder;                                        /* names of samples are below it; "" for shards        */
    im_root *roots;                                            /* of a mix: in its place; else NULL                   */
    int64_t count;
    im_sample *samples;
    int n_classes;                                             /* 0: no labels                                        */
    bool by_number;                                            /* folders sorted as numbers: as texts they stand      */
                                                               /* otherwise, "10" before "2"                          */
    const char **classes;
    int n_shards;
    const char **shards;                                       /* paths                                               */
    int64_t n_broken;
    im_broken *broken;                                         /* found when it was opened; left out of samples       */
    int64_t ignored;                                           /* files that are named like nothing that is read      */
    struct im_texts *texts;                                    /* owns every text                                     */
} im_dataset;

typedef struct im_dataset_args {
    const char *path;
    const char *classes;                                       /* NULL, or a file with a class a line: label = line   */
    int min_classes;                                           /* 0: labels may be absent; 2: one class is an error   */
    bool need_captions;                                        /* a sample without one is an error                    */
    bool strict;                                               /* anything broken is an error                         */
} im_dataset_args;

im_dataset *im_dataset_open(im_ctx *c, const im_dataset_args *a);
void im_dataset_free(im_dataset *d);

/* Several sets of the same classes as one (dataset_mix.c). mix: "real=DIR:0.25,synth=SET:0.75": of `budget` pictures a
 * quarter and three quarters, drawn by seed, from all classes in turn; or "real=DIR,synth=SET" with a budget of 0: all
 * pictures of both. Names of samples begin with "real/" and "synth/". args: all but the path. */
im_dataset *im_dataset_mix(im_ctx *c, const char *mix, int64_t budget, uint64_t seed, const im_dataset_args *args);
char *im_mix_whole(im_ctx *c, const char *mix);                /* its paths made absolute, malloc'd                   */

/* The bytes of a sample's file, malloc'd. Any thread, each with a context of its own. */
uint8_t *im_dataset_read(im_ctx *c, const im_dataset *d, int64_t index, size_t *bytes);

/* SHA-256 over names, sizes, labels, captions and classes, and with times over the times of change: the same set? */
bool im_dataset_hash(im_ctx *c, const im_dataset *d, bool times, char hex[65]);
const char *im_set_kind_name(im_set_kind k);                   /* "class folders", "tar shards" ...                   */

#endif
