/* check_comm.c - collectives between thread ranks: bits, groups, failures. */
#define _GNU_SOURCE
#include "comm.h"

#include <unistd.h>

enum { RANKS_MAX = 9 };

static const int everyone[] = {0, 1, 2, 3, 4, 5, 6, 7, 8};

/* A world of n ranks with shared areas, split into groups by colour; each rank has
 * `threads` threads. */
typedef struct {
    glia_comm *world[RANKS_MAX];
    comm_rank rank[RANKS_MAX];
    int n;
} fixture;

static void set_up(fixture *f, int n, int threads, const int *colour) {
    glia_err err;
    memset(f, 0, sizeof *f);
    f->n = n;
    assert_int_equal(glia_comm_threads(f->world, n, &err), GLIA_OK);
    for (int r = 0; r < n; r++) {
        assert_int_equal(glia_comm_share(f->world[r], 2 * comm_half, &err), GLIA_OK);
        f->rank[r].threads = threads;
        f->rank[r].member = everyone;
        f->rank[r].out = calloc(comm_half, 1);
        assert_int_equal(glia_comm_split(&f->rank[r].c, f->world[r], colour, threads, &err), GLIA_OK);
    }
}

static void tear_down(fixture *f) {
    for (int r = 0; r < f->n; r++) {
        glia_comm_free(f->rank[r].c);
        glia_comm_free(f->world[r]);
        free(f->rank[r].out);
    }
}

static void check_well(const fixture *f, const char *what) {
    for (int r = 0; r < f->n; r++) {
        CHECK(atomic_load(&f->rank[r].wrong) == 0, "%s: %d ranks: rank %d: %d wrong", what, f->n, r,
              atomic_load(&f->rank[r].wrong));
        CHECK(atomic_load(&f->rank[r].done) == f->rank[r].threads, "%s: rank %d did not end", what, r);
        assert_int_equal(glia_comm_check(f->rank[r].c, NULL), GLIA_OK);
    }
}

static void once(comm_rank *r, int thread) { comm_battery(r, thread, 1); }

static void test_every_size(void **state) {
    (void)state;
    for (int n = 1; n <= RANKS_MAX; n++)
        for (int threads = 1; threads <= 3; threads++) {
            fixture f;
            if (n > 5 && threads == 2) continue;
            set_up(&f, n, threads, NULL);
            assert_string_equal(glia_comm_name(f.rank[0].c), n == 1 ? "single" : "threads");
            comm_run(f.rank, n, once);
            check_well(&f, "all ranks");
            tear_down(&f);
        }
}

/* Ranks may have different numbers of threads. */
static void test_uneven_teams(void **state) {
    (void)state;
    glia_err err;
    fixture f;
    set_up(&f, 3, 1, NULL);
    for (int r = 0; r < 3; r++) {
        glia_comm_free(f.rank[r].c);
        f.rank[r].threads = 1 + r;
        assert_int_equal(glia_comm_split(&f.rank[r].c, f.world[r], NULL, 1 + r, &err), GLIA_OK);
    }
    comm_run(f.rank, 3, once);
    check_well(&f, "uneven teams");
    tear_down(&f);
}

static void test_groups(void **state) {
    (void)state;
    static const int colour[] = {0, 1, 0, 2, 1, 0, 1, 0};
    static const int members[3][4] = {{0, 2, 5, 7}, {1, 4, 6}, {3}};
    static const int size[] = {4, 3, 1};
    fixture f;
    set_up(&f, 8, 2, colour);
    for (int r = 0; r < 8; r++) {
        f.rank[r].member = members[colour[r]];
        assert_int_equal(glia_comm_size(f.rank[r].c), size[colour[r]]);
        assert_int_equal(members[colour[r]][glia_comm_rank(f.rank[r].c)], r);
    }
    comm_run(f.rank, 8, once);
    check_well(&f, "groups");
    tear_down(&f);
}

/* Each rank alternates between two groups and the world, as attention and MLP do. */
static glia_comm *rows[6], *columns[6];
static void cross(comm_rank *r, int thread) {
    static const int row[3][2] = {{0, 1}, {2, 3}, {4, 5}}, column[2][3] = {{0, 2, 4}, {1, 3, 5}};
    glia_comm *all = r->c;
    const int me = glia_comm_rank(all);
    for (int round = 0; round < 60; round += 3) {
        comm_try_all_reduce(r, thread, round, 5000, false);
        r->c = rows[me];
        r->member = row[me / 2];
        comm_try_all_reduce(r, thread, round + 1, 300, true);
        glia_comm_barrier(all, thread); /* the last reader of the next buffer may be in another group */
        r->c = columns[me];
        r->member = column[me % 2];
        comm_try_gather(r, thread, round + 2, 3, 90, -1);
        r->c = all;
        r->member = everyone;
        glia_comm_barrier(r->c, thread);
    }
    atomic_fetch_add(&r->done, 1);
}

static void test_crossing_groups(void **state) {
    (void)state;
    static const int by_row[] = {0, 0, 1, 1, 2, 2}, by_column[] = {0, 1, 0, 1, 0, 1};
    fixture f;
    set_up(&f, 6, 1, NULL);
    for (int r = 0; r < 6; r++) {
        assert_int_equal(glia_comm_split(&rows[r], f.world[r], by_row, 1, NULL), GLIA_OK);
        assert_int_equal(glia_comm_split(&columns[r], f.rank[r].c, by_column, 1, NULL), GLIA_OK);
    }
    comm_run(f.rank, 6, cross);
    check_well(&f, "crossing groups");
    for (int r = 0; r < 6; r++) {
        glia_comm_free(rows[r]);
        glia_comm_free(columns[r]);
    }
    tear_down(&f);
}

/* The byte counts follow the formulas in docs/PARALLEL.md. */
static void count_bytes(comm_rank *r, int thread) {
    float *in = glia_comm_area(r->c);
    glia_comm_all_reduce(r->c, thread, r->out, in, 1000, false);
    glia_comm_all_reduce(r->c, thread, r->out, in, 40000, false);
    glia_comm_reduce_scatter(r->c, thread, r->out, in, 8, 100, false);
    glia_comm_all_gather(r->c, thread, r->out, in,
                         &(glia_gather){.rows = 3, .n = 4, .unit = 10, .ld_in = 10, .ld_out = 40});
    glia_comm_gather(r->c, thread, r->out, in,
                     &(glia_gather){.rows = 3, .n = 4, .unit = 10, .ld_in = 10, .ld_out = 40}, 2);
    glia_comm_exchange(r->c, thread, r->out, in, 50, 60);
    const glia_sum two = {.n = 40000, .per_rank = 2, .stride = 50000};
    glia_comm_all_reduce_many(r->c, thread, r->out, in, &two);
    const glia_sum three = {.n = 8, .unit = 100, .per_rank = 3, .stride = 800};
    glia_comm_reduce_scatter_many(r->c, thread, r->out, in, &three);
    glia_comm_broadcast(r->c, thread, in, 77, 1);
    glia_comm_barrier(r->c, thread);
    atomic_fetch_add(&r->done, 1);
}

static void test_costs(void **state) {
    (void)state;
    fixture f;
    set_up(&f, 4, 2, NULL);
    comm_run(f.rank, 4, count_bytes);
    check_well(&f, "costs");
    for (int r = 0; r < 4; r++) {
        const glia_comm_cost cost = glia_comm_costs(f.rank[r].c);
        assert_int_equal(cost.calls, 10);
        assert_int_equal(cost.bytes, 3 * 4000 + 2 * 3 * 40000 + 3 * 800 + 3 * 30 + (r == 2 ? 3 * 30 : 0) +
                                         3 * 50 + (2 * 3 + 3) * 40000 + 3 * 3 * 800 + (r == 1 ? 0 : 77));
        assert_true(cost.seconds > 0);
    }
    tear_down(&f);
}

/* Rank 2 fails in its fifth round: the calls of all other ranks return with the reason. */
static void fail_in_the_middle(comm_rank *r, int thread) {
    float *in = glia_comm_area(r->c);
    for (int round = 0; round < 50; round++) {
        if (round == 5 && glia_comm_rank(r->c) == 2) {
            if (thread == 0) {
                usleep(1000);
                glia_comm_fail(r->c, "cannot read\nits weights");
            }
            break;
        }
        glia_comm_all_reduce(r->c, thread, r->out, in, 50000, false);
        glia_comm_barrier(r->c, thread);
    }
    atomic_fetch_add(&r->done, 1);
}

static void test_failure(void **state) {
    (void)state;
    fixture f;
    glia_err err;
    set_up(&f, 4, 2, NULL);
    comm_run(f.rank, 4, fail_in_the_middle);
    for (int r = 0; r < 4; r++) {
        assert_int_equal(atomic_load(&f.rank[r].done), 2);
        assert_int_equal(glia_comm_check(f.rank[r].c, &err), GLIA_ERR_IO);
        assert_string_equal(err.msg, "rank 2: cannot read?its weights");
    }
    tear_down(&f);
}

typedef struct {
    glia_comm *world;
    const char *config;
    glia_status own, got;
    glia_err err;
} agreement;

static void *agree(void *arg) {
    agreement *a = arg;
    if (a->own != GLIA_OK) snprintf(a->err.msg, sizeof a->err.msg, "weights.bin: no such file");
    a->got = glia_comm_agree(a->world, a->config, a->own, &a->err);
    return NULL;
}

static void test_agreement(void **state) {
    (void)state;
    static const struct {
        const char *config[3];
        glia_status own[3], want;
        const char *msg;
    } rows_of[] = {
        {{"a", "a", "a"}, {GLIA_OK, GLIA_OK, GLIA_OK}, GLIA_OK, ""},
        {{"tp 3", "tp 3", "tp 4"},
         {GLIA_OK, GLIA_OK, GLIA_OK},
         GLIA_ERR_ARGUMENT,
         "rank 2 is configured as tp 4, rank 0 as tp 3"},
        {{"tp 3, block 64, length 9", "tp 3, block 128, length 9", "tp 4, block 6, length 9"},
         {GLIA_OK, GLIA_OK, GLIA_OK},
         GLIA_ERR_ARGUMENT,
         "rank 1 is configured as block 128, rank 0 as block 64"},
        {{"a", "b", "a"},
         {GLIA_OK, GLIA_ERR_SHAPE, GLIA_OK},
         GLIA_ERR_SHAPE,
         "rank 1: weights.bin: no such file"},
        {{"a", "a", "a"},
         {GLIA_ERR_IO, GLIA_OK, GLIA_ERR_SHAPE},
         GLIA_ERR_IO,
         "rank 0: weights.bin: no such file"},
    };
    for (size_t i = 0; i < sizeof rows_of / sizeof *rows_of; i++) {
        glia_comm *world[3];
        agreement a[3];
        pthread_t thread[3];
        assert_int_equal(glia_comm_threads(world, 3, NULL), GLIA_OK);
        for (int r = 0; r < 3; r++) {
            a[r] = (agreement){.world = world[r], .config = rows_of[i].config[r], .own = rows_of[i].own[r]};
            pthread_create(&thread[r], NULL, agree, &a[r]);
        }
        for (int r = 0; r < 3; r++) {
            pthread_join(thread[r], NULL);
            assert_int_equal(a[r].got, rows_of[i].want);
            if (a[r].got != GLIA_OK) assert_string_equal(a[r].err.msg, rows_of[i].msg);
        }
        for (int r = 0; r < 3; r++) glia_comm_free(world[r]);
    }
}

static void test_arguments(void **state) {
    (void)state;
    glia_comm *c, *group[GLIA_GROUPS_MAX];
    glia_err err;
    assert_int_equal(glia_comm_threads(&c, 0, &err), GLIA_ERR_ARGUMENT);
    assert_string_equal(err.msg, "ranks: 0 is not in 1..1024");
    assert_int_equal(glia_comm_threads(&c, 1025, &err), GLIA_ERR_ARGUMENT);
    assert_int_equal(glia_comm_threads(&c, 1, &err), GLIA_OK);
    assert_int_equal(glia_comm_share(c, (size_t)1 << 60, &err), GLIA_ERR_NOMEM);
    assert_string_equal(err.msg, "no memory: 1152921504606846976 bytes for a rank's area");
    for (int i = 1; i < GLIA_GROUPS_MAX; i++)
        assert_int_equal(glia_comm_split(&group[i], c, NULL, 1, &err), GLIA_OK);
    assert_int_equal(glia_comm_split(&group[0], c, NULL, 1, &err), GLIA_ERR_LIMIT);
    assert_string_equal(err.msg, "a rank is in 16 groups already");
    for (int i = 1; i < GLIA_GROUPS_MAX; i++) glia_comm_free(group[i]);
    glia_comm_free(c);
    glia_comm_free(NULL);
}

/* glia_comm_memory() is the memory that an area needs. */
static void test_memory(void **state) {
    (void)state;
    enum { BYTES = 24 << 20, SLACK = 1 << 20 };
    glia_comm *c;
    assert_int_equal(glia_comm_threads(&c, 1, NULL), GLIA_OK);
    assert_int_equal(glia_comm_kind_of(c), GLIA_COMM_THREADS);
    assert_int_equal(glia_comm_kind_of(NULL), GLIA_COMM_THREADS);
    const size_t before = comm_mapped_bytes();
    assert_int_equal(glia_comm_share(c, BYTES, NULL), GLIA_OK);
    const size_t took = comm_mapped_bytes() - before, plan = glia_comm_memory(GLIA_COMM_THREADS, 1, BYTES);
    CHECK(took <= plan + SLACK && plan <= took + SLACK, "%zu bytes mapped, %zu planned", took, plan);
    glia_comm_free(c);
    /* With messages the area exists twice: itself and the staging buffer. */
    const size_t shared = glia_comm_memory(GLIA_COMM_SHARED, 8, BYTES);
    assert_true(shared >= BYTES && shared <= BYTES + 2 * 4096);
    assert_true(glia_comm_memory(GLIA_COMM_MESSAGES, 8, BYTES) >= shared + BYTES);
}

static int bench(void) {
    comm_half = COMM_BENCH_HALF;
    for (int n = 2; n <= 4; n += 2) {
        fixture f;
        printf("%d ranks\n", n);
        set_up(&f, n, 1, NULL);
        comm_run(f.rank, n, comm_bench);
        tear_down(&f);
    }
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "--bench") == 0) return bench();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_size), cmocka_unit_test(test_uneven_teams),
        cmocka_unit_test(test_groups),     cmocka_unit_test(test_crossing_groups),
        cmocka_unit_test(test_costs),      cmocka_unit_test(test_failure),
        cmocka_unit_test(test_agreement),  cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_memory),
    };
    return check_run_group("comm", tests);
}
