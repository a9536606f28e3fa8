/* infotext.c: the text `parameters` of a picture, read back as the AUTOMATIC1111 web interface reads it, whoever wrote it:
 *
 *     lines of the prompt
 *     Negative prompt: lines of the negative prompt, from such a line on
 *     Steps: 20, Sampler: Euler a, Size: 512x768, Lora hashes: "a: 1, b: 2"
 *
 * The last line has the fields, if there are three of them or more; else it is one more line of the text. A key is letters,
 * digits, spaces, _ - and /; a value a JSON text in quotes, or what stands up to the next comma. One of the form 512x768
 * becomes two, Size-1 and Size-2; an empty one is left out. Used by sdapi_lists.c. */
#include <stdlib.h>
#include <string.h>

#include "cli/serve/sdapi.h"

typedef struct field { const char *key, *value; size_t key_bytes, bytes; } field;
enum { FIELDS = 3 };                                           /* fewer make no line of fields                         */
static const char spaces[] = " \t\r\n\f\v", digits[] = "0123456789";

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || (c & 0x80);
}

/* Behind the text in quotes that p begins with; NULL: it has no end, or nothing in it. */
static const char *quoted_end(const char *p)
{
    const char *q = p + 1;
    while (*q && *q != '"')
        q += *q == '\\' && q[1] ? 2 : 1;
    return *q && q > p + 1 ? q + 1 : NULL;
}

/* The next field of a line, which moves behind it; what is none is passed over. */
static bool next_field(const char **line, field *out)
{
    for (const char *p = *line, *end; *p; p = end + (*end != 0)) {
        const char *key = NULL;
        for (end = p; is_letter(*end) || (*end && strchr(" -/", *end)); end++)
            key = !key && is_letter(*end) ? end : key;
        if (*end != ':' || !key || end - key < 2)
            continue;
        const char *value = end + 1 + strspn(end + 1, spaces), *behind = *value == '"' ? quoted_end(value) : NULL;
        if (!behind || (*behind && *behind != ','))
            behind = value + strcspn(value, ",");
        *out = (field){ key, value, (size_t)(end - key), (size_t)(behind - value) };
        *line = behind + (*behind != 0);
        return true;
    }
    return false;
}

static void put_field(json_t *out, const field *f, const char *ending, const char *value, size_t bytes)
{
    json_t *text = *value == '"' && bytes > 1 ? json_loadb(value, bytes, JSON_DECODE_ANY, NULL) : NULL;
    json_t *key = json_sprintf("%.*s%s", (int)f->key_bytes, f->key, ending);
    json_object_set_new(out, json_string_value(key), text ? text : json_stringn(value, bytes));
    json_decref(key);
}

static void put_fields(json_t *out, const char *line)
{
    for (field f; next_field(&line, &f); ) {
        size_t width = strspn(f.value, digits), height = f.value[width] == 'x' ? strspn(f.value + width + 1, digits) : 0;
        if (width && height && width + 1 + height == f.bytes) {
            put_field(out, &f, "-1", f.value, width);
            put_field(out, &f, "-2", f.value + width + 1, height);
        } else if (f.bytes) {
            put_field(out, &f, "", f.value, f.bytes);
        }
    }
}

/* The part of [p, end) without spaces around it. */
static const char *trim(const char *p, const char **end)
{
    while (p < *end && strchr(spaces, *p))
        p++;
    while (*end > p && strchr(spaces, (*end)[-1]))
        --*end;
    return p;
}

static bool has_fields(const char *line)
{
    field f;
    int n = 0;
    while (n < FIELDS && next_field(&line, &f))
        n++;
    return n == FIELDS;
}

/* Lines of the prompt and, from one that says so on, of the negative prompt; each text has room for all of them. */
static void part_texts(const char *p, const char *stop, char *text[2])
{
    static const char mark[] = "Negative prompt:";
    size_t n[2] = { 0, 0 };
    int which = 0;
    for (const char *end, *next; p < stop; p = next) {
        const char *line_end = memchr(p, '\n', (size_t)(stop - p));
        next = line_end ? line_end + 1 : stop;
        end = line_end ? line_end : stop;
        p = trim(p, &end);
        if ((size_t)(end - p) >= sizeof mark - 1 && !memcmp(p, mark, sizeof mark - 1)) {
            which = 1;
            p = trim(p + sizeof mark - 1, &end);
        }
        if (n[which])
            text[which][n[which]++] = '\n';
        memcpy(text[which] + n[which], p, (size_t)(end - p));
        n[which] += (size_t)(end - p);
    }
    text[0][n[0]] = text[1][n[1]] = '\0';
}

json_t *infotext_json(const char *info)
{
    const char *end = info + strlen(info), *from = trim(info, &end);
    size_t bytes = (size_t)(end - from) + 1;
    char *all = strndup(from, bytes - 1), *text[2] = { malloc(bytes), malloc(bytes) };
    json_t *out = all && text[0] && text[1] ? json_object() : NULL;
    if (out) {
        char *line = strrchr(all, '\n'), *last = line ? line + 1 : all;
        bool fields = has_fields(last);
        part_texts(all, fields ? last : all + bytes - 1, text);
        if (fields)
            put_fields(out, last);
        json_object_set_new(out, "Prompt", json_string(text[0]));
        json_object_set_new(out, "Negative prompt", json_string(text[1]));
    }
    free(all);
    free(text[0]);
    free(text[1]);
    return out;
}
