/* lora_tags.c: see lora_tags.h. Used by models/pipelines/sd_lora.c. */
#include "data/text/lora_tags.h"

#include <stdlib.h>
#include <string.h>

#include "data/files/file.h"

static const char HEAD[] = "<lora:";

/* Bytes of the tag that s begins with, 0: none. */
static size_t tag_length(const char *s)
{
    if (strncmp(s, HEAD, strlen(HEAD))) return 0;
    size_t n = strcspn(s, ">");
    return s[n] ? n + 1 : 0;
}

/* A name is that of one file in one folder, whatever a prompt says. */
static bool is_name(const char *name)
{
    return *name && *name != '.' && !strpbrk(name, "/\\\n\r");
}

static bool read_tag(im_ctx *c, const char *tag, size_t bytes, im_lora_tag *out)
{
    size_t head = strlen(HEAD);
    char *name = im_copy_text(c, tag + head, bytes - head - 1);
    char *colon = name ? strchr(name, ':') : NULL, *end = NULL;
    double weight = 1;
    if (!name) return false;
    if (colon) *colon = '\0';
    *out = (im_lora_tag){ .name = name };
    if (colon) weight = strtod(colon + 1, &end);
    if (colon && end != colon + 1) end += strspn(end, " \t");
    if (!is_name(name))
        return im_fail(c, "%.*s: \"%s\" cannot be the name of a LoRA; wanted <lora:NAME:WEIGHT>, NAME as a file in the "
                          "folder of LoRAs is called, without its ending", (int)bytes, tag, name);
    if (colon && (end == colon + 1 || *end || !(weight >= -100 && weight <= 100)))
        return im_fail(c, "%.*s: the weight is \"%s\", wanted one number from -100 to 100: <lora:NAME:WEIGHT>", (int)bytes,
                       tag, colon + 1);
    out->weight = (float)weight;
    return true;
}

bool im_lora_tags_read(im_ctx *c, const char *prompt, im_lora_tags *out)
{
    size_t rest = strlen(prompt), used = 0, room = 0;
    *out = (im_lora_tags){ .text = im_copy_text(c, prompt, rest) };
    for (const char *s = strstr(prompt, HEAD); s; s = strstr(s + 1, HEAD)) room++;
    bool ok = out->text != NULL;
    if (ok && room && !(out->v = calloc(room, sizeof *out->v))) ok = im_fail(c, "out of memory for the LoRAs of a prompt");
    for (const char *s = prompt; ok && *s; ) {
        size_t n = tag_length(s);
        if (!n) {
            out->text[used++] = *s++;
            continue;
        }
        ok = read_tag(c, s, n, &out->v[out->n++]);
        s += n;
    }
    if (out->text) out->text[used] = '\0';
    if (!ok) im_lora_tags_free(out);
    return ok;
}

void im_lora_tags_free(im_lora_tags *t)
{
    for (int i = 0; i < t->n; i++) free(t->v[i].name);
    free(t->v);
    free(t->text);
    *t = (im_lora_tags){ 0 };
}

bool im_lora_tags_same(const im_lora_tags *a, const im_lora_tags *b)
{
    bool same = a->n == b->n;
    for (int i = 0; same && i < a->n; i++) same = a->v[i].weight == b->v[i].weight && !strcmp(a->v[i].name, b->v[i].name);
    return same;
}
