/* measure.c: see measure.h. Used by cmd_eval.c, cmd_analyze.c, cmd_transfer.c, cmd_compare.c. */
#include "cli/measure.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void measure_progress(void *arg, int64_t done, int64_t total)
{
    (void)arg;
    fprintf(stderr, "\r%lld/%lld\033[K", (long long)done, (long long)total);
    if (done == total)
        fputs("\r\033[K", stderr);
}

json_t *measure_seen(int size, bool whole)
{
    return json_pack("{s:i, s:i, s:s, s:[f,f,f], s:[f,f,f]}", "size", size, "resize", whole ? size : size * 8 / 7, "filter",
                     whole ? "bicubic" : "bilinear", "mean", 0.485, 0.456, 0.406, "std", 0.229, 0.224, 0.225);
}

json_t *measure_clip(int size, const char *form)
{
    return json_pack("{s:i, s:i, s:s, s:s, s:s}", "size", size, "resize", size, "filter", "bicubic", "colours",
                     "preprocessor_config.json, or CLIP's own", "template", form);
}

json_t *measure_number(double x)
{
    return isnan(x) ? json_null() : json_real(x);
}

void measure_word(FILE *f, const char *word)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=:,./@%";
    if (*word && !word[strspn(word, plain)]) {
        fputs(word, f);
        return;
    }
    fputc('\'', f);
    for (; *word; word++)
        if (*word == '\'')
            fputs("'\\''", f);
        else
            fputc(*word, f);
    fputc('\'', f);
}

char *measure_command(const arguments *a)
{
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    if (!f)
        return NULL;
    fputs("imago", f);
    for (int i = 1; i < a->argc; i++) {
        fputc(' ', f);
        measure_word(f, a->argv[i]);
    }
    if (!fclose(f))
        return text;
    free(text);
    return NULL;
}

void measure_print(json_t *root, const arguments *a)
{
    json_object_set_new(root, "verb", json_string(a->verb->name));
    char *command = measure_command(a);
    json_t *said = command ? json_string(command) : NULL;      /* NULL: bytes that are no UTF-8                        */
    json_object_set_new(root, "command", said ? said : json_null());
    free(command);
    json_dumpf(root, stdout, JSON_INDENT(1));
    putchar('\n');
    json_decref(root);
}
