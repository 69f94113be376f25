/* check_comm_mpi.c - collectives between MPI ranks, and their failures. This program
 * starts itself under mpirun, once per case.
 *
 * As a rank (`--rank CASE`) it prints one line, "rank N: ...". The test sees only what
 * the ranks print. */
#define _GNU_SOURCE
#include "comm.h"
#include "mpirun.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#ifdef GLIA_HAVE_MPI
#include <mpi.h>
#endif

/* ---- the rank ------------------------------------------------------------------ */

static int report(const glia_comm *c, int rank, glia_status status, const glia_err *err) {
    if (status == GLIA_OK)
        printf("rank %d: well, %s\n", rank, c ? glia_comm_name(c) : "");
    else
        printf("rank %d: failed: %s\n", rank, err->msg);
    fflush(stdout);
    return status != GLIA_OK;
}

static int my_rank(void) {
    const char *text = getenv("OMPI_COMM_WORLD_RANK");
    return text ? atoi(text) : 0;
}

/* Called while the rank's thread is blocked in MPI: print the same line and exit. */
static void end_at_once(const char *sentence) {
    glia_err err;
    _exit(report(NULL, my_rank(), glia_fail(&err, GLIA_ERR_IO, "%s", sentence), &err));
}

static void battery(comm_rank *r, int thread) { comm_battery(r, thread, 1); }

/* Rank 1 ends in the middle: it is killed, or it fails and says why. */
static bool rank_is_killed, rank_says_why;
static void end_in_the_middle(comm_rank *r, int thread) {
    float *in = glia_comm_area(r->c);
    for (int round = 0; !atomic_load(&r->done); round++) {
        if (round == 20 && thread == 0 && glia_comm_rank(r->c) == 1) {
            if (rank_is_killed) raise(SIGKILL);
            if (rank_says_why) glia_comm_fail(r->c, "out of luck");
        }
        glia_comm_all_reduce(r->c, thread, r->out, in, 5000, false);
        pthread_barrier_wait(&r->team); /* thread 0 decides, and all threads leave together */
        if (thread == 0 && glia_comm_check(r->c, NULL) != GLIA_OK) atomic_store(&r->done, 1);
        pthread_barrier_wait(&r->team);
    }
}

/* The memory of an area equals the plan. A rank also maps the areas of its neighbours. */
static int run_memory(glia_comm *world, int neighbours) {
    enum { BYTES = 8 << 20, SLACK = 3 << 20 };
    glia_err err = {0};
    const size_t before = comm_mapped_bytes();
    glia_status status = glia_comm_share(world, BYTES, &err);
    const size_t took = comm_mapped_bytes() - before;
    const glia_comm_kind kind = glia_comm_kind_of(world);
    const size_t plan = glia_comm_memory(kind, glia_comm_size(world), BYTES) + (size_t)neighbours * BYTES;
    if (!status && (took > plan + SLACK || plan > took + SLACK))
        status = glia_fail(&err, GLIA_ERR_LIMIT, "kind %d: %zu bytes mapped, %zu planned", kind, took, plan);
    const int code = report(world, glia_comm_rank(world), status, &err);
    glia_comm_free(world);
    return code;
}

static int run_ranks(glia_comm *world, const char *name) {
    static const int everyone[] = {0, 1, 2, 3, 4, 5, 6, 7};
    static const int colour[] = {0, 1, 0, 1, 0, 1, 0, 1}, even[] = {0, 2, 4, 6}, odd[] = {1, 3, 5, 7};
    static const int host[] = {0, 0, 1, 1, 2, 2, 3, 3};
    const bool groups = strstr(name, "groups"), by_host = strcmp(name, "by-host") == 0;
    rank_is_killed = strcmp(name, "killed") == 0;
    rank_says_why = strcmp(name, "fails") == 0;
    const bool ends = rank_is_killed || rank_says_why;
    const int rank = glia_comm_rank(world);
    if (strstr(name, "bench")) comm_half = COMM_BENCH_HALF;
    comm_rank r = {.threads = strstr(name, "team") ? 1 + rank % 3
                              : ends               ? 2
                                                   : 1,
                   .out = calloc(comm_half, 1)};
    glia_err err = {0};
    glia_status status = glia_comm_share(world, 2 * comm_half, &err);
    r.member = groups ? rank % 2 ? odd : even : by_host ? everyone + rank / 2 * 2 : everyone;
    const int *by = groups ? colour : by_host ? host : NULL;
    if (status == GLIA_OK) status = glia_comm_split(&r.c, world, by, r.threads, &err);
    if (status != GLIA_OK) return report(world, rank, status, &err);
    comm_run(&r, 1, ends ? end_in_the_middle : strstr(name, "bench") ? comm_bench : battery);
    status = glia_comm_check(world, &err);
    if (status == GLIA_OK && (r.wrong || r.done != r.threads))
        status =
            glia_fail(&err, GLIA_ERR_FORMAT, "%d wrong, %d of %d threads done", r.wrong, r.done, r.threads);
    const int code = report(r.c, rank, status, &err);
    glia_comm_free(r.c);
    glia_comm_free(world);
    free(r.out);
    return code;
}

#ifdef GLIA_HAVE_MPI
/* A rank of another version of Glia, up to the exchange of versions. */
static int run_other_version(void) {
    char mine[32] = "0.0.9", all[32 * 8];
    MPI_Comm comm;
    MPI_Request request;
    MPI_Init(NULL, NULL);
    MPI_Comm_dup(MPI_COMM_WORLD, &comm);
    MPI_Iallgather(mine, 32, MPI_BYTE, all, 32, MPI_BYTE, comm, &request);
    MPI_Wait(&request, MPI_STATUS_IGNORE);
    printf("rank %d: failed: as it should\n", my_rank());
    return 1;
}
#endif

static int run_rank(const char *name) {
    glia_comm *world = NULL;
    glia_err err = {0};
    const int rank = my_rank();
#ifdef GLIA_HAVE_MPI
    if (strcmp(name, "version") == 0 && rank == 1) return run_other_version();
#endif
    glia_status status = glia_comm_mpi(&world, strncmp(name, "messages", 8) == 0, end_at_once, &err);
    if (status != GLIA_OK) return report(NULL, rank, status, &err);
    if (strcmp(name, "config") == 0)
        status = glia_comm_agree(world, rank == 2 ? "bfloat16" : "float32", GLIA_OK, &err);
    if (strcmp(name, "weights") == 0) {
        if (rank == 1) status = glia_fail(&err, GLIA_ERR_IO, "model.safetensors: no such file");
        status = glia_comm_agree(world, "", status, &err);
    }
    if (strcmp(name, "memory") == 0) return run_memory(world, glia_comm_size(world) - 1);
    if (strcmp(name, "messages-memory") == 0) return run_memory(world, 0);
    if (status == GLIA_OK) return run_ranks(world, name);
    const int code = report(world, rank, status, &err);
    glia_comm_free(world);
    return code;
}

/* ---- the test -------------------------------------------------------------------- */

static char program[4096];

/* `--bench`: two ranks, over shared memory and over messages. */
static int bench(void) {
    static const char *const names[] = {"bench", "messages-bench"};
    for (int i = 0; i < 2; i++) {
        char command[8192];
        snprintf(command, sizeof command,
                 "OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 mpirun -n 2 %s --rank %s",
                 program, names[i]);
        if (system(command) != 0) return 1;
    }
    return 0;
}

/* The command that runs this program as a rank. */
static const char *as_rank(const char *name) {
    static char command[sizeof program + 64];
    snprintf(command, sizeof command, "%s --rank %s", program, name);
    return command;
}

/* Check that every rank except `except` printed this line. */
static void expect_all(int ranks, int except, const char *text) {
    char want[700];
    for (int r = 0; r < ranks; r++) {
        if (r == except) continue;
        snprintf(want, sizeof want, "rank %d: %s", r, text);
        CHECK(strstr(mpi_lines, want) != NULL, "no line \"%s\" in:\n%s", want, mpi_lines);
    }
}

static void test_well(void **state) {
    (void)state;
    static const struct {
        int ranks;
        const char *options, *name, *way;
    } rows[] = {
        {1, "", "all", "well, single"},
        {2, "", "all", "well, mpi shared memory"},
        {4, "", "groups", "well, mpi shared memory"},
        {3, "", "team", "well, mpi shared memory"},
        {2, "", "messages", "well, mpi messages"},
        {2, "", "memory", "well, mpi shared memory"},
        {2, "", "messages-memory", "well, mpi "},
        {3, "", "messages-team", "well, mpi messages"},
        {4, "", "messages-groups", "well, mpi messages"},
        {5, "--mca btl tcp,self", "messages", "well, mpi messages"},
    };
    mpi_need();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const int code = mpi_start(rows[i].ranks, rows[i].options, as_rank(rows[i].name));
        CHECK(code == 0, "%d ranks, %s: exit %d\n%s", rows[i].ranks, rows[i].name, code, mpi_lines);
        expect_all(rows[i].ranks, -1, rows[i].way);
    }
}

/* After any failure, every rank prints the same reason and ends in time. */
static void test_failures(void **state) {
    (void)state;
    static const struct {
        const char *options, *name;
        int except; /* the rank that cannot print the reason */
        const char *text;
    } rows[] = {
        {"", "killed", 1, "failed: rank 1 (process "},
        {"--mca btl tcp,self", "killed", 1, "failed: rank 1 (process "},
        {"", "fails", -1, "failed: rank 1: out of luck"},
        {"", "weights", -1, "failed: rank 1: model.safetensors: no such file"},
        {"", "config", -1, "failed: rank 2 is configured as bfloat16, rank 0 as float32"},
        {"", "version", 1, "failed: rank 1 runs Glia 0.0.9, rank 0 runs Glia "},
    };
    mpi_need();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const int code = mpi_start(3, rows[i].options, as_rank(rows[i].name));
        CHECK(code != 0, "%s: exit 0\n%s", rows[i].name, mpi_lines);
        CHECK(mpi_took < 60, "%s: took %.1f s", rows[i].name, mpi_took);
        expect_all(3, rows[i].except, rows[i].text);
    }
}

/* Network namespaces act as machines, which communicate by TCP. */
static void test_hosts(void **state) {
    (void)state;
    static const struct {
        int hosts, each; /* each: ranks per host */
        const char *name;
        int except;
        const char *text;
    } rows[] = {
        {2, 1, "all", -1, "well, mpi messages"},
        {2, 2, "by-host", -1, "well, mpi shared memory"},
        {2, 2, "groups", -1, "well, mpi messages"},
        {2, 1, "killed", 1, "failed: rank 1 (process "},
        {3, 1, "config", -1, "failed: rank 2 is configured as bfloat16, rank 0 as float32"},
    };
    mpi_need_hosts();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const int code = mpi_start_on(rows[i].hosts, rows[i].each, "", as_rank(rows[i].name));
        CHECK((code == 0) == (rows[i].text[0] == 'w'), "%s: exit %d\n%s", rows[i].name, code, mpi_lines);
        expect_all(rows[i].hosts * rows[i].each, rows[i].except, rows[i].text);
    }
}

#ifndef GLIA_HAVE_MPI
static void test_without_mpi(void **state) {
    (void)state;
    glia_comm *c;
    glia_err err;
    assert_int_equal(glia_comm_mpi(&c, false, NULL, &err), GLIA_ERR_UNSUPPORTED);
    assert_string_equal(err.msg,
                        "this build of Glia has no MPI, so processes cannot be ranks: install an MPI and "
                        "build again, or let one process have several ranks (tensor_parallel_size)");
}
#endif

int main(int argc, char **argv) {
    if (argc == 3 && strcmp(argv[1], "--rank") == 0) return run_rank(argv[2]);
    mpi_find_self(program, sizeof program);
    if (argc == 2 && strcmp(argv[1], "--bench") == 0) return bench();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_well),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_hosts),
#ifndef GLIA_HAVE_MPI
        cmocka_unit_test(test_without_mpi),
#endif
    };
    return check_run_group("comm_mpi", tests);
}
