/* base64.c: base64 (RFC 4648, section 4): pictures in JSON. */
#include <stdlib.h>
#include <string.h>

#include "cli/serve/http.h"

static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

char *base64_of(const uint8_t *p, size_t n, size_t *length)
{
    size_t size = (n + 2) / 3 * 4;
    char *out = malloc(size + 1), *to = out;
    for (size_t i = 0; out && i < n; i += 3) {
        size_t left = n - i;
        uint32_t v = (uint32_t)p[i] << 16 | (uint32_t)(left > 1 ? p[i + 1] : 0) << 8 | (left > 2 ? p[i + 2] : 0);
        *to++ = letters[v >> 18];
        *to++ = letters[v >> 12 & 63];
        *to++ = left > 1 ? letters[v >> 6 & 63] : '=';
        *to++ = left > 2 ? letters[v & 63] : '=';
    }
    if (out)
        *to = '\0';
    if (length)
        *length = size;
    return out;
}

json_t *base64_json(const uint8_t *bytes, size_t n)
{
    size_t length;
    char *text = base64_of(bytes, n, &length);
    json_t *j = text ? json_stringn_nocheck(text, length) : NULL;
    free(text);
    return j;
}

static int value_of(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' || c == '-' ? 62 : c == '/' || c == '_' ? 63 : -1;
}

/* data:image/png;base64,... */
static bool skip_data_url(const char **text, size_t *length)
{
    if (*length < 5 || strncmp(*text, "data:", 5))
        return true;
    const char *comma = memchr(*text, ',', *length);
    static const char mark[] = ";base64";
    if (!comma || (size_t)(comma - *text) < sizeof mark - 1 || strncmp(comma - (sizeof mark - 1), mark, sizeof mark - 1))
        return false;
    *length -= (size_t)(comma + 1 - *text);
    *text = comma + 1;
    return true;
}

uint8_t *base64_read(const char *text, size_t length, size_t *bytes)
{
    uint8_t *out = skip_data_url(&text, &length) ? malloc(length / 4 * 3 + 4) : NULL;
    uint32_t bits = 0;
    int held = 0;
    size_t n = 0, digits = 0, i = 0;
    for (; out && i < length && text[i] != '='; i++) {
        if (text[i] == '\n' || text[i] == '\r')
            continue;
        int v = value_of(text[i]);
        if (v < 0)
            break;
        bits = bits << 6 | (uint32_t)v;
        held += 6;
        digits++;
        if (held >= 8)
            out[n++] = (uint8_t)(bits >> (held -= 8));
    }
    size_t padding = 0;
    for (; out && i < length && (text[i] == '=' || text[i] == '\n' || text[i] == '\r'); i++)
        padding += text[i] == '=';
    if (out && i == length && digits % 4 != 1 && padding <= 2 && n) {
        *bytes = n;
        return out;
    }
    free(out);
    return NULL;
}
