/* check_constrained.c - answers of engines under constraints: every finished one satisfies its constraint,
 * and none depends on the schedule. */
#include "check.h"

#include <glia.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"

enum { SEEDS = 6, MAX_TOKENS = 120 };

typedef struct {
    glia_constraint_kind kind;
    const char *text;
} source;

static const source sources[] = {
    {GLIA_CONSTRAINT_JSON_SCHEMA, "{\"type\": \"object\", \"properties\": {\"name\": {\"type\": \"string\", "
                                  "\"minLength\": 1, \"maxLength\": 15}, "
                                  "\"tags\": {\"type\": \"array\", \"items\": {\"enum\": [\"red\", "
                                  "\"green\", \"blue\"]}, \"uniqueItems\": true, "
                                  "\"maxItems\": 2}, \"count\": {\"type\": \"integer\", \"minimum\": 1, "
                                  "\"maximum\": 99}}, \"required\": [\"name\", "
                                  "\"count\"], \"additionalProperties\": false}"},
    {GLIA_CONSTRAINT_JSON_SCHEMA, "{\"oneOf\": [{\"type\": \"array\", \"items\": {\"type\": \"boolean\"}, "
                                  "\"minItems\": 2, \"maxItems\": 4}, "
                                  "{\"type\": \"string\", \"pattern\": \"^[a-z]{3,9}$\"}]}"},
    {GLIA_CONSTRAINT_JSON_SCHEMA, "{\"format\": \"date\", \"type\": \"string\"}"},
    {GLIA_CONSTRAINT_REGEX, "(yes|no), because [a-z ]{5,30}\\."},
    {GLIA_CONSTRAINT_CHOICE, "[\"left\", \"right\", \"straight on\"]"},
    {GLIA_CONSTRAINT_GRAMMAR, "root ::= item (\", \" item){1,3}\nitem ::= [a-z]{2,6} (\"(\" item \")\")?\n"},
    {GLIA_CONSTRAINT_TOOLS,
     "{\"tools\": [{\"type\": \"function\", \"function\": {\"name\": \"add\", \"parameters\": {\"type\": "
     "\"object\", "
     "\"properties\": {\"a\": {\"type\": \"integer\", \"maximum\": 999, \"minimum\": 0}, \"b\": {\"type\": "
     "\"boolean\"}}, "
     "\"required\": [\"a\", \"b\"], \"additionalProperties\": false}}}], \"tool_choice\": \"required\", "
     "\"parallel_tool_calls\": false}"},
};
enum { SOURCES = sizeof sources / sizeof *sources, ANSWERS = SOURCES * SEEDS };

typedef struct {
    glia_buf text, ids;
    glia_finish finish;
    bool thinks;
} answer;

static void on_event(void *user, const glia_event *e) {
    answer *a = user;
    a->thinks |= e->thinking;
    if (!e->thinking) glia_buf_add(&a->text, e->text, e->text_len);
    if (e->token >= 0) glia_buf_add(&a->ids, (const char *)&e->token, sizeof e->token);
    if (e->finish != GLIA_RUNNING) a->finish = e->finish;
}

static void ask(const glia_model *m, glia_engine *e, const char *prompt, const glia_constraint *c,
                uint64_t seed, bool may_think, answer *a) {
    glia_sampling s;
    int32_t *ids;
    size_t n;
    glia_err err = {0};
    glia_sampling_defaults(m, &s);
    s.do_sample = true;
    s.temperature = 1;
    s.top_k = 0;
    s.top_p = 1;
    s.seed = seed;
    s.max_tokens = MAX_TOKENS;
    s.logprobs = -1;
    s.raw_text = !may_think;
    s.constraint = c;
    s.may_think = may_think;
    if (glia_tokenize(m, prompt, strlen(prompt), false, &ids, &n, &err) ||
        glia_engine_submit(e, ids, n, &s, on_event, a, NULL, &err))
        fail_msg("%s", err.msg);
    glia_free(ids);
}

static void finish(glia_engine *e) {
    glia_err err = {0};
    for (size_t left = 1; left;)
        if (glia_engine_step(e, &left, &err)) fail_msg("%s", err.msg);
}

static void create_all(const glia_model *m, glia_constraint *c[SOURCES]) {
    for (int i = 0; i < SOURCES; i++) {
        glia_err err = {0};
        const glia_constraint_source s = {
            .kind = sources[i].kind, .text = sources[i].text, .len = strlen(sources[i].text)};
        if (glia_constraint_create(&c[i], m, &s, &err)) fail_msg("%s", err.msg);
    }
}

static void answer_all(const glia_model *m, const glia_engine_options *o, glia_constraint *c[SOURCES],
                       answer *got) {
    glia_engine *e;
    glia_err err = {0};
    if (glia_engine_create(&e, m, o, &err)) fail_msg("%s", err.msg);
    for (int i = 0; i < ANSWERS; i++)
        ask(m, e, "The answer is: ", c[i % SOURCES], (uint64_t)i, false, &got[i]);
    finish(e);
    glia_engine_free(e);
}

static void check_valid(glia_constraint *c[SOURCES], const answer *got) {
    int complete = 0;
    for (int i = 0; i < ANSWERS; i++) {
        bool yes = false;
        glia_err err = {0};
        if (got[i].finish != GLIA_FINISH_STOP) continue;
        complete++;
        const char *text = got[i].text.data ? got[i].text.data : "";
        CHECK(!glia_constraint_accepts(c[i % SOURCES], text, got[i].text.len, &yes, &err), "%s", err.msg);
        CHECK(yes, "%s is no answer of %s", text, sources[i % SOURCES].text);
    }
    CHECK(complete > ANSWERS / 2, "%d of %d answers are complete", complete, ANSWERS);
}

static void clear_all(answer *got) {
    for (int i = 0; i < ANSWERS; i++) {
        glia_buf_free(&got[i].text);
        glia_buf_free(&got[i].ids);
        got[i] = (answer){.finish = GLIA_RUNNING};
    }
}

static glia_model *load(const char *dir, int tp) {
    glia_model *m;
    glia_err err = {0};
    const glia_options o = {.threads = 1, .tensor_parallel_size = tp};
    if (glia_model_load(&m, dir, NULL, &o, &err)) fail_msg("%s", err.msg);
    return m;
}

static void test_answers(void **state) {
    (void)state;
    static const char *const dirs[] = {"models/qwen3-demo", "models/smollm3-demo"};
    static answer want[ANSWERS], got[ANSWERS];
    for (int k = 0; k < 2; k++) {
        glia_constraint *c[SOURCES];
        glia_model *m = load(dirs[k], 1);
        create_all(m, c);
        answer_all(m, &(glia_engine_options){.sequence_length = 200}, c, want);
        check_valid(c, want);
        answer_all(m,
                   &(glia_engine_options){.sequence_length = 200, .batch_size = 16, .prefill_chunk_size = 3},
                   c, got);
        for (int i = 0; i < ANSWERS; i++)
            CHECK(got[i].ids.len == want[i].ids.len &&
                      !memcmp(got[i].ids.data, want[i].ids.data, want[i].ids.len),
                  "%s, answer %d: another schedule, other tokens: %s, %s", dirs[k], i, want[i].text.data,
                  got[i].text.data);
        clear_all(want);
        clear_all(got);
        for (int i = 0; i < SOURCES; i++) glia_constraint_free(c[i]);
        glia_model_free(m);
    }
}

/* Two ranks, which must gather whole rows of logits. */
static void test_ranks(void **state) {
    (void)state;
    static answer got[ANSWERS];
    glia_constraint *c[SOURCES];
    glia_model *m = load("models/qwen3-demo", 2);
    create_all(m, c);
    answer_all(m, &(glia_engine_options){.sequence_length = 200, .batch_size = 8}, c, got);
    check_valid(c, got);
    clear_all(got);
    for (int i = 0; i < SOURCES; i++) glia_constraint_free(c[i]);
    glia_model_free(m);
}

/* The constraint begins after </think>, whether the prompt or the answer opens the thinking. */
static void test_thinking(void **state) {
    (void)state;
    static const char *const prompts[] = {"<|im_start|>assistant\n<think>\n", "<|im_start|>assistant\n",
                                          "<|im_start|>assistant\n<think>\n\n</think>\n\n"};
    glia_model *m = load("models/qwen3-demo", 1);
    glia_constraint *c;
    glia_engine *e;
    glia_err err = {0};
    const glia_constraint_source s = {
        .kind = GLIA_CONSTRAINT_CHOICE, .text = "[\"apple\", \"pear\"]", .len = 17};
    if (glia_constraint_create(&c, m, &s, &err)) fail_msg("%s", err.msg);
    if (glia_engine_create(&e, m, &(glia_engine_options){.sequence_length = 200}, &err))
        fail_msg("%s", err.msg);
    for (uint64_t i = 0; i < 12; i++) {
        answer a = {0};
        ask(m, e, prompts[i % 3], c, i, true, &a);
        finish(e);
        const char *text = a.text.data ? a.text.data : "";
        if (a.finish == GLIA_FINISH_STOP)
            CHECK(strcmp(text, "apple") == 0 || strcmp(text, "pear") == 0, "prompt %d: \"%s\"", (int)(i % 3),
                  text);
        if (i % 3 == 2)
            CHECK(!a.thinks && a.finish == GLIA_FINISH_STOP, "thinking that the prompt has closed");
        glia_buf_free(&a.text);
        glia_buf_free(&a.ids);
    }
    glia_engine_free(e);
    glia_constraint_free(c);
    glia_model_free(m);
}

static void test_refused(void **state) {
    (void)state;
    glia_model *m = load("models/qwen3-demo", 1);
    glia_constraint *c, *again;
    glia_engine *e;
    glia_err err = {0};
    glia_sampling p;
    const glia_constraint_source s = {.text = "{\"allOf\": [{\"type\": \"null\"}, {\"type\": \"string\"}]}",
                                      .len = 50};
    if (glia_constraint_create(&c, m, &s, &err)) fail_msg("%s", err.msg);
    if (glia_constraint_create(&again, m, &s, &err)) fail_msg("%s", err.msg);
    CHECK(c == again && glia_constraint_is_empty(c),
          "the same source gives another constraint, or one with answers");
    if (glia_engine_create(&e, m, NULL, &err)) fail_msg("%s", err.msg);
    glia_sampling_defaults(m, &p);
    p.constraint = c;
    const int32_t id = 1;
    CHECK(glia_engine_submit(e, &id, 1, &p, NULL, NULL, NULL, &err) == GLIA_ERR_ARGUMENT &&
              strstr(err.msg, "no text satisfies"),
          "%s", err.msg);
    glia_engine_free(e);
    glia_constraint_free(c);
    glia_constraint_free(again);
    glia_model_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_answers), cmocka_unit_test(test_ranks),
                                       cmocka_unit_test(test_thinking), cmocka_unit_test(test_refused)};
    return check_run_group("constrained", tests);
}
