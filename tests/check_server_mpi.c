/* check_server_mpi.c - `mpirun -n 2 glia serve`: the same answers as one rank of threads gives, and an end
 * with one sentence if a rank dies. */
#define _GNU_SOURCE
#include "mpirun.h"

#include "http.h"

static const char flags[] = "serve models/qwen3-demo --served-model-name m --threads 1 --batch-size 4";
static const char ask[] = "{\"prompt\":\"Once\",\"max_tokens\":12,\"temperature\":0,\"logprobs\":2}";

/* Start the server as two processes. */
static void begin(served *s) {
    char command[1500];
    int both[2];
    *s = (served){0};
    snprintf(command, sizeof command,
             "export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 "
             "OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_hwloc_base_binding_policy=none "
             "ASAN_OPTIONS=detect_leaks=0 TSAN_OPTIONS=report_bugs=0\n"
             "exec mpirun " MPI_PATIENCE " -n 2 %s %s --port 0 < /dev/null",
             program, flags);
    assert_int_equal(pipe2(both, O_CLOEXEC), 0);
    s->pid = fork();
    if (s->pid == 0) {
        dup2(both[1], 2);
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    close(both[1]);
    s->err = both[0];
    if (!wait_for(s->err, s->said, sizeof s->said, "at once")) fail_msg("no server: %s", s->said);
    assert_int_equal(sscanf(strstr(s->said, "127.0.0.1:") + 10, "%d", &s->port), 1);
}

/* The process of a rank: mpirun's oldest or youngest child. */
static pid_t rank_of(pid_t parent, bool youngest) {
    char path[80];
    int pid, found = 0;
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)parent, (int)parent);
    FILE *f = fopen(path, "r");
    while (f && fscanf(f, "%d", &pid) == 1)
        if (!found || (pid > found) == youngest) found = pid;
    if (f) fclose(f);
    return found;
}

static char *choices_of(int port) {
    json_t *root = http_answer(port, "/v1/completions", ask);
    char *text = json_dumps(json_object_get(root, "choices"), JSON_SORT_KEYS);
    json_decref(root);
    return text;
}

static void processes_answer_as_threads_do(void **state) {
    served s;
    char args[300];
    (void)state;
    mpi_need();
    snprintf(args, sizeof args, "%s --tensor-parallel-size 2", flags + strlen("serve "));
    serve_begin(&s, args);
    char *want = choices_of(s.port);
    CHECK(serve_end(&s) == 0, "threads: %s", s.said);
    begin(&s);
    char *found = choices_of(s.port);
    CHECK(strcmp(found, want) == 0, "threads: %s\nprocesses: %s", want, found);
    kill(rank_of(s.pid, false), SIGTERM); /* after a signal to mpirun its own status is not 0 */
    CHECK(serve_wait(&s) == 0, "processes: %s", s.said);
    free(want);
    free(found);
}

/* The stream that runs gets an error event; the status is one after which a supervisor starts again. */
static void a_rank_that_dies_ends_the_service(void **state) {
    static const char endless[] =
        "{\"prompt\":\"Once\",\"max_tokens\":8000,\"ignore_eos\":true,\"stream\":true}";
    served s;
    char some[100];
    (void)state;
    mpi_need();
    begin(&s);
    const int fd = http_begin(s.port, "POST", "/v1/completions", http_json, endless, strlen(endless));
    assert_true(recv(fd, some, sizeof some, 0) > 0);
    const pid_t rank = rank_of(s.pid, true);
    assert_true(rank > 0);
    kill(rank, SIGKILL);
    http_reply r = http_end(fd);
    CHECK(!r.body || !strstr(r.body, "\"finish_reason\":\"length\""), "the answer was finished");
    http_free(&r);
    const int status = serve_wait(&s);
    CHECK(status != 0, "status 0: %s", s.said);
    CHECK(strstr(s.said, "rank 1"), "no sentence about the rank: %s", s.said);
}

/* Every process ends with a sentence. */
static void a_kept_cache_needs_one_rank(void **state) {
    char command[1000];
    (void)state;
    mpi_need();
    snprintf(command, sizeof command, "%s %s --port 0 --prefix-cache-dir %s", program, flags,
             check_temp_dir());
    const int status = mpi_start(2, "", command);
    CHECK(status != 0 && strstr(mpi_lines, "prefix_cache_dir: the cache of several ranks cannot be kept"),
          "%d: %s", status, mpi_lines);
}

int main(void) {
    find_program();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(processes_answer_as_threads_do),
        cmocka_unit_test(a_rank_that_dies_ends_the_service),
        cmocka_unit_test(a_kept_cache_needs_one_rank),
    };
    return check_run_group("server_mpi", tests);
}
