/* http.c: the door: sockets, connections, requests as they come in. Four threads of libmicrohttpd serve all connections,
 * and none of them waits for a network, a client or a model.
 *
 * Limits: connections, bytes and number of headers, bytes of a body and of all bodies together, and the time until a
 * request is whole, however slowly its bytes come. */
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cli/serve/http.h"

enum {
    THREADS = 4, MOST_CONNECTIONS = 512, HEADER_BYTES = 64 << 10, QUIET_SECONDS = 30, REQUEST_SECONDS = 60,
    BODIES = 4                                                 /* all bodies together: so many of the largest one      */
};

/* ---------------------------------------------------------------- requests */

static visit *visit_new(server *s, struct MHD_Connection *connection, const char *method, const char *target,
                        const char *version)
{
    visit *v = calloc(1, sizeof *v);
    if (!v)
        return NULL;
    *v = (visit){ .s = s, .connection = connection };
    const char *path = wire_path(target, v->host);
    v->path = strdup(path);
    v->guest = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
    int status = 0;
    v->route = route_find(method, path, v->part, &status, &v->form, v->allow);
    v->refused = wire_refuses(v, version, &v->why);
    v->closes = v->refused;
    if (!v->refused)
        v->refused = guard_refuses(v, &v->why);
    if (!v->refused && !v->route) {
        v->refused = status;
        v->why = status == 405 ? v->allow : "there is no such address; GET /openapi.json lists all";
    }
    pthread_mutex_lock(&s->lock);
    v->next = s->visits;
    if (v->next)
        v->next->before = v;
    s->visits = v;
    pthread_mutex_unlock(&s->lock);
    return v;
}

/* With the lock held. */
static void drop_body(visit *v)
{
    v->s->body_bytes -= v->room;
    free(v->body);
    v->body = NULL;
    v->bytes = v->room = 0;
}

static void visit_free(visit *v)
{
    server *s = v->s;
    pthread_mutex_lock(&s->lock);
    *(v->before ? &v->before->next : &s->visits) = v->next;
    if (v->next)
        v->next->before = v->before;
    if (v->guest) {
        v->guest->busy = false;
        v->guest->since = im_seconds();
    }
    if (v->j) {
        if (v->stream && v->wanted_previews)
            v->j->watchers--;
        if (!v->leaves_job)
            queue_cancel(s, v->j);
        job_release(s, v->j);
    }
    drop_body(v);
    pthread_mutex_unlock(&s->lock);
    json_decref(v->asked);
    free(v->out);
    free(v->path);
    free(v);
}

static void refuse(visit *v, int status, const char *why)
{
    v->refused = status;
    v->why = why;
    pthread_mutex_lock(&v->s->lock);
    drop_body(v);
    pthread_mutex_unlock(&v->s->lock);
}

static bool make_room(visit *v, size_t n)
{
    server *s = v->s;
    size_t room = v->bytes + n + 1;
    if (room <= v->room)
        return true;
    room = 2 * room < s->o->max_body + 1 ? 2 * room : (size_t)s->o->max_body + 1;
    pthread_mutex_lock(&s->lock);
    bool fits = s->body_bytes + room - v->room <= BODIES * s->o->max_body;
    char *body = fits ? realloc(v->body, room) : NULL;
    if (body) {
        s->body_bytes += room - v->room;
        v->body = body;
        v->room = room;
    }
    pthread_mutex_unlock(&s->lock);
    return body != NULL;
}

static void take(visit *v, const char *data, size_t n)
{
    if (v->refused)
        return;
    if (v->bytes + n > v->s->o->max_body) {
        refuse(v, 413, "the body is larger than this server takes (--max-body)");
    } else if (!make_room(v, n)) {
        refuse(v, 503, "the server holds as many large requests as it can; try again");
    } else {
        memcpy(v->body + v->bytes, data, n);
        v->bytes += n;
        v->body[v->bytes] = '\0';
    }
}

/* A client that waits for a word before it sends its body is refused at once, and one whose body has no clear end; else
 * the body is read and let go, up to a point: who sends has no ear for an answer. */
static bool refuses_now(visit *v)
{
    const char *length = MHD_lookup_connection_value(v->connection, MHD_HEADER_KIND, "Content-Length");
    bool asks = MHD_lookup_connection_value(v->connection, MHD_HEADER_KIND, "Expect");
    unsigned long long n = length ? strtoull(length, NULL, 10) : 0;
    if (!v->refused && n > v->s->o->max_body)
        refuse(v, 413, "the body is larger than this server takes (--max-body)");
    return v->refused && (v->closes || asks || n > BODIES * v->s->o->max_body);
}

static const char *code_of(int status)
{
    return status == 401 ? "unauthorized" : status == 403 ? "forbidden" : status == 404 ? "not_found" : NULL;
}

static enum MHD_Result tell_refused(visit *v)
{
    return answer_error(v, v->refused, code_of(v->refused), NULL, v->refused == 405 ? "this address has other methods: %s"
                                                                                    : "%s", v->why);
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *connection, const char *path, const char *method,
                                  const char *version, const char *data, size_t *bytes, void **kept)
{
    visit *v = *kept;
    if (!v) {
        if (!(v = *kept = visit_new(cls, connection, method, path, version)))
            return MHD_NO;
        return refuses_now(v) ? tell_refused(v) : MHD_YES;
    }
    if (*bytes) {
        take(v, data, *bytes);
        *bytes = 0;
        return MHD_YES;
    }
    if (v->then)
        return v->then(v);
    v->whole = true;
    pthread_mutex_lock(&v->s->lock);
    if (v->guest)
        v->guest->busy = true;
    pthread_mutex_unlock(&v->s->lock);
    return v->refused ? tell_refused(v) : v->route->answer(v);
}

static void on_completed(void *cls, struct MHD_Connection *connection, void **kept, enum MHD_RequestTerminationCode how)
{
    (void)cls;
    (void)connection;
    (void)how;
    if (*kept)
        visit_free(*kept);
    *kept = NULL;
}

/* ---------------------------------------------------------------- connections */

static void on_connection(void *cls, struct MHD_Connection *connection, void **kept,
                          enum MHD_ConnectionNotificationCode what)
{
    server *s = cls;
    guest *g = *kept;
    pthread_mutex_lock(&s->lock);
    if (what == MHD_CONNECTION_NOTIFY_STARTED && (g = calloc(1, sizeof *g))) {
        *g = (guest){ .next = s->guests, .since = im_seconds(),
                      .fd = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd };
        if (g->next)
            g->next->before = g;
        s->guests = *kept = g;
    } else if (what == MHD_CONNECTION_NOTIFY_CLOSED && g) {
        *(g->before ? &g->before->next : &s->guests) = g->next;
        if (g->next)
            g->next->before = g->before;
        free(g);
        *kept = NULL;
    }
    pthread_mutex_unlock(&s->lock);
}

/* Has the other side gone? What it may have sent ahead stays where it is. */
static bool gone(const guest *g)
{
    char byte;
    ssize_t n = recv(g->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return n == 0 || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
}

void http_look_around(server *s)
{
    double now = im_seconds();
    pthread_mutex_lock(&s->lock);
    for (visit *v = s->visits; v; v = v->next) {
        if (!v->waiting || !v->guest || !gone(v->guest))
            continue;
        if (v->j && !v->leaves_job)
            queue_cancel(s, v->j);
        if (v->stream && v->waiting) {
            v->over = true;
            v->waiting = false;
            MHD_resume_connection(v->connection);
        }
    }
    for (guest *g = s->guests; g; g = g->next)
        if (!g->busy && now - g->since > REQUEST_SECONDS)
            shutdown(g->fd, SHUT_RDWR);
    pthread_mutex_unlock(&s->lock);
}

/* ---------------------------------------------------------------- the socket */

static int listen_at(server *s, const struct addrinfo *a)
{
    int fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol), one = 1;
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    union { struct sockaddr any; struct sockaddr_storage room; } bound;
    socklen_t n = sizeof bound;
    char port[16] = "";
    if (bind(fd, a->ai_addr, a->ai_addrlen) || listen(fd, 128) || getsockname(fd, &bound.any, &n) ||
        getnameinfo(&bound.any, n, NULL, 0, port, sizeof port, NI_NUMERICSERV)) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    s->port = atoi(port);
    return fd;
}

static int open_socket(server *s)
{
    char port[16];
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV }, *all = NULL;
    snprintf(port, sizeof port, "%d", s->port);
    int rc = getaddrinfo(s->listen_host, port, &hints, &all), fd = -1;
    for (const struct addrinfo *a = all; a && fd < 0; a = a->ai_next)
        fd = listen_at(s, a);
    int error = errno;
    if (all)
        freeaddrinfo(all);
    if (fd >= 0)
        return fd;
    const char *why = rc ? gai_strerror(rc) : strerror(error);
    im_fail(s->c, "--listen %s: %s; %s", s->o->listen, why,
            !rc && error == EADDRINUSE ? "another program has this port: choose another one, or 0 for a free one"
                                       : "wanted an address of this machine and a port that may be used");
    return -1;
}

bool http_start(server *s)
{
    int fd = open_socket(s);
    if (fd < 0)
        return false;
    s->daemon = MHD_start_daemon(
        MHD_USE_POLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ITC, 0, NULL, NULL, on_request, s,
        MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_THREAD_POOL_SIZE, (unsigned)THREADS,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)MOST_CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)QUIET_SECONDS,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HEADER_BYTES, MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL,
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, s, MHD_OPTION_END);
    if (s->daemon)
        return true;
    close(fd);
    return im_fail(s->c, "--listen %s: the server could not be started; are files or threads limited (ulimit -n, -u)?",
                   s->o->listen);
}

void http_quiet(server *s)
{
    int fd = s->daemon ? (int)MHD_quiesce_daemon(s->daemon) : -1;
    if (fd >= 0)
        close(fd);
}

void http_stop(server *s)
{
    pthread_mutex_lock(&s->lock);
    for (visit *v = s->visits; v; v = v->next)
        if (v->waiting) {                                      /* none may be suspended                                */
            v->waiting = false;
            v->over = true;
            MHD_resume_connection(v->connection);
        }
    pthread_mutex_unlock(&s->lock);
    if (s->daemon)
        MHD_stop_daemon(s->daemon);
    s->daemon = NULL;
}
