/* bpe.h: byte-pair encoding (Sennrich, Haddow, Birch 2016, "Neural machine translation of rare words with subword
 * units") as CLIP uses it: the pieces (vocabulary) with their ids, and the merges, the pairs of pieces that become one.
 * Bytes of the text are written as 256 printable characters (Radford et al. 2019, GPT-2); the last character of a word
 * carries "</w>". Used by tokenizer.c only. */
#ifndef IM_BPE_H
#define IM_BPE_H

#include "data/files/json.h"
#include "data/files/names.h"
#include "imago.h"

enum { IM_TOKENIZER_BYTES = 256 << 20 };                       /* limit of its files; CLIP's have 1 and 4 MB          */

typedef struct im_merge { uint64_t pair; int32_t rank, result; } im_merge;         /* pair: left id << 32 | right id  */

typedef struct im_bpe {
    char **pieces; int n;                                      /* by id; NULL where an id is not used                 */
    im_names ids;                                              /* piece -> id                                         */
    im_merge *merges; size_t cap, n_merges;                    /* hash table, cap a power of two; rank -1: free slot  */
    char alphabet[256][3];                                     /* byte -> its character, UTF-8                        */
} im_bpe;

/* bpe_load.c: from vocab.json and merges.txt; from an open tokenizer.json. After an error b still needs im_bpe_free. */
bool im_bpe_load(im_ctx *c, im_bpe *b, const char *vocab_path, const char *merges_path);
bool im_bpe_read_json(im_ctx *c, im_bpe *b, const im_json *j);
/* Pieces that follow from the merges: the alphabet, the alphabet with "</w>", one a merge, then `last[n_last]`. */
bool im_bpe_derive(im_ctx *c, im_bpe *b, const char *name, const char *merges, size_t bytes, const char *const last[],
                   int n_last);
/* False with an error where a piece of several characters comes from no merge, is no special token (special, b->n) and does
 * not look like one: then merges were cut off or belong to another vocabulary. file: where the merges were read. */
bool im_bpe_check_made(im_ctx *c, const im_bpe *b, const char *file, const bool *special);
void im_bpe_free(im_bpe *b);
im_merge *im_bpe_merge(const im_bpe *b, int32_t left, int32_t right);               /* its place; rank -1: no merge   */

/* Growing list of ids. */
typedef struct im_ids { int32_t *v; size_t n, cap; } im_ids;
bool im_ids_add(im_ctx *c, im_ids *ids, int32_t id);

/* Adds the ids of one word (bytes of normalised text) to out; characters without an id become `unknown`. */
bool im_bpe_word(im_ctx *c, const im_bpe *b, const char *word, size_t bytes, int32_t unknown, im_ids *out);

#endif
