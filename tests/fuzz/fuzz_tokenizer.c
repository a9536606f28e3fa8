/* fuzz_tokenizer.c: any text as a prompt, with the built-in vocabulary: no UTF-8 is an error; else ids are in range,
 * the ends are where they belong, and what was cut off is UTF-8 again. */
#define _GNU_SOURCE                                            /* memfd_create */
#include "fuzz.h"

#include "data/files/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static im_ctx *c;
    static im_tokenizer *t;
    if (!c) must((c = im_ctx_new("ref", 1)) && (t = im_tokenizer_open(c, NULL)));
    if (!size) return 0;
    int length = 2 + data[0] % 80;
    char *text = malloc(size), *cut = NULL;
    memcpy(text, data + 1, size - 1);
    text[size - 1] = 0;
    int32_t ids[82];
    bool ok = im_tokenize(c, t, text, length, ids, &cut);
    check_error(c, ok);
    im_clear_error(c);
    must(ok == im_utf8_check(c, "text", text, strlen(text)));
    im_clear_error(c);
    for (int i = 0; ok && i < length; i++) must(im_token_piece(t, ids[i]) != NULL);
    if (ok) must(ids[0] == 49406 && ids[length - 1] == 49407);
    if (cut) must(ids[length - 2] != 49407 || length == 2 || strstr(text, "<|endoftext|>"));
    free(cut);
    free(text);
    return 0;
}
