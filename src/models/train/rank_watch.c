/* rank_watch.c: connections that tell of a death (rank_watch.h). Only words of one size go over them. Used by ranks.c. */
#include "models/train/rank_watch.h"

#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static const int IDLE = 3, BETWEEN = 1, PROBES = 3;            /* s, s: a silent machine is given up after 6 s         */
static const int MEETING = 30000, ANSWER = 5000;               /* ms for all to connect; for rank 0 to greet one       */

enum { HELLO = 1, ENDED, FAILED, LOST };
typedef struct word { uint64_t secret; int32_t kind, rank; } word;       /* rank: whose it is; LOST: who was lost      */

struct im_rank_watch {
    im_ctx *c;
    int rank, size, listening, wake;
    int *fd;                                                   /* (size): rank 0 has one a rank, others fd[0]; -1      */
    uint64_t secret;
    pthread_t thread; bool started;
    struct sigaction on_abort;                                 /* what SIGABRT did before                              */
    atomic_int lost;                                           /* 2 rank, or 2 rank + 1: it has failed; -1: nobody     */
    atomic_bool resting;
};

static bool broken(im_rank_watch *w, const char *what)
{
    return im_fail(w->c, "ranks: %s: %s; wanted TCP connections between the machines of a training", what, strerror(errno));
}

im_rank_watch *im_rank_watch_new(im_ctx *c, int rank, int size)
{
    im_rank_watch *w = im_ok(c) ? calloc(1, sizeof *w) : NULL;
    if (w)
        *w = (im_rank_watch){ .c = c, .rank = rank, .size = size, .listening = -1, .wake = -1, .lost = -1,
                         .fd = malloc((size_t)size * sizeof *w->fd) };
    if (!w || !w->fd) {
        im_fail(c, "out of memory for the connections of %d ranks", size);
        free(w);
        return NULL;
    }
    for (int i = 0; i < size; i++)
        w->fd[i] = -1;
    return w;
}

/* ---------------------------------------------------------------- meeting */

/* Addresses of this machine: those of its networks, then the one that only it sees. No IPv6 that needs a scope. */
static void find_hosts(im_rank_watch_place *p)
{
    struct ifaddrs *all = NULL;
    if (getifaddrs(&all))
        all = NULL;
    for (int own = 0; own < 2; own++)
        for (const struct ifaddrs *i = all; i && p->hosts < IM_RANK_HOSTS; i = i->ifa_next) {
            int family = i->ifa_addr ? i->ifa_addr->sa_family : AF_UNSPEC;
            socklen_t bytes = family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
            char *host = p->host[p->hosts];
            if ((family == AF_INET || family == AF_INET6) && i->ifa_flags & IFF_UP &&
                !!(i->ifa_flags & IFF_LOOPBACK) == own &&
                !getnameinfo(i->ifa_addr, bytes, host, sizeof p->host[0], NULL, 0, NI_NUMERICHOST) && !strchr(host, '%'))
                p->hosts++;
        }
    freeifaddrs(all);
}

/* A socket on a port that the system chooses, of IPv6 and IPv4, or of IPv4 alone where there is no other. -1 */
static int listen_anywhere(int family, int ranks, int *port)
{
    struct addrinfo like = { .ai_family = family, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE }, *at = NULL;
    union { struct sockaddr a; struct sockaddr_storage any; } own;
    socklen_t bytes = sizeof own;
    char text[16];
    int fd = getaddrinfo(NULL, "0", &like, &at) ? -1 : socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0), both = 0;
    if (fd >= 0 && family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &both, sizeof both);
    bool ok = fd >= 0 && !bind(fd, at->ai_addr, at->ai_addrlen) && !listen(fd, ranks) && !getsockname(fd, &own.a, &bytes) &&
              !getnameinfo(&own.a, bytes, NULL, 0, text, sizeof text, NI_NUMERICSERV);
    if (at)
        freeaddrinfo(at);
    if (!ok && fd >= 0)
        close(fd);
    *port = ok ? atoi(text) : 0;
    return ok ? fd : -1;
}

bool im_rank_watch_listen(im_rank_watch *w, im_rank_watch_place *p)
{
    *p = (im_rank_watch_place){ .port = 0 };
    w->listening = listen_anywhere(AF_INET6, w->size, &p->port);
    if (w->listening < 0)
        w->listening = listen_anywhere(AF_INET, w->size, &p->port);
    if (w->listening < 0 || getrandom(&p->secret, sizeof p->secret, 0) != (ssize_t)sizeof p->secret)
        return broken(w, "rank 0 cannot listen");
    w->secret = p->secret;
    find_hosts(p);
    return true;
}

/* The kernel asks whether the other machine is there; small words go at once. */
static void keep_alive(int fd)
{
    int on = 1, limit = 1000 * (IDLE + BETWEEN * PROBES);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &IDLE, sizeof IDLE);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &BETWEEN, sizeof BETWEEN);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &PROBES, sizeof PROBES);
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &limit, sizeof limit);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static bool readable(int fd, int ms)
{
    struct pollfd p = { .fd = fd, .events = POLLIN };
    return poll(&p, 1, ms) == 1;
}

static bool say(const im_rank_watch *w, int fd, int kind, int rank)
{
    word v = { .secret = w->secret, .kind = kind, .rank = rank };
    return send(fd, &v, sizeof v, MSG_NOSIGNAL) == (ssize_t)sizeof v;
}

/* False: the connection has ended. Words are so small that they come whole. */
static bool hear(const im_rank_watch *w, int fd, word *v)
{
    return recv(fd, v, sizeof *v, MSG_WAITALL) == (ssize_t)sizeof *v && v->secret == w->secret;
}

static bool accept_all(im_rank_watch *w)
{
    for (int met = 1; met < w->size; ) {
        if (!readable(w->listening, MEETING))
            return im_fail(w->c, "ranks: %d of %d have not come to rank 0 within %d s; can their machines reach it by TCP?",
                           w->size - met, w->size, MEETING / 1000);
        int fd = accept(w->listening, NULL, NULL);
        word v = { .kind = 0 };
        if (fd < 0)
            return broken(w, "rank 0 cannot accept");
        fcntl(fd, F_SETFD, FD_CLOEXEC);
        bool one = readable(fd, 1000) && hear(w, fd, &v) && v.kind == HELLO && v.rank > 0 && v.rank < w->size;
        if (one && w->fd[v.rank] < 0) {
            keep_alive(w->fd[v.rank] = fd);
            say(w, fd, HELLO, 0);
            met++;
        } else {
            close(fd);                                         /* somebody else                                        */
        }
    }
    return true;
}

/* Connected within a second, or -1. */
static int connect_to(const char *host, int port)
{
    struct addrinfo like = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV }, *at = NULL;
    char text[16];
    int error = 0;
    socklen_t bytes = sizeof error;
    snprintf(text, sizeof text, "%d", port);
    int fd = getaddrinfo(host, text, &like, &at) ? -1
                                                 : socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct pollfd p = { .fd = fd, .events = POLLOUT };
    bool ok = fd >= 0 &&
              (!connect(fd, at->ai_addr, at->ai_addrlen) || (errno == EINPROGRESS && poll(&p, 1, 1000) == 1)) &&
              !getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &bytes) && !error && !fcntl(fd, F_SETFL, 0);
    if (at)
        freeaddrinfo(at);
    if (ok)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

/* fd, where rank 0 answers there; else -1. */
static int greeted(const im_rank_watch *w, int fd)
{
    word v = { .kind = 0 };
    if (fd >= 0 && say(w, fd, HELLO, w->rank) && readable(fd, ANSWER) && hear(w, fd, &v) && v.kind == HELLO)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

static void *listen_on(void *arg);

/* A transport of MPI may abort when its partner has just died (UCX: process_vm_readv says "no such process"), and memory
 * goes before connections do. So this process stays a moment: its watch hears who died first and tells the others, who
 * would name this one otherwise. The abort goes on when this returns. */
static void linger(int signal)
{
    struct timespec left = { .tv_sec = 2 };
    (void)signal;
    while (nanosleep(&left, &left) && errno == EINTR)
        ;
}

bool im_rank_watch_meet(im_rank_watch *w, const im_rank_watch_place *p)
{
    w->secret = p->secret;
    if (!w->rank && !accept_all(w))
        return false;
    for (int i = 0; w->rank && i < p->hosts && w->fd[0] < 0; i++)
        w->fd[0] = greeted(w, connect_to(p->host[i], p->port));
    if (w->rank && w->fd[0] < 0)
        return im_fail(w->c, "ranks: rank 0 cannot be reached at any of its %d addresses (the first is %s), port %d; "
                       "wanted TCP connections between the machines of a training", p->hosts,
                       p->hosts ? p->host[0] : "none", p->port);
    if (w->rank)
        keep_alive(w->fd[0]);
    if ((w->wake = eventfd(0, EFD_CLOEXEC)) < 0 || (errno = pthread_create(&w->thread, NULL, listen_on, w)))
        return broken(w, "no thread to watch the connections");
    w->started = true;
    sigaction(SIGABRT, &(struct sigaction){ .sa_handler = linger }, &w->on_abort);
    return true;
}

/* ---------------------------------------------------------------- watching */

/* The first one counts; the rest of them may well end because of it. */
static void lose(im_rank_watch *w, int rank, bool failed)
{
    int none = -1;
    if (w->resting || !atomic_compare_exchange_strong(&w->lost, &none, 2 * rank + failed))
        return;
    for (int i = 1; !w->rank && i < w->size; i++)
        if (w->fd[i] >= 0 && i != rank)
            say(w, w->fd[i], failed ? FAILED : LOST, rank);
    im_cancel(w->c);
}

/* Something is to be read on connection i, or it has ended. */
static void attend(im_rank_watch *w, int i)
{
    word v = { .kind = LOST, .rank = i };
    bool said = hear(w, w->fd[i], &v);
    if (said && v.kind != ENDED)
        lose(w, v.rank, v.kind == FAILED);
    if (!said)
        lose(w, i, false);
    if (!said || v.kind == ENDED) {
        close(w->fd[i]);
        w->fd[i] = -1;
    }
}

static void *listen_on(void *arg)
{
    im_rank_watch *w = arg;
    struct pollfd *p = calloc((size_t)w->size + 1, sizeof *p);
    while (p) {
        for (int i = 0; i < w->size; i++)
            p[i] = (struct pollfd){ .fd = w->fd[i], .events = POLLIN };       /* -1 is passed over                     */
        p[w->size] = (struct pollfd){ .fd = w->wake, .events = POLLIN };
        if (poll(p, (nfds_t)w->size + 1, -1) < 0 && errno != EINTR)
            break;
        if (p[w->size].revents)
            break;
        for (int i = 0; i < w->size; i++)
            if (w->fd[i] >= 0 && p[i].revents)
                attend(w, i);
    }
    free(p);
    return NULL;
}

int im_rank_watch_lost(im_rank_watch *w, bool *failed)
{
    int lost = w ? w->lost : -1;
    *failed = lost >= 0 && lost % 2;
    return lost < 0 ? -1 : lost / 2;
}

void im_rank_watch_rest(im_rank_watch *w)
{
    if (w)
        w->resting = true;
}

void im_rank_watch_free(im_rank_watch *w, bool in_order)
{
    if (!w)
        return;
    w->resting = true;
    if (w->started)
        sigaction(SIGABRT, &w->on_abort, NULL);
    if (w->started && !eventfd_write(w->wake, 1))
        pthread_join(w->thread, NULL);
    for (int i = 0; i < w->size; i++)
        if (w->fd[i] >= 0) {
            say(w, w->fd[i], in_order ? ENDED : FAILED, w->rank);
            close(w->fd[i]);
        }
    if (w->wake >= 0)
        close(w->wake);
    if (w->listening >= 0)
        close(w->listening);
    free(w->fd);
    free(w);
}
