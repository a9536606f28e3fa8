/* wire.c: is a request framed as RFC 9112 has it? What a proxy before the server and the server itself could take for two
 * different things is refused, so that no request hides in another one; libmicrohttpd lets most of it pass. Also the target
 * of a request as a proxy may write it, with the host before the path (3.2.2). */
#include <string.h>
#include <strings.h>

#include "cli/serve/http.h"

typedef struct heads { int hosts, lengths, encodings; bool chunked, odd_name; } heads;

static enum MHD_Result count(void *arg, enum MHD_ValueKind kind, const char *name, const char *value)
{
    heads *h = arg;
    (void)kind;
    h->odd_name |= !*name || name[strcspn(name, " \t")];
    h->hosts += !strcasecmp(name, "Host");
    h->lengths += !strcasecmp(name, "Content-Length");
    if (!strcasecmp(name, "Transfer-Encoding")) {
        h->encodings++;
        h->chunked = value && !strcasecmp(value, "chunked");    /* libmicrohttpd compares like this                     */
    }
    return MHD_YES;
}

int wire_refuses(const visit *v, const char *version, const char **why)
{
    heads h = { 0 };
    bool old = !strcasecmp(version, "HTTP/1.0");
    MHD_get_connection_values(v->connection, MHD_HEADER_KIND, count, &h);
    const struct { bool is; int status; const char *why; } rules[] = {
        { h.odd_name, 400, "a header has a space in its name, or before its colon" },
        { h.hosts > 1, 400, "the request has several Host headers; wanted one" },
        { !h.hosts && !old, 400, "the request has no Host header; HTTP/1.1 wants one" },
        { h.lengths > 1, 400, "the request has several Content-Length headers; wanted one" },
        { h.encodings && h.lengths, 400, "the request has Content-Length and Transfer-Encoding; wanted one of the two" },
        { h.encodings && old, 400, "HTTP/1.0 has no Transfer-Encoding; send Content-Length" },
        { h.encodings > 1 || (h.encodings && !h.chunked), 501, "the Transfer-Encoding that this server reads is chunked "
                                                               "alone" },
    };
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (rules[i].is) {
            *why = rules[i].why;
            return rules[i].status;
        }
    return 0;
}

const char *wire_path(const char *target, char host[256])
{
    size_t scheme = !strncasecmp(target, "http://", 7) ? 7 : !strncasecmp(target, "https://", 8) ? 8 : 0;
    *host = '\0';
    if (!scheme)
        return target;
    const char *from = target + scheme;
    size_t n = strcspn(from, "/");
    if (n < 256) {
        memcpy(host, from, n);
        host[n] = '\0';
    }
    return !*host ? target : from[n] ? from + n : "/";         /* without a host it is no address of this server       */
}
