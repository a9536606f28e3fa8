/* guard.c: who may ask for anything. The server listens on loopback; where it listens on more, a request has to show a
 * token, or a name and password. Against pages of other sites in a browser on this machine (DNS rebinding, forms, scripts):
 * the Host of a request has to be a name of this server, and its Origin, where a browser sends one, the same. */
#include <arpa/inet.h>
#include <netdb.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "cli/serve/http.h"
#include "data/files/file.h"

enum { MOST_HEADERS = 100 };

/* ---------------------------------------------------------------- what is asked for at the door */

static bool digest(const char *text, size_t n, uint8_t out[32])
{
    return EVP_Digest(text, n, out, NULL, EVP_sha256(), NULL) == 1;
}

static bool read_token(server *s)
{
    size_t n;
    char *text = im_read_text(s->c, s->o->token_file, 4096, &n);
    size_t from = text ? strspn(text, " \t\r\n") : 0, to = from;
    while (text && to < n && text[to] > ' ')
        to++;
    if (text && to - from < 8)
        im_fail(s->c, "%s: its first word has %zu letters; wanted a token of 8 or more", s->o->token_file, to - from);
    s->has_token = im_ok(s->c) && digest(text + from, to - from, s->token);
    free(text);
    return im_ok(s->c);
}

static bool read_user(server *s)
{
    const char *colon = strchr(s->o->user, ':');
    if (!colon || colon == s->o->user || !colon[1])
        return im_fail(s->c, "--user: wanted NAME:PASSWORD, both not empty");
    s->has_user = digest(s->o->user, strlen(s->o->user), s->user);
    return true;
}

static bool is_loopback(const char *host)
{
    struct in_addr four;
    struct in6_addr six;
    if (!strcasecmp(host, "localhost"))
        return true;
    if (inet_pton(AF_INET, host, &four) == 1)
        return ntohl(four.s_addr) >> 24 == 127;
    return inet_pton(AF_INET6, host, &six) == 1 && IN6_IS_ADDR_LOOPBACK(&six);
}

/* HOST:PORT, [HOST]:PORT */
static bool take_apart(server *s)
{
    const char *text = s->o->listen, *colon = strrchr(text, ':');
    char *end = NULL;
    long port = colon ? strtol(colon + 1, &end, 10) : -1;
    size_t n = colon ? (size_t)(colon - text) : 0;
    if (n >= 2 && text[0] == '[' && text[n - 1] == ']') {
        text++;
        n -= 2;
    }
    if (!n || n >= sizeof s->listen_host || end == colon + 1 || *end || port < 0 || port > 65535)
        return im_fail(s->c, "--listen is \"%s\"; wanted ADDRESS:PORT, such as 127.0.0.1:7860, or port 0 for a free one",
                       s->o->listen);
    memcpy(s->listen_host, text, n);
    s->listen_host[n] = '\0';
    s->port = (int)port;
    s->loopback = is_loopback(s->listen_host);
    return true;
}

bool guard_open(server *s)
{
    if (!take_apart(s) || (s->o->token_file && !read_token(s)) || (s->o->user && !read_user(s)))
        return false;
    return s->loopback || s->has_token || s->has_user ||
           im_fail(s->c, "--listen %s: others can reach this address; say who may ask with --token-file FILE or --user "
                         "NAME:PASSWORD", s->o->listen);
}

const char *guard_challenge(const server *s)
{
    return s->has_user ? "Basic realm=\"imago\", charset=\"UTF-8\"" : "Bearer realm=\"imago\"";
}

/* ---------------------------------------------------------------- a request */

static bool shows(const char *text, size_t n, const uint8_t wanted[32])
{
    uint8_t found[32];
    return digest(text, n, found) && CRYPTO_memcmp(found, wanted, sizeof found) == 0;
}

static bool authorised(const server *s, const char *header)
{
    if (!s->has_token && !s->has_user)
        return true;
    if (header && !strncasecmp(header, "Bearer ", 7))
        return s->has_token && shows(header + 7, strlen(header + 7), s->token);
    if (!header || strncasecmp(header, "Basic ", 6))
        return false;
    size_t n;
    uint8_t *pair = base64_read(header + 6, strlen(header + 6), &n);
    const char *colon = pair ? memchr(pair, ':', n) : NULL;
    bool ok = pair && s->has_user && shows((const char *)pair, n, s->user);
    /* Clients that only know names and passwords give the token as the password of any name. */
    if (!ok && colon && s->has_token) {
        size_t before = (size_t)(colon + 1 - (const char *)pair);
        ok = shows(colon + 1, n - before, s->token);
    }
    free(pair);
    return ok;
}

/* The host of "host:port" or "[host]:port", without the brackets. */
static bool host_of(const char *text, char out[256])
{
    size_t n = text[0] == '[' ? strcspn(text, "]") : strcspn(text, ":");
    if (text[0] == '[') {
        text++;
        n--;
    }
    if (!n || n >= 256)
        return false;
    memcpy(out, text, n);
    out[n] = '\0';
    return true;
}

static bool own_host(const server *s, const char *header)
{
    char host[256], machine[256] = "";
    unsigned char address[16];
    if (!header)
        return true;                                           /* HTTP/1.0: no browser                                 */
    if (!host_of(header, host))
        return false;
    if (is_loopback(host) || !strcasecmp(host, s->listen_host))
        return true;
    for (int i = 0; i < s->o->hosts.n; i++)
        if (!strcasecmp(host, s->o->hosts.v[i]))
            return true;
    if (s->loopback)
        return false;
    gethostname(machine, sizeof machine - 1);
    return inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1 || !strcasecmp(host, machine);
}

static bool own_origin(const char *origin, const char *host)
{
    if (!origin)
        return true;
    if (!host)
        return false;
    for (int i = 0; i < 2; i++) {
        const char *scheme = i ? "https://" : "http://";
        size_t n = strlen(scheme);
        if (!strncasecmp(origin, scheme, n) && !strcasecmp(origin + n, host))
            return true;
    }
    return false;
}

int guard_refuses(visit *v, const char **why)
{
    const server *s = v->s;
    const char *value[4], *names[] = { "Host", "Origin", "Sec-Fetch-Site", "Authorization" };
    for (int i = 0; i < 4; i++)
        value[i] = MHD_lookup_connection_value(v->connection, MHD_HEADER_KIND, names[i]);
    if (MHD_get_connection_values(v->connection, MHD_HEADER_KIND, NULL, NULL) > MOST_HEADERS) {
        *why = "the request has more than 100 headers";
        return 431;
    }
    if (!own_host(s, value[0]) || (*v->host && !own_host(s, v->host))) {
        *why = "the request is for a host of another name than this server has; --host NAME allows a name";
        return 403;
    }
    bool page = v->route && v->route->open;
    if (!own_origin(value[1], value[0]) || (!page && value[2] && (!strcmp(value[2], "cross-site") ||
                                                                  !strcmp(value[2], "same-site")))) {
        *why = "the request comes from a page of another site";
        return 403;
    }
    if ((!page || (s->has_user && !s->has_token)) && !authorised(s, value[3])) {
        *why = "wanted the token of this server, or its name and password";
        return 401;
    }
    return 0;
}
