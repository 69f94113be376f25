/* check_mpi_streams.c - `mpirun glia ...`: MPI ranks print the same as thread ranks,
 * for every kind of sampling, and only rank 0 reads standard input. Commands that
 * cannot run as several processes say so. */
#define _GNU_SOURCE
#include "mpirun.h"

#include "base/file.h"

#define MODEL "models/qwen3-demo"

static char program[600];

static void set_up(void) {
    char *slash;
    mpi_need();
    if (!glia_dir_exists(MODEL)) check_skip("the demo model is not here");
    mpi_find_self(program, sizeof program);
    for (int up = 0; up < 2 && (slash = strrchr(program, '/')); up++) *slash = '\0'; /* BUILD */
}

/* Run this build's glia, alone or as `ranks` processes. mpirun gives it a terminal as
 * standard output. */
static int glia(int ranks, const char *input, const char *args, const char *then) {
    char command[2048], launch[200] = "";
    if (ranks) snprintf(launch, sizeof launch, "timeout -k 1 300 mpirun " MPI_PATIENCE " -n %d ", ranks);
    snprintf(command, sizeof command,
             "export NO_COLOR=1 OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 "
             "OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_hwloc_base_binding_policy=none "
             "ASAN_OPTIONS=detect_leaks=0 TSAN_OPTIONS=report_bugs=0\n"
             "printf '%s' | %s%s/glia %s %s",
             input, launch, program, args, then);
    return mpi_run(command);
}

static void check_same(const char *input, const char *args, const char *then) {
    char threads[500];
    for (int n = 2; n <= 3; n++) {
        snprintf(threads, sizeof threads, "%s -tp %d", args, n);
        CHECK(glia(0, input, threads, then) == 0, "%s: %s", args, mpi_lines);
        char *want = strdup(mpi_lines);
        assert_non_null(want);
        CHECK(glia(n, input, args, then) == 0, "%d processes, %s: %s", n, args, mpi_lines);
        CHECK(*want && strcmp(mpi_lines, want) == 0, "%s\nthreads: %s\nMPI: %s", args, want, mpi_lines);
        free(want);
    }
}

static void test_draws(void **state) {
    (void)state;
    set_up();
    check_same("", "generate " MODEL " -p Once --top-k 20 --temperature 0.9 --seed 3 -n 16", "");
    check_same("", "generate " MODEL " -p Tell --temperature 0.9 --seed 3 -n 16 --logprobs 2 --json",
               "| sed 's/,\"usage.*//'");
    check_same("", "generate " MODEL " -p Who --greedy --repetition-penalty 1.3 -n 16", "");
}

static void test_streams(void **state) {
    (void)state;
    set_up();
    check_same("[[1,2,3],[4,5,6,7,8]]", "generate " MODEL " --ids - --greedy -n 4", "");
    check_same("Who are you?\\nHello\\n", "run " MODEL " --greedy", "2> /dev/null");
}

static void test_bench(void **state) {
    (void)state;
    set_up();
    assert_int_equal(glia(2, "", "bench " MODEL " --runs 1 --prompt-tokens 8 --output-tokens 8", ""), 0);
    assert_non_null(strstr(mpi_lines, "threads on each of 2 ranks\n"));
    assert_non_null(strstr(mpi_lines, "\ncollectives     by mpi shared memory: "));
    assert_int_equal(glia(1, "", "generate " MODEL " -p Hi --greedy -n 4", ""), 0);
}

/* Commands that cannot run as several processes say so. */
static void test_alone(void **state) {
    (void)state;
    set_up();
    assert_int_not_equal(glia(2, "", "inspect " MODEL, "2>&1"), 0);
    assert_non_null(strstr(mpi_lines, "glia: inspect is not shared by processes: start it without mpirun"));
    assert_int_equal(glia(1, "", "inspect " MODEL, ""), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_draws),
        cmocka_unit_test(test_streams),
        cmocka_unit_test(test_bench),
        cmocka_unit_test(test_alone),
    };
    return check_run_group("mpi_streams", tests);
}
