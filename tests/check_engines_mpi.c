/* check_engines_mpi.c - engines of one model whose ranks are processes: one after
 * the other, each with options of its own. This program starts itself under mpirun.
 *
 * As a rank (`--rank CASE`) it prints one line, "rank N: ...". Rank 0 compares the
 * tokens of every engine with those of the first. */
#define _GNU_SOURCE
#include "mpirun.h"

#include <glia.h>

#include "base/file.h"

enum { TOKENS = 20, ENGINES = 3 };
#define MODEL "models/qwen3-demo"

static int my_rank(void) {
    const char *text = getenv("OMPI_COMM_WORLD_RANK");
    return text ? atoi(text) : 0;
}

static int report(const char *text) {
    printf("rank %d: %s\n", my_rank(), text);
    fflush(stdout);
    return strcmp(text, "well") != 0;
}

static void end_at_once(const char *sentence) {
    report(sentence);
    _exit(1);
}

typedef struct {
    int n;
    int32_t token[TOKENS];
} answer;

static void on_event(void *user, const glia_event *e) {
    answer *a = user;
    if (e->token >= 0) a->token[a->n++] = e->token;
}

/* The leader's: an answer; then no second engine beside this one. */
static glia_status lead(const glia_model *m, glia_engine *e, const glia_engine_options *o, answer *a,
                        glia_err *err) {
    static const int32_t ids[] = {300, 301, 302, 303, 304};
    glia_sampling s;
    size_t left = 1;
    glia_engine *second;
    glia_sampling_defaults(m, &s);
    s.do_sample = false;
    s.ignore_eos = true;
    s.max_tokens = TOKENS;
    glia_status status = glia_engine_submit(e, ids, 5, &s, on_event, a, NULL, err);
    while (!status && left) status = glia_engine_step(e, &left, err);
    if (status) return status;
    if (glia_engine_create(&second, m, o, err) != GLIA_ERR_UNSUPPORTED || second ||
        !strstr(err->msg, "one engine at a time")) {
        err->status = GLIA_ERR_ARGUMENT;
        return err->status;
    }
    return GLIA_OK;
}

/* Engine i of the model on this rank, from its creation to its end. */
static glia_status one_engine(const glia_model *m, int i, answer *a, glia_err *err) {
    const glia_engine_options o = {
        .batch_size = 1 + i, .sequence_length = 64 + 32 * i, .prefill_chunk_size = 3};
    glia_engine *e;
    glia_status status = glia_engine_create(&e, m, &o, err);
    if (status) return status;
    status = my_rank() == 0 ? lead(m, e, &o, a, err) : glia_engine_follow(e, err);
    glia_engine_free(e);
    return status;
}

/* `name`: "all"; "leaves": rank 1 frees the model after its first engine; "differs": its second engine has
 * another length. */
static int run_rank(const char *name) {
    glia_err err = {0};
    glia_model *m;
    answer a[ENGINES] = {0};
    const glia_options o = {.mpi = true, .threads = 1, .last_words = end_at_once};
    const bool odd = my_rank() == 1 && strcmp(name, "all") != 0;
    if (glia_model_load(&m, MODEL, NULL, &o, &err)) return report(err.msg);
    glia_status status = GLIA_OK;
    for (int i = 0; i < ENGINES && !status; i++) {
        if (odd && i == 1 && strcmp(name, "leaves") == 0) break;
        status = one_engine(m, odd && i == 1 ? 2 : i, &a[i], &err);
    }
    glia_model_free(m);
    if (status) return report(err.msg);
    for (int i = 0; i < ENGINES && my_rank() == 0; i++)
        if (a[i].n != TOKENS || memcmp(a[i].token, a[0].token, sizeof a[0].token) != 0)
            return report("other tokens");
    return report("well");
}

static char program[512];

static void expect(int ranks, const char *name, const char *want, int except) {
    char command[600];
    snprintf(command, sizeof command, "%s --rank %s", program, name);
    const int code = mpi_start(ranks, "", command);
    CHECK((code == 0) == !strcmp(want, "well"), "%s: exit %d\n%s", name, code, mpi_lines);
    for (int r = 0; r < ranks; r++) {
        char line[200];
        snprintf(line, sizeof line, "rank %d: %s", r, want);
        CHECK(r == except || strstr(mpi_lines, line), "%s: no line \"%s\" in:\n%s", name, line, mpi_lines);
    }
}

static void need(void) {
    mpi_need();
    if (!glia_dir_exists(MODEL)) check_skip("the demo model is not here");
}

static void test_one_after_the_other(void **state) {
    (void)state;
    need();
    expect(2, "all", "well", -1);
    expect(3, "all", "well", -1);
}

static void test_failures(void **state) {
    (void)state;
    need();
    expect(2, "leaves", "rank 1: it ended before its engine began", 1);
    expect(3, "differs", "rank 1 is configured as batch 3, rank 0 as batch 2", -1);
}

int main(int argc, char **argv) {
    if (argc == 3 && strcmp(argv[1], "--rank") == 0) return run_rank(argv[2]);
    mpi_find_self(program, sizeof program);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_after_the_other),
        cmocka_unit_test(test_failures),
    };
    return check_run_group("engines_mpi", tests);
}
