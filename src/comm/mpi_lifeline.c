/* mpi_lifeline.c - see mpi_lifeline.h. */
#define _GNU_SOURCE
#include "comm/mpi_lifeline.h"

#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

enum { CONNECT_MS = 2000, ACCEPT_MS = 8000, SILENCE_MS = 8000, LEAVE_MS = 4000 };

/* A rank failed and says why; a rank leaves; a process is gone. */
enum { FAILED = 1, GOODBYE, GONE };

/* What is sent over a line after the introduction. */
typedef struct {
    int32_t kind;
    char sentence[sizeof((glia_failure *)0)->why];
} frame;

typedef struct {
    int fd;
    atomic_bool goodbye; /* the rank leaves, or the line has ended */
    glia_peer peer;
    size_t got; /* bytes of `in` so far */
    frame in;
} line;

struct glia_lifeline {
    glia_lifeline_owner owner;
    glia_peer self;
    bool hub;
    int listener; /* -1: none */
    int n;        /* lines */
    line *line;   /* [n] */
    struct pollfd *poll;
    pthread_t thread;
    bool started;
    atomic_bool stop;
};

static long now_ms(void) { return (long)(glia_seconds() * 1000); }

/* ---- the watching thread ------------------------------------------------------ */

static void tell(glia_lifeline *l, int32_t kind, const char *sentence) {
    frame f = {.kind = kind};
    snprintf(f.sentence, sizeof f.sentence, "%s", sentence);
    for (int i = 0; i < l->n; i++) (void)!send(l->line[i].fd, &f, sizeof f, MSG_NOSIGNAL | MSG_DONTWAIT);
}

void glia_lifeline_tell(glia_lifeline *l, const char *sentence) { tell(l, FAILED, sentence); }

/* Record that another rank failed (kind GONE: its process is gone). The hub informs the other ranks. */
static void learn(glia_lifeline *l, int32_t kind, const char *sentence) {
    const bool first = glia_world_fail(l->owner.world, sentence);
    if (l->hub && (first || kind == GONE)) tell(l, kind, glia_world_why(l->owner.world));
    if (kind == GONE) l->owner.gone(l->owner.user);
}

static void lost(glia_lifeline *l, const line *of, int why) {
    char sentence[sizeof l->owner.world->failure->why];
    snprintf(sentence, sizeof sentence, "rank %d (process %d on %s) ended without a word%s%s", of->peer.rank,
             of->peer.pid, of->peer.host, why ? ": " : ", as when killed", why ? strerror(why) : "");
    learn(l, GONE, sentence);
}

/* Read what has arrived on a line; false at the end of the line. */
static bool listen_to(glia_lifeline *l, line *of) {
    const ssize_t n = recv(of->fd, (char *)&of->in + of->got, sizeof of->in - of->got, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return true;
    if (n <= 0) {
        if (!atomic_load(&of->goodbye) && !atomic_load(&l->stop))
            lost(l, of, n < 0 && errno != ECONNRESET ? errno : 0);
        atomic_store(&of->goodbye, true);
        return false;
    }
    of->got += (size_t)n;
    if (of->got < sizeof of->in) return true;
    of->got = 0;
    of->in.sentence[sizeof of->in.sentence - 1] = '\0';
    if (of->in.kind == GOODBYE)
        atomic_store(&of->goodbye, true);
    else
        learn(l, of->in.kind, of->in.sentence);
    return true;
}

static void *watch(void *arg) {
    glia_lifeline *l = arg;
    bool live[GLIA_RANKS_MAX];
    for (int i = 0; i < l->n; i++) live[i] = true;
    while (!atomic_load(&l->stop)) {
        for (int i = 0; i < l->n; i++)
            l->poll[i] = (struct pollfd){.fd = live[i] ? l->line[i].fd : -1, .events = POLLIN};
        if (poll(l->poll, (nfds_t)l->n, 1000) <= 0) continue;
        for (int i = 0; i < l->n; i++)
            if (l->poll[i].revents) live[i] = listen_to(l, &l->line[i]);
    }
    return NULL;
}

/* ---- connecting --------------------------------------------------------------- */

/* Let the kernel probe the peer, so that a line to a machine that vanished ends. */
static void keep_alive(int fd) {
    const int on = 1, every_s = 2, tries = 3, silence_ms = SILENCE_MS;
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &every_s, sizeof every_s);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &every_s, sizeof every_s);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &tries, sizeof tries);
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &silence_ms, sizeof silence_ms);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static void limit_waiting(int fd, int ms) {
    const struct timeval t = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof t);
}

static bool receive(int fd, void *p, size_t n) {
    for (size_t got = 0; got < n;) {
        const ssize_t more = recv(fd, (char *)p + got, n - got, 0);
        if (more <= 0) return false;
        got += (size_t)more;
    }
    return true;
}

static bool introduce(int fd, const glia_peer *self) {
    return send(fd, self, sizeof *self, MSG_NOSIGNAL) == (ssize_t)sizeof *self;
}

static glia_status new_lifeline(glia_lifeline **out, const glia_lifeline_owner *owner, int rank, int n,
                                glia_err *err) {
    glia_lifeline *l = *out = calloc(1, sizeof *l);
    if (!l) return glia_fail_nomem(err, sizeof *l, "the lifeline");
    l->owner = *owner;
    l->listener = -1;
    l->hub = rank == 0;
    l->self = (glia_peer){.rank = rank, .pid = (int32_t)getpid()};
    gethostname(l->self.host, sizeof l->self.host - 1);
    l->line = calloc((size_t)n + 1, sizeof *l->line);
    l->poll = calloc((size_t)n + 1, sizeof *l->poll);
    if (l->line && l->poll) return GLIA_OK;
    glia_lifeline_free(l);
    *out = NULL;
    return glia_fail_nomem(err, (size_t)n * sizeof *l->line, "the lifeline");
}

static glia_status start(glia_lifeline *l, glia_err *err) {
    const int why = pthread_create(&l->thread, NULL, watch, l);
    if (why != 0) return glia_fail(err, GLIA_ERR_NOMEM, "the lifeline's thread: %s", strerror(why));
    l->started = true;
    return GLIA_OK;
}

/* Every address of this machine. Loopback addresses come first, for ranks of the same machine. */
static void list_addresses(glia_hub *hub) {
    struct ifaddrs *all = NULL;
    if (getifaddrs(&all) != 0) return;
    for (int loopback = 1; loopback >= 0; loopback--)
        for (struct ifaddrs *a = all; a && hub->n < GLIA_ADDRESSES_MAX; a = a->ifa_next) {
            const bool is_loopback = a->ifa_flags & IFF_LOOPBACK;
            if (!a->ifa_addr || !(a->ifa_flags & IFF_UP) || is_loopback != (loopback == 1)) continue;
            const int family = a->ifa_addr->sa_family;
            const size_t len = family == AF_INET    ? sizeof(struct sockaddr_in)
                               : family == AF_INET6 ? sizeof(struct sockaddr_in6)
                                                    : 0;
            char *text = hub->address[hub->n];
            if (len &&
                getnameinfo(a->ifa_addr, (socklen_t)len, text, sizeof hub->address[0], NULL, 0,
                            NI_NUMERICHOST) == 0 &&
                !strchr(text, '%')) /* no link-local ones */
                hub->n++;
        }
    freeifaddrs(all);
}

/* A socket that accepts IPv6 and IPv4, or IPv4 alone on a machine without IPv6. */
static int open_listener(int32_t *port) {
    struct sockaddr_storage at;
    for (int v6 = 1; v6 >= 0; v6--) {
        const int fd = socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), off = 0;
        if (fd < 0) continue;
        memset(&at, 0, sizeof at);
        at.ss_family = v6 ? AF_INET6 : AF_INET;
        socklen_t len = v6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
        if (v6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
        if (bind(fd, (struct sockaddr *)&at, len) == 0 && listen(fd, GLIA_RANKS_MAX) == 0 &&
            getsockname(fd, (struct sockaddr *)&at, &len) == 0) {
            const struct sockaddr_in *in = (const void *)&at; /* the port has the same offset in both */
            *port = ntohs(in->sin_port);
            return fd;
        }
        close(fd);
    }
    return -1;
}

glia_status glia_lifeline_listen(glia_lifeline **out, const glia_lifeline_owner *owner, glia_hub *hub,
                                 glia_err *err) {
    glia_status status = new_lifeline(out, owner, 0, owner->world->size - 1, err);
    if (status) return status;
    glia_lifeline *l = *out;
    if (getrandom(l->self.token, sizeof l->self.token, 0) != (ssize_t)sizeof l->self.token)
        status = glia_fail(err, GLIA_ERR_IO, "getrandom: %s", strerror(errno));
    l->listener = open_listener(&hub->port);
    if (!status && l->listener < 0)
        status = glia_fail(err, GLIA_ERR_IO, "cannot listen on TCP: %s", strerror(errno));
    if (status) {
        glia_lifeline_free(l);
        *out = NULL;
        return status;
    }
    hub->peer = l->self;
    list_addresses(hub);
    return GLIA_OK;
}

glia_status glia_lifeline_accept(glia_lifeline *l, glia_err *err) {
    const long end = now_ms() + ACCEPT_MS;
    while (l->n < l->owner.world->size - 1) {
        struct pollfd p = {.fd = l->listener, .events = POLLIN};
        const long left = end - now_ms();
        if (left <= 0 || poll(&p, 1, (int)left) <= 0)
            return glia_fail(err, GLIA_ERR_IO, "%d of %d ranks did not connect within %d s",
                             l->owner.world->size - 1 - l->n, l->owner.world->size - 1, ACCEPT_MS / 1000);
        line *of = &l->line[l->n];
        of->fd = accept4(l->listener, NULL, NULL, SOCK_CLOEXEC);
        if (of->fd < 0) continue;
        limit_waiting(of->fd, CONNECT_MS);
        if (receive(of->fd, &of->peer, sizeof of->peer) &&
            memcmp(of->peer.token, l->self.token, sizeof l->self.token) == 0 && introduce(of->fd, &l->self)) {
            of->peer.host[sizeof of->peer.host - 1] = '\0';
            keep_alive(of->fd);
            l->n++;
        } else {
            close(of->fd);
        }
    }
    return start(l, err);
}

/* Connect to `hub` at `address`, which must answer with the run's token. Returns -1 and *why on failure. */
static int reach(const glia_hub *hub, const char *address, const glia_peer *self, int *why) {
    char port[16];
    struct addrinfo *at = NULL, want = {.ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_STREAM};
    glia_peer answer;
    snprintf(port, sizeof port, "%d", (int)hub->port);
    if (getaddrinfo(address, port, &want, &at) != 0) return -1;
    const int fd = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool well = false;
    if (fd >= 0) {
        limit_waiting(fd, CONNECT_MS);
        well = connect(fd, at->ai_addr, at->ai_addrlen) == 0;
        *why = errno;
        well = well && introduce(fd, self) && receive(fd, &answer, sizeof answer) &&
               memcmp(answer.token, self->token, sizeof answer.token) == 0;
    }
    freeaddrinfo(at);
    if (well) return fd;
    if (fd >= 0) close(fd);
    return -1;
}

glia_status glia_lifeline_join(glia_lifeline **out, const glia_lifeline_owner *owner, int rank,
                               const glia_hub *hub, glia_err *err) {
    glia_status status = new_lifeline(out, owner, rank, 1, err);
    if (status) return status;
    glia_lifeline *l = *out;
    int fd = -1, why = EHOSTUNREACH;
    memcpy(l->self.token, hub->peer.token, sizeof l->self.token);
    for (int i = 0; i < hub->n && fd < 0; i++) fd = reach(hub, hub->address[i], &l->self, &why);
    if (fd >= 0) {
        l->line[0].fd = fd;
        l->line[0].peer = hub->peer;
        l->n = 1;
        keep_alive(fd);
        status = start(l, err);
    } else {
        status = glia_fail(err, GLIA_ERR_IO, "cannot reach rank 0 on %s, port %d, by any of %d addresses: %s",
                           hub->peer.host, (int)hub->port, (int)hub->n, strerror(why));
    }
    if (!status) return GLIA_OK;
    glia_lifeline_free(l);
    *out = NULL;
    return status;
}

/* Wait until all other ranks have said goodbye: mpirun kills the remaining ranks soon
 * after the first has ended, also those that have not yet printed their reason. */
static void wait_for_goodbyes(glia_lifeline *l) {
    const struct timespec nap = {.tv_nsec = 1000000};
    const long end = now_ms() + LEAVE_MS;
    for (int i = 0; i < l->n && l->started; i++)
        while (!atomic_load(&l->line[i].goodbye) && now_ms() < end) nanosleep(&nap, NULL);
}

void glia_lifeline_free(glia_lifeline *l) {
    if (!l) return;
    if (!l->hub) tell(l, GOODBYE, "");
    wait_for_goodbyes(l);
    if (l->hub) tell(l, GOODBYE, "");
    atomic_store(&l->stop, true);
    for (int i = 0; i < l->n; i++) shutdown(l->line[i].fd, SHUT_RDWR); /* wakes the watching thread */
    if (l->started) pthread_join(l->thread, NULL);
    for (int i = 0; i < l->n; i++) close(l->line[i].fd);
    if (l->listener >= 0) close(l->listener);
    free(l->line);
    free(l->poll);
    free(l);
}
