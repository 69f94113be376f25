/* check_team.c - every thread runs every job, and barriers and work sharing work. */
#include "check.h"

#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cores.h"
#include "base/team.h"

typedef struct {
    glia_team *team;
    int cell[16]; /* not atomic, so that ThreadSanitizer reports a barrier that does not order memory */
    int rounds;
    atomic_int wrong;
} job;

static void rotate(void *arg, int thread) {
    job *j = arg;
    const int n = glia_team_size(j->team);
    for (int r = 0; r < j->rounds; r++) {
        j->cell[thread] = r;
        glia_team_barrier(j->team);
        if (j->cell[(thread + 1) % n] != r) atomic_fetch_add(&j->wrong, 1);
        glia_team_barrier(j->team);
    }
}

static void test_sizes(void **state) {
    (void)state;
    for (int n = 1; n <= 5; n++) {
        job j = {.rounds = 300};
        assert_int_equal(glia_team_create(&j.team, n, NULL), GLIA_OK);
        assert_int_equal(glia_team_size(j.team), n);
        for (int again = 0; again < 20; again++) glia_team_run(j.team, rotate, &j);
        assert_int_equal(atomic_load(&j.wrong), 0);
        glia_team_free(j.team);
    }
}

static void test_share(void **state) {
    (void)state;
    for (size_t n = 0; n < 40; n++)
        for (int of = 1; of < 9; of++) {
            size_t next = 0, from, to;
            for (int i = 0; i < of; i++) {
                glia_share(n, i, of, &from, &to);
                assert_int_equal(from, next);
                assert_true(to - from <= n / (size_t)of + 1);
                next = to;
            }
            assert_int_equal(next, n);
        }
}

enum { THINGS = 300, SHARINGS = 400 };

typedef struct {
    glia_team *team;
    atomic_uchar taken[SHARINGS][THINGS];
    atomic_int wrong;
} shared;

/* One round of work sharing after another without a barrier; thread 0 is slow at times. */
static void take_all(void *arg, int thread) {
    shared *s = arg;
    const int n = glia_team_size(s->team);
    for (size_t k = 0; k < SHARINGS; k++) {
        const size_t things = k * 7 % (THINGS + 1), grain = 1 + k % 5;
        glia_team_begin(s->team, thread);
        for (int i = 0; i < n && i <= 2; i++) { /* its own range, then those of the next two threads */
            const int owner = (thread + i) % n;
            size_t first, end, from, to;
            glia_share(things, owner, n, &first, &end);
            while (glia_team_take(s->team, thread, owner, end - first, grain, &from, &to)) {
                const bool whole = to - from < grain || (to - from) % grain == 0;
                if (from >= to || to > end - first || !whole) atomic_fetch_add(&s->wrong, 1);
                for (size_t j = from; j < to; j++) atomic_fetch_add(&s->taken[k][first + j], 1);
                for (volatile int wait = 0; thread == 0 && k % 3 == 0 && wait < 3000;) wait++;
            }
        }
    }
}

static void test_take(void **state) {
    (void)state;
    for (int n = 1; n <= 4; n++) {
        shared *s = calloc(1, sizeof *s);
        assert_int_equal(glia_team_create(&s->team, n, NULL), GLIA_OK);
        glia_team_run(s->team, take_all, s);
        assert_int_equal(atomic_load(&s->wrong), 0);
        for (size_t k = 0; k < SHARINGS; k++)
            for (size_t j = 0; j < THINGS; j++)
                assert_int_equal(atomic_load(&s->taken[k][j]), j < k * 7 % (THINGS + 1));
        glia_team_free(s->team);
        free(s);
    }
}

static void test_arguments(void **state) {
    (void)state;
    glia_team *t;
    glia_err err;
    assert_int_equal(glia_team_create(&t, -1, &err), GLIA_ERR_ARGUMENT);
    assert_int_equal(glia_team_create(&t, 100000, &err), GLIA_ERR_ARGUMENT);
    assert_string_equal(err.msg, "threads: 100000 is not in 0..1024");
    assert_int_equal(glia_team_create(&t, 0, &err), GLIA_OK);
    assert_int_equal(glia_team_size(t), glia_cores_available());
    glia_team_free(t);
    glia_team_free(NULL);
}

/* Write a file of a simulated cgroup below `root`. */
static void put_file(const char *root, const char *path, const char *text) {
    char command[1200];
    snprintf(command, sizeof command, "mkdir -p %s/$(dirname %s) && printf '%%b\\n' '%s' > %s/%s", root, path,
             text, root, path);
    assert_int_equal(system(command), 0);
}

static void test_quota(void **state) {
    (void)state;
    static const struct {
        const char *file[4][2];
        int cores;
    } rows[] = {
        {{{0}}, INT_MAX},
        {{{"proc/self/cgroup", "0::/"}, {"sys/fs/cgroup/cpu.max", "200000 100000"}}, 2},
        {{{"proc/self/cgroup", "0::/"}, {"sys/fs/cgroup/cpu.max", "200001 100000"}}, 3},
        {{{"proc/self/cgroup", "0::/"}, {"sys/fs/cgroup/cpu.max", "1000 100000"}}, 1},
        {{{"proc/self/cgroup", "0::/"}, {"sys/fs/cgroup/cpu.max", "max 100000"}}, INT_MAX},
        {{{"proc/self/cgroup", "0::/a/b"},
          {"sys/fs/cgroup/a/b/cpu.max", "700000 100000"},
          {"sys/fs/cgroup/a/cpu.max", "300000 100000"},
          {"sys/fs/cgroup/cpu.max", "max 100000"}},
         3},
        {{{"proc/self/cgroup", "0::/a"}, {"sys/fs/cgroup/other/cpu.max", "300000 100000"}}, INT_MAX},
        {{{"proc/self/cgroup", "5:cpuset:/\n4:cpu,cpuacct:/docker/x\n0::/"},
          {"sys/fs/cgroup/cpu/cpu.cfs_quota_us", "250000"},
          {"sys/fs/cgroup/cpu/cpu.cfs_period_us", "50000"}},
         5},
        {{{"proc/self/cgroup", "4:cpuacct,cpu:/x"},
          {"sys/fs/cgroup/cpu/x/cpu.cfs_quota_us", "-1"},
          {"sys/fs/cgroup/cpu/x/cpu.cfs_period_us", "100000"}},
         INT_MAX},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *root = check_temp_dir();
        for (int k = 0; k < 4 && rows[i].file[k][0]; k++)
            put_file(root, rows[i].file[k][0], rows[i].file[k][1]);
        CHECK(glia_cores_quota(root) == rows[i].cores, "row %zu: %d", i, glia_cores_quota(root));
    }
    assert_true(glia_cores_available() <= glia_cores_quota(""));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),     cmocka_unit_test(test_share), cmocka_unit_test(test_take),
        cmocka_unit_test(test_arguments), cmocka_unit_test(test_quota),
    };
    return check_run_group("team", tests);
}
