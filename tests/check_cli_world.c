/* check_cli_world.c - the environment of the program `glia`: a standard output that is
 * closed or full, launchers of ranks, the Hugging Face cache. */
#define _GNU_SOURCE
#include "cli.h"

static int run_to(int out, const char *command) {
    int status;
    char line[256], *argv[ARGS_MAX];
    snprintf(line, sizeof line, "%s", command);
    split(line, argv);
    const pid_t child = fork();
    if (child == 0) {
        const int nothing = open("/dev/null", O_RDWR);
        dup2(nothing, 0);
        dup2(nothing, 2);
        if (out >= 0)
            dup2(out, 1);
        else
            close(1);
        check_exec((const char *const *)argv);
    }
    waitpid(child, &status, 0);
    return decode(status);
}

/* Standard output is a full device: the last line of standard error reports this error,
 * even if later calls fail too. */
static void full_device(void **state) {
    (void)state;
    static const char *const commands[] = {"--help",
                                           "run %s -p Hello --max-tokens 5 --greedy",
                                           "run %s -p Hello --max-tokens 5 --json",
                                           "generate %s -p Hello --max-tokens 5 --json",
                                           "inspect %s",
                                           "tokenize %s"};
    static const char want[] = "glia: standard output: No space left on device\n";
    const int full = open("/dev/full", O_WRONLY);
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        char args[256];
        snprintf(args, sizeof args, commands[i], models[0]);
        outcome o = glia_in("\"hi\"\n", 5, full, args);
        const size_t n = strlen(o.err), end = sizeof want - 1;
        CHECK(o.status == 1 && n >= end && strcmp(o.err + n - end, want) == 0, "%s: exit %d, %s", args,
              o.status, o.err);
        done(&o);
    }
    close(full);
    outcome o = glia("[1,2,3]", "score %s --ids - --out /dev/full", models[0]);
    CHECK(o.status == 1 && strstr(o.err, "/dev/full: exists and is not a regular file"), "%s", o.err);
    done(&o);
}

/* Environment variables that launchers set for a rank. */
static void launchers(void **state) {
    (void)state;
    static const char *const variables[][2] = {{"OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"},
                                               {"PMI_SIZE", "PMI_RANK"},
                                               {"SLURM_STEP_NUM_TASKS", "PMIX_RANK"}};
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++) {
        setenv(variables[i][0], "2", 1);
        outcome o = glia("", "inspect models/qwen3-demo --json");
        CHECK(o.status == 0, "%s alone: %s", variables[i][0], o.err);
        done(&o);
        setenv(variables[i][1], "1", 1);
        check_refused("inspect models/qwen3-demo", "", 2, "start it without mpirun");
        unsetenv(variables[i][0]);
        unsetenv(variables[i][1]);
    }
}

static void output_that_goes_nowhere(void **state) {
    int ends[2];
    (void)state;
    assert_int_equal(pipe(ends), 0);
    close(ends[0]);
    CHECK(run_to(ends[1], "run --help") == 1000 + SIGPIPE, "a closed pipe does not end it");
    close(ends[1]);
    const int full = open("/dev/full", O_WRONLY);
    CHECK(run_to(full, "run --help") == 1, "a full disk goes unnoticed");
    close(full);
    CHECK(run_to(-1, "run --help") == 1, "a closed standard output loses the help");
    CHECK(run_to(-1, "run models/qwen3-demo -p Hello --max-tokens 4") == 1, "it loses an answer");
    CHECK(run_to(-1, "generate models/qwen3-demo -p Hello --max-tokens 4") == 1, "it loses ids");
}

/* Each variable that Hugging Face's tools read locates the Hub cache. */
static void hub_cache(void **state) {
    static const struct {
        const char *variable, *below;
    } places[] = {{"HF_HUB_CACHE", ""},
                  {"HF_HOME", "hub"},
                  {"XDG_CACHE_HOME", "huggingface/hub"},
                  {"HOME", ".cache/huggingface/hub"}};
    char demo[400], command[1024];
    (void)state;
    assert_non_null(realpath(models[0], demo));
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        const char *root = check_temp_dir();
        snprintf(command, sizeof command,
                 "d='%s/%s/models--demo--qwen3'; mkdir -p \"$d/refs\" \"$d/snapshots\" && "
                 "printf abc123 > \"$d/refs/main\" && ln -s '%s' \"$d/snapshots/abc123\"",
                 root, places[i].below, demo);
        assert_int_equal(system(command), 0);
        for (size_t k = 0; k < sizeof places / sizeof *places; k++) unsetenv(places[k].variable);
        setenv(places[i].variable, root, 1);
        outcome o = glia("\"hi\"\n", "tokenize demo/qwen3");
        CHECK(o.status == 0, "%s: exit %d: %s", places[i].variable, o.status, o.err);
        done(&o);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(output_that_goes_nowhere),
        cmocka_unit_test(full_device),
        cmocka_unit_test(launchers),
        cmocka_unit_test(hub_cache),
    };
    signal(SIGPIPE, SIG_IGN);
    find_program();
    return check_run_group("cli_world", tests);
}
