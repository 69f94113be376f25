/* check_far_device.c - the floors above device/ touch no device memory and know no
 * layout: on a device whose memory is out of the host's reach and whose layouts are
 * unlike the CPU's (far_device.h), the demo models answer token for token as on the
 * CPU. A floor that reads or writes through a device address ends this test. */
#define _GNU_SOURCE
#include "check.h"

#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>

#include "api/model.h"
#include "base/cpu.h"
#include "base/file.h"
#include "far_device.h"

enum { TOKENS = 48, PROMPTS = 3 };
static const char *const texts[PROMPTS] = {"Hello! Who are you?", "What is 12 + 30?",
                                           "Tell me a story about a fox and a lamp, and then another one."};

typedef struct {
    int32_t token[TOKENS];
    int n;
} answer;

static void keep(void *user, const glia_event *e) {
    answer *a = user;
    if (e->token >= 0 && a->n < TOKENS) a->token[a->n++] = e->token;
}

/* Greedy answers to all prompts in one batch, prompts in chunks of 8 rows. */
static void ask(answer got[PROMPTS], const glia_model *m) {
    const glia_engine_options options = {
        .batch_size = PROMPTS, .sequence_length = 256, .prefill_chunk_size = 8};
    glia_engine *e;
    glia_err err = {0};
    glia_sampling s;
    if (glia_engine_create(&e, m, &options, &err)) fail_msg("%s", err.msg);
    glia_sampling_defaults(m, &s);
    s.do_sample = false;
    s.max_tokens = TOKENS;
    for (int i = 0; i < PROMPTS; i++) {
        int32_t *ids;
        size_t n, left = 1;
        got[i].n = 0;
        if (glia_tokenize(m, texts[i], strlen(texts[i]), false, &ids, &n, &err)) fail_msg("%s", err.msg);
        if (glia_engine_submit(e, ids, n, &s, keep, &got[i], NULL, &err)) fail_msg("%s", err.msg);
        glia_free(ids);
        while (i + 1 == PROMPTS && left)
            if (glia_engine_step(e, &left, &err)) fail_msg("%s", err.msg);
    }
    glia_engine_free(e);
}

/* The same weights on the far device instead. */
static void move_far(glia_model *m, const char *dir) {
    glia_team *team;
    glia_err err = {0};
    if (glia_team_create(&team, 2, &err)) fail_msg("%s", err.msg);
    const glia_weights_options options = {
        .dtype = m->dtype, .device = &far_ops, .cpu_flags = glia_cpu_flags(), .team = team};
    glia_weights_free(m->weights[0]);
    if (glia_weights_load(&m->weights[0], dir, &m->config, &options, &err)) fail_msg("%s", err.msg);
    glia_team_free(team);
}

static void check_model(const char *dir, glia_dtype dtype) {
    const glia_options options = {.dtype = dtype, .threads = 2, .cpu_features = "ref"}; /* float32 rows */
    answer near_answer[PROMPTS], far_answer[PROMPTS];
    glia_model *m;
    glia_err err = {0};
    if (!glia_dir_exists(dir)) check_skip("the demo model is not here");
    if (glia_model_load(&m, dir, NULL, &options, &err)) fail_msg("%s", err.msg);
    ask(near_answer, m);
    move_far(m, dir);
    ask(far_answer, m);
    for (int i = 0; i < PROMPTS; i++) {
        CHECK(near_answer[i].n > 4, "%s: prompt %d has only %d tokens of an answer", dir, i,
              near_answer[i].n);
        CHECK(far_answer[i].n == near_answer[i].n && !memcmp(far_answer[i].token, near_answer[i].token,
                                                             (size_t)near_answer[i].n * sizeof(int32_t)),
              "%s, dtype %d: the far device answers prompt %d otherwise than the CPU", dir, (int)dtype, i);
    }
    glia_model_free(m);
}

static void test_demo_models(void **state) {
    (void)state;
    check_model("models/qwen3-demo", GLIA_DTYPE_F32);
    check_model("models/smollm3-demo", GLIA_DTYPE_F32);
    check_model("models/qwen3-demo", GLIA_DTYPE_BF16);
    check_model("models/smollm3-demo", GLIA_DTYPE_BF16);
}

/* The host cannot read what it is not to touch: else the test above would prove nothing. */
static void test_out_of_reach(void **state) {
    (void)state;
    glia_plan plan = {0};
    glia_err err = {0};
    int status;
    glia_plan_add(&plan, "a page", 1, 4096);
    if (far_map(&plan, "a page", &err)) fail_msg("%s", err.msg);
    const pid_t child = fork();
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL);
        _exit(*(volatile char *)plan.base);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    CHECK(WIFSIGNALED(status) || WEXITSTATUS(status) == 1,
          "the host read the far device's memory"); /* 1: ASan */
    far_unmap(&plan);
}

/* A product that the device lacks is refused while loading. */
static void test_unknown_product(void **state) {
    (void)state;
    glia_team *team;
    glia_weights *w;
    glia_model m = {0};
    glia_err err = {0};
    const glia_options o = {.quantization = GLIA_QUANTIZATION_INT8};
    if (!glia_dir_exists("models/qwen3-demo")) check_skip("the demo model is not here");
    if (glia_model_open(&m, "models/qwen3-demo", NULL, &o, &err)) fail_msg("%s", err.msg);
    if (glia_team_create(&team, 1, &err)) fail_msg("%s", err.msg);
    const glia_weights_options options = {
        .dtype = GLIA_DTYPE_F32, .quantize = &m.quantize, .device = &far_ops, .team = team};
    assert_int_equal(glia_weights_load(&w, m.dir, &m.config, &options, &err), GLIA_ERR_UNSUPPORTED);
    assert_string_equal(err.msg, "the far device has no product of int8 weights");
    glia_team_free(team);
    glia_model_close(&m);
}

int main(int argc, char **argv) {
    check_begin(argc, argv);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_out_of_reach),
                                       cmocka_unit_test(test_unknown_product),
                                       cmocka_unit_test(test_demo_models)};
    return check_run_group("far_device", tests);
}
