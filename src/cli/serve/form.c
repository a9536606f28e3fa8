/* form.c: forms of several parts as if they were JSON: what OpenAI's clients send where a picture goes along. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cli/serve/ask.h"

typedef struct form {
    json_t *object;
    const asked_key *keys;
    char *key;                                                 /* of the field that is being read                      */
    bool file;
    char *bytes; size_t n;
    bool failed;
} form;

bool is_form(const visit *v)
{
    const char *type = MHD_lookup_connection_value(v->connection, MHD_HEADER_KIND, "Content-Type");
    return type && !strncasecmp(type, "multipart/form-data", 19);  /* curl calls any body of -d urlencoded             */
}

/* "20" of a field that is a number, "true" of one that is a flag; else a text */
static json_t *value_of(const form *f)
{
    const asked_key *k = f->keys;
    while (k->name && strcmp(k->name, f->key) != 0)
        k++;
    bool number = k->name && (k->kind == KEY_INT || k->kind == KEY_REAL || k->kind == KEY_SEED || k->kind == KEY_NEUTRAL);
    bool json = number || (k->name && (k->kind == KEY_FLAG || k->kind == KEY_SWITCH || k->kind == KEY_JSON));
    json_t *j = json && f->n ? json_loadb(f->bytes, f->n, JSON_DECODE_ANY, NULL) : NULL;
    return j ? j : json_stringn(f->bytes ? f->bytes : "", f->n);
}

/* "image[]" and a name that comes again make a list. */
static void end_field(form *f)
{
    if (!f->key)
        return;
    size_t n = strlen(f->key);
    bool list = n > 2 && !strcmp(f->key + n - 2, "[]");
    if (list)
        f->key[n - 2] = '\0';
    json_t *value = f->file ? base64_json((const uint8_t *)f->bytes, f->n) : value_of(f);
    json_t *before = json_object_get(f->object, f->key);
    if (!value)
        f->failed = true;
    else if (json_is_array(before))
        json_array_append_new(before, value);
    else if (before || list)
        json_object_set_new(f->object, f->key, before ? json_pack("[O,o]", before, value) : json_pack("[o]", value));
    else
        json_object_set_new(f->object, f->key, value);
    free(f->key);
    free(f->bytes);
    f->key = f->bytes = NULL;
    f->n = 0;
}

static enum MHD_Result on_field(void *arg, enum MHD_ValueKind kind, const char *key, const char *filename, const char *type,
                                const char *encoding, const char *data, uint64_t at, size_t n)
{
    form *f = arg;
    (void)kind;
    (void)type;
    (void)encoding;
    if (!at) {
        end_field(f);
        f->key = key ? strdup(key) : NULL;
        f->file = filename != NULL;
    }
    char *bytes = f->key ? realloc(f->bytes, f->n + n + 1) : NULL;
    if (!bytes)
        return MHD_NO;
    memcpy(bytes + f->n, data, n);
    f->bytes = bytes;
    f->n += n;
    return MHD_YES;
}

bool ask_form(visit *v, const asked_key *keys, trouble *t)
{
    form f = { .object = json_object(), .keys = keys };
    struct MHD_PostProcessor *p = MHD_create_post_processor(v->connection, 64 << 10, on_field, &f);
    bool ok = p && v->bytes && MHD_post_process(p, v->body, v->bytes) == MHD_YES;
    if (p && MHD_destroy_post_processor(p) != MHD_YES)
        ok = false;
    end_field(&f);
    v->asked = f.object;
    return (ok && f.object && !f.failed) ||
           trouble_is(t, 422, NULL, "the form is cut short, or damaged");
}
