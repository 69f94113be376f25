/* mpi.c - worlds whose ranks are MPI processes.
 *
 * Ranks of one machine share windows and run the collectives of shared.c on them.
 * Other ranks send messages (mpi_messages.c). One thread of a rank calls MPI, only
 * in these two files. It never waits for MPI without checking whether a rank has
 * failed (mpi_lifeline.h). */
#define _GNU_SOURCE
#include "comm/mpi_world.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { VERSION_BYTES = 32, OUTSIDE = 0, INSIDE, GIVEN_UP };
enum { LEAVE, COPY }; /* what a rank does next with the world */

static glia_mpi *state_of(const glia_comm *c) { return c->world->state; }

static glia_status mpi_error(int code, const char *what, glia_err *err) {
    char text[MPI_MAX_ERROR_STRING];
    int n = 0;
    if (MPI_Error_string(code, text, &n) != MPI_SUCCESS) snprintf(text, sizeof text, "error %d", code);
    return glia_fail(err, GLIA_ERR_IO, "MPI, %s: %.200s", what, text);
}

void glia_mpi_fail(glia_comm *c, int code) {
    glia_err err;
    mpi_error(code, "between machines", &err);
    glia_comm_fail(c, err.msg);
}

/* ---- inside MPI ----------------------------------------------------------------- */

/* Either glia_mpi_enter() sees the failure, or another_is_gone() sees that the thread is inside MPI. */
bool glia_mpi_enter(glia_comm *c) {
    atomic_store(&state_of(c)->first->inside, INSIDE);
    if (!glia_world_failed(c->world)) return true;
    glia_mpi_leave(c);
    return false;
}

void glia_mpi_leave(glia_comm *c) {
    if (atomic_exchange(&state_of(c)->first->inside, OUTSIDE) == GIVEN_UP)
        for (;;) pause(); /* last_words is ending the process */
}

/* Another process is gone, and the world's failure says so. If this rank's thread is inside MPI, it may
 * never come back: speak for it. */
static void another_is_gone(void *user) {
    glia_world *w = user;
    glia_mpi *m = w->state;
    int inside = INSIDE;
    if (m->last_words && atomic_compare_exchange_strong(&m->inside, &inside, GIVEN_UP))
        m->last_words(glia_world_why(w));
}

/* ---- what a world does ---------------------------------------------------------- */

static bool exchange(glia_comm *c, const void *mine, size_t bytes, void *all) {
    const struct timespec nap = {.tv_nsec = 200000};
    MPI_Request request;
    if (!glia_mpi_enter(c)) return false;
    int done = 0, code = MPI_Iallgather(mine, (int)bytes, MPI_BYTE, all, (int)bytes, MPI_BYTE,
                                        state_of(c)->all, &request);
    glia_mpi_leave(c);
    while (code == MPI_SUCCESS && !done && glia_mpi_enter(c)) {
        code = MPI_Test(&request, &done, MPI_STATUS_IGNORE);
        glia_mpi_leave(c);
        if (!done) nanosleep(&nap, NULL);
    }
    if (code != MPI_SUCCESS) glia_mpi_fail(c, code);
    return code == MPI_SUCCESS && done;
}

/* Allocate a window of `bytes` and map those of all ranks in m->here, into base[rank in the world]. */
static glia_status map_window(glia_comm *c, MPI_Win *window, size_t bytes, char **base, glia_err *err) {
    glia_mpi *m = state_of(c);
    MPI_Group here, all;
    MPI_Info info;
    void *mine;
    int local = 0;
    MPI_Comm_size(m->here, &local);
    MPI_Info_create(&info);
    MPI_Info_set(info, "alloc_shared_noncontig", "true"); /* pages of a rank stay on its NUMA node */
    int code = MPI_ERR_OTHER;
    if (glia_mpi_enter(c)) {
        code = MPI_Win_allocate_shared((MPI_Aint)glia_window_bytes(bytes), 1, info, m->here, &mine, window);
        glia_mpi_leave(c);
    }
    MPI_Info_free(&info);
    if (code != MPI_SUCCESS) {
        *window = MPI_WIN_NULL;
        return mpi_error(code, "shared memory", err);
    }
    MPI_Comm_group(m->here, &here);
    MPI_Comm_group(m->all, &all);
    for (int i = 0; i < local; i++) {
        MPI_Aint size;
        int unit, rank;
        void *p;
        MPI_Group_translate_ranks(here, 1, &i, all, &rank);
        MPI_Win_shared_query(*window, i, &size, &unit, &p);
        base[rank] = (char *)(((uintptr_t)p + GLIA_LINE - 1) / GLIA_LINE * GLIA_LINE);
    }
    MPI_Group_free(&here);
    MPI_Group_free(&all);
    return GLIA_OK;
}

static bool all_here(const glia_comm *c) { return c->world->local == c->size; }

static glia_status map_staging(glia_comm *c, size_t bytes, glia_err *err) {
    glia_mpi *m = state_of(c);
    m->staging_bytes = glia_staging_bytes(c->size, bytes);
    void *p = mmap(NULL, m->staging_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) return glia_fail_nomem(err, m->staging_bytes, "messages between ranks");
    m->staging = p;
    _Static_assert(sizeof *m->request <= sizeof(void *), "glia_comm_memory() counts requests as pointers");
    m->piece = calloc(GLIA_RANKS_MAX, sizeof *m->piece);
    m->request = calloc((size_t)c->size * 2, sizeof *m->request);
    if (!m->piece || !m->request)
        return glia_fail_nomem(err, GLIA_RANKS_MAX * sizeof *m->piece, "messages between ranks");
    return GLIA_OK;
}

static glia_status share_area(glia_comm *c, size_t bytes, glia_err *err) {
    glia_status status = GLIA_OK;
    char wanted[32];
    snprintf(wanted, sizeof wanted, "area %zu", bytes);
    if (bytes > INT32_MAX)
        status = glia_fail(err, GLIA_ERR_LIMIT, "area: %zu bytes, limit is %d", bytes, INT32_MAX);
    if (!status && !all_here(c)) status = map_staging(c, bytes, err);
    status = glia_comm_agree(c, wanted, status, err);
    if (status) return status;
    c->area_bytes = bytes;
    status = map_window(c, &state_of(c)->area, bytes, c->world->area, err);
    return glia_comm_agree(c, "", status, err);
}

static void tell(glia_world *w, const char *sentence) {
    const glia_mpi *first = ((glia_mpi *)w->state)->first;
    if (first->lifeline) glia_lifeline_tell(first->lifeline, sentence);
}

/* Tell all ranks what this one does next with the world. Returns false if a rank has failed, or if one leaves
 * the world while another copies it, which counts as a failure of the one that leaves. */
static bool all_agree(glia_comm *c, char next) {
    char sentence[64], *all = malloc((size_t)c->size);
    if (!all) glia_comm_fail(c, "no memory to ask what the ranks do next");
    const bool there = all && !glia_world_failed(c->world) && exchange(c, &next, 1, all);
    int leaves = -1, copies = -1;
    for (int i = 0; there && i < c->size; i++) *(all[i] == LEAVE ? &leaves : &copies) = i;
    free(all);
    if (!there || leaves < 0 || copies < 0) return there;
    snprintf(sentence, sizeof sentence, "rank %d: it ended before its engine began", leaves);
    glia_world_fail(c->world, sentence);
    return false;
}

static void release(glia_comm *c) {
    glia_world *w = c->world;
    glia_mpi *m = w->state;
    /* No rank unmaps its memory while another rank still reads it. */
    const bool well = all_agree(c, LEAVE);
    if (m != m->first) m->first->copied = false;
    glia_lifeline_free(m->lifeline);
    if (well) { /* otherwise MPI would wait for a rank that is gone */
        if (m->area != MPI_WIN_NULL) MPI_Win_free(&m->area);
        if (m->gates != MPI_WIN_NULL) MPI_Win_free(&m->gates);
        if (m->here != MPI_COMM_NULL) MPI_Comm_free(&m->here);
        MPI_Comm_free(&m->all);
        if (m->finalise) MPI_Finalize();
    }
    if (m->staging) munmap(m->staging, m->staging_bytes);
    free(m->piece);
    free(m->request);
    free(m);
    glia_comm_drop(c);
    glia_world_free(w);
}

static glia_status copy(glia_comm **out, glia_comm *c, glia_err *err);

static const glia_world_table mpi_world = {
    .mpi = true, .exchange = exchange, .share = share_area, .copy = copy, .tell = tell, .free = release};

/* ---- beginning ------------------------------------------------------------------ */

/* Compare versions. This is the first exchange between ranks, 32 bytes in every version of Glia. */
static glia_status same_version(glia_comm *c, glia_err *err) {
    char mine[VERSION_BYTES] = "", *all = calloc((size_t)c->size, VERSION_BYTES);
    glia_status status = GLIA_OK;
    if (!all) return glia_fail_nomem(err, (size_t)c->size * VERSION_BYTES, "the ranks' versions");
    snprintf(mine, sizeof mine, "%s", GLIA_VERSION);
    if (!exchange(c, mine, sizeof mine, all)) status = glia_comm_check(c, err);
    for (int r = 1; r < c->size && !status; r++) {
        char *theirs = all + r * VERSION_BYTES;
        theirs[VERSION_BYTES - 1] = all[VERSION_BYTES - 1] = '\0';
        if (strcmp(theirs, all) != 0)
            status = glia_fail(err, GLIA_ERR_ARGUMENT, "rank %d runs Glia %s, rank 0 runs Glia %s", r, theirs,
                               all);
    }
    free(all);
    if (status) glia_world_fail(c->world, err ? err->msg : "ranks run different versions");
    return status;
}

static glia_status connect_lifeline(glia_comm *c, glia_err *err) {
    glia_mpi *m = state_of(c);
    const glia_lifeline_owner owner = {.world = c->world, .gone = another_is_gone, .user = c->world};
    glia_hub hub, *hubs = calloc((size_t)c->size, sizeof *hubs);
    glia_status status = GLIA_OK;
    memset(&hub, 0, sizeof hub);
    if (!hubs) status = glia_fail_nomem(err, (size_t)c->size * sizeof *hubs, "the lifeline");
    if (!status && c->rank == 0) status = glia_lifeline_listen(&m->lifeline, &owner, &hub, err);
    status = glia_comm_agree(c, "", status, err);
    if (!status && !exchange(c, &hub, sizeof hub, hubs)) status = glia_comm_check(c, err);
    if (!status)
        status = c->rank == 0 ? glia_lifeline_accept(m->lifeline, err)
                              : glia_lifeline_join(&m->lifeline, &owner, c->rank, &hubs[0], err);
    free(hubs);
    return glia_comm_agree(c, "", status, err);
}

/* Find the ranks whose memory this process can map, and share gates with them. */
static glia_status share_gates(glia_comm *c, glia_err *err) {
    glia_mpi *m = state_of(c);
    if (!glia_mpi_enter(c)) return glia_comm_check(c, err);
    const int code = m->messages
                         ? MPI_Comm_split(m->all, c->rank, 0, &m->here)
                         : MPI_Comm_split_type(m->all, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &m->here);
    glia_mpi_leave(c);
    if (code != MPI_SUCCESS) return mpi_error(code, "ranks of this machine", err);
    MPI_Comm_set_errhandler(m->here, MPI_ERRORS_RETURN);
    MPI_Comm_size(m->here, &c->world->local);
    const glia_status status =
        map_window(c, &m->gates, sizeof(glia_gates), (char **)(void *)c->world->gates, err);
    if (!status) memset(c->world->gates[c->rank], 0, sizeof(glia_gates));
    return status;
}

/* Share the gates of all ranks. After that the collectives of the world can be called. */
static glia_status open_gates(glia_comm *c, glia_err *err) {
    glia_status status = share_gates(c, err);
    status = glia_comm_agree(c, state_of(c)->messages ? "messages" : "shared memory", status, err);
    if (!status) glia_comm_choose(c);
    return status;
}

static glia_status begin(glia_comm *c, glia_err *err) {
    glia_status status = same_version(c, err);
    if (!status) status = connect_lifeline(c, err);
    return status ? status : open_gates(c, err);
}

/* A world of the ranks of `of`, without gates. `first` is the world that it copies; NULL: none. */
static glia_status new_world(glia_comm **out, MPI_Comm of, glia_mpi *first, bool messages, glia_err *err) {
    int rank, size;
    MPI_Comm_rank(of, &rank);
    MPI_Comm_size(of, &size);
    *out = NULL;
    if (size > GLIA_RANKS_MAX)
        return glia_fail(err, GLIA_ERR_LIMIT, "%d ranks, limit is %d", size, GLIA_RANKS_MAX);
    glia_world *w = glia_world_new(&mpi_world, "mpi shared memory", size);
    glia_mpi *m = calloc(1, sizeof *m);
    const glia_status status =
        w && m ? glia_comm_new(out, w, rank, err) : glia_fail_nomem(err, sizeof *w + sizeof *m, "the ranks");
    if (status) {
        free(m);
        glia_world_free(w);
        return status; /* the other ranks notice when this process ends */
    }
    w->state = m;
    *m = (glia_mpi){.first = first ? first : m,
                    .messages = messages,
                    .all = MPI_COMM_NULL,
                    .here = MPI_COMM_NULL,
                    .gates = MPI_WIN_NULL,
                    .area = MPI_WIN_NULL};
    return GLIA_OK;
}

static glia_status copy(glia_comm **out, glia_comm *c, glia_err *err) {
    glia_mpi *first = state_of(c);
    *out = NULL;
    if (first->copied)
        return glia_fail(err, GLIA_ERR_UNSUPPORTED, "among processes a model has one engine at a time");
    if (!all_agree(c, COPY)) return glia_comm_check(c, err);
    glia_comm *made;
    glia_status status = new_world(&made, first->all, first, first->messages, err);
    if (made) made->world->failure = c->world->failure;
    status = glia_comm_agree(c, "", status, err);
    if (status) {
        glia_comm_free(made);
        return status;
    }
    first->copied = true;
    int code = MPI_ERR_OTHER;
    if (glia_mpi_enter(c)) {
        code = MPI_Comm_dup(first->all, &state_of(made)->all);
        glia_mpi_leave(c);
    }
    if (code != MPI_SUCCESS)
        glia_mpi_fail(c, code);
    else
        MPI_Comm_set_errhandler(state_of(made)->all, MPI_ERRORS_RETURN);
    status = glia_comm_check(c, err);
    if (!status) status = open_gates(made, err);
    if (status)
        glia_comm_free(made);
    else
        *out = made;
    return status;
}

glia_status glia_comm_mpi(glia_comm **out, bool messages, glia_last_words *last_words, glia_err *err) {
    int there = 0, provided;
    *out = NULL;
    MPI_Initialized(&there);
    if (!there && MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &provided) != MPI_SUCCESS)
        return glia_fail(err, GLIA_ERR_IO, "MPI does not start");
    struct sigaction term;
    if (sigaction(SIGTERM, NULL, &term) == 0 && term.sa_handler == SIG_DFL) signal(SIGTERM, SIG_IGN);
    glia_comm *c;
    glia_status status = new_world(&c, MPI_COMM_WORLD, NULL, messages, err);
    if (status) return status;
    glia_mpi *m = state_of(c);
    m->finalise = !there;
    m->last_words = last_words;
    MPI_Comm_dup(MPI_COMM_WORLD, &m->all);
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    MPI_Comm_set_errhandler(m->all, MPI_ERRORS_RETURN);
    status = begin(c, err);
    if (status)
        glia_comm_free(c);
    else
        *out = c;
    return status;
}
