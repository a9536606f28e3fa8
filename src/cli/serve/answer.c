/* answer.c: answers: JSON, bytes, errors in the form that the route's clients know. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/serve/http.h"
#include "data/files/utf8.h"

/* The page brings all that it shows with it. */
static const char policy[] = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
                             "img-src data: blob:; connect-src 'self'; form-action 'none'; base-uri 'none'; "
                             "frame-ancestors 'none'";

enum MHD_Result answer_response(visit *v, int status, struct MHD_Response *r)
{
    if (!r)
        return MHD_NO;
    MHD_add_response_header(r, "X-Content-Type-Options", "nosniff");
    MHD_add_response_header(r, "Cache-Control", "no-store");
    MHD_add_response_header(r, "Content-Security-Policy", policy);
    if (status == 401)
        MHD_add_response_header(r, "WWW-Authenticate", guard_challenge(v->s));
    if (status == 429 || status == 503)
        MHD_add_response_header(r, "Retry-After", "2");
    if (status == 405)
        MHD_add_response_header(r, "Allow", v->allow);
    if (v->closes)
        MHD_add_response_header(r, "Connection", "close");
    enum MHD_Result ok = MHD_queue_response(v->connection, (unsigned)status, r);
    MHD_destroy_response(r);
    return ok;
}

static enum MHD_Result typed(visit *v, int status, const char *type, struct MHD_Response *r)
{
    if (r)
        MHD_add_response_header(r, "Content-Type", type);
    return answer_response(v, status, r);
}

enum MHD_Result answer_bytes(visit *v, int status, const char *type, void *bytes, size_t n)
{
    return typed(v, status, type, MHD_create_response_from_buffer(n, bytes, MHD_RESPMEM_MUST_FREE));
}

enum MHD_Result answer_static(visit *v, const char *type, const char *text, size_t n)
{
    return typed(v, 200, type, MHD_create_response_from_buffer(n, (void *)(uintptr_t)text, MHD_RESPMEM_PERSISTENT));
}

enum MHD_Result answer_json(visit *v, int status, json_t *j)
{
    char *text = j ? json_dumps(j, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(15)) : NULL;
    json_decref(j);
    return text ? answer_bytes(v, status, "application/json", text, strlen(text)) : MHD_NO;
}

json_t *seed_json(uint64_t seed)
{
    return seed <= INT64_MAX ? json_integer((json_int_t)seed) : json_sprintf("%llu", (unsigned long long)seed);
}

json_t *error_json(const char *message, int status, const char *code, const char *param)
{
    const char *type = status >= 500 ? "server_error" : status == 429 ? "rate_limit_error" :
                       status == 401 ? "authentication_error" : "invalid_request_error";
    return json_pack("{s:{s:s, s:s, s:s?, s:s?}}", "error", "message", message, "type", type, "param", param, "code", code);
}

/* {"detail": [{"loc": ["body", "steps"], "msg": ..., "type": ...}]} where the request is wrong in itself, else a text */
static json_t *detail_json(const char *message, int status, const char *code, const char *param)
{
    if (status != 422)
        return json_pack("{s:s}", "detail", message);
    json_t *place = json_pack("[s]", "body");
    if (param)
        json_array_append_new(place, json_string(param));
    return json_pack("{s:[{s:o, s:s, s:s}]}", "detail", "loc", place, "msg", message, "type", code ? code : "value_error");
}

/* JSON holds no bytes that are not UTF-8, nor parts of a character that was cut: they become question marks. */
static void clean(char *text)
{
    for (size_t n; *text; text += n) {
        for (n = 1; n < 4 && text[n] && !im_is_utf8(text, n); )
            n++;
        if (!im_is_utf8(text, n)) {
            *text = '?';
            n = 1;
        }
    }
}

enum MHD_Result answer_error(visit *v, int status, const char *code, const char *param, const char *fmt, ...)
{
    char message[1024], place[64];
    va_list args;
    va_start(args, fmt);
    vsnprintf(message, sizeof message, fmt, args);
    va_end(args);
    clean(message);
    if (param) {
        snprintf(place, sizeof place, "%s", param);
        clean(place);
        param = place;
    }
    return answer_json(v, status, v->form == SAYS_ERROR ? error_json(message, status, code, param)
                                                        : detail_json(message, status, code, param));
}

const char *visit_query(const visit *v, const char *key)
{
    return MHD_lookup_connection_value(v->connection, MHD_GET_ARGUMENT_KIND, key);
}
