/* fuzz_vocabulary.c: any bytes as a tokenizer's folder. The input is cut at bytes 0xff into vocab.json, merges.txt,
 * tokenizer_config.json, tokenizer.json, special_tokens_map.json and added_tokens.json; a missing or empty part is a
 * missing file. What opens must tokenize. */
#define _GNU_SOURCE                                            /* memfd_create */
#include "fuzz.h"

#include <errno.h>
#include <sys/stat.h>

static const char *const names[] = { "vocab.json", "merges.txt", "tokenizer_config.json", "tokenizer.json",
                                     "special_tokens_map.json", "added_tokens.json" };
enum { NAMES = sizeof names / sizeof *names };

static char folder[100];

static void remove_folder(void) { rmdir(folder); }

static void write_part(const char *name, const uint8_t *data, size_t size)
{
    char path[200];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    unlink(path);
    if (!size) return;
    FILE *f = fopen(path, "wb");
    must(f && fwrite(data, 1, size, f) == size && !fclose(f));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!*folder) {
        snprintf(folder, sizeof folder, "%s/imago-fuzz-%ld", access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm",
                 (long)getpid());
        must(!mkdir(folder, 0700) || errno == EEXIST);
        atexit(remove_folder);
    }
    for (int i = 0; i < NAMES; i++) {
        const uint8_t *end = size ? memchr(data, 0xff, size) : NULL;
        size_t n = end ? (size_t)(end - data) : size;
        write_part(names[i], data, n);
        data += n + (end != NULL);
        size -= n + (end != NULL);
    }
    im_ctx *c = im_ctx_new("ref", 1);
    im_tokenizer *t = im_tokenizer_open(c, folder);
    check_error(c, t != NULL);
    int32_t ids[8];
    char *cut = NULL;
    if (t) must(im_tokenize(c, t, "A cat's <|endoftext|> 12 <b> ab\xc3\xa9!", 8, ids, &cut));
    for (int i = 0; t && i < 8; i++)
        must(ids[i] >= 0 && ids[i] < im_tokenizer_size(t) && im_token_piece(t, ids[i]) != NULL);
    free(cut);
    im_tokenizer_free(t);
    im_ctx_free(c);
    for (int i = 0; i < NAMES; i++) write_part(names[i], NULL, 0);
    return 0;
}
