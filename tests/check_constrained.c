/* check_constrained.c - answers of engines under constraints: every finished one satisfies its constraint,
 * and none depends on the schedule. */
#include "check.h"

#include <glia.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "grammar/grammar.h"

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
    uint64_t id;
    glia_guide guide; /* follows the tokens, if it has a grammar */
    uint32_t place[MAX_TOKENS + 1];
    uint32_t before; /* the place before the step */
} answer;

static void on_event(void *user, const glia_event *e) {
    answer *a = user;
    a->thinks |= e->thinking;
    if (!e->thinking) glia_buf_add(&a->text, e->text, e->text_len);
    if (e->token >= 0) glia_buf_add(&a->ids, (const char *)&e->token, sizeof e->token);
    if (e->token >= 0 && a->guide.grammar) glia_guide_accept(&a->guide, e->token, NULL, 0);
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
        glia_engine_submit(e, ids, n, &s, on_event, a, &a->id, &err))
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

/* Several ranks, which must gather whole rows of logits. */
static void test_ranks(void **state) {
    (void)state;
    static answer got[ANSWERS];
    for (int tp = 2; tp <= 4; tp++) {
        glia_constraint *c[SOURCES];
        glia_model *m = load("models/qwen3-demo", tp);
        create_all(m, c);
        answer_all(m, &(glia_engine_options){.sequence_length = 200, .batch_size = 8}, c, got);
        check_valid(c, got);
        clear_all(got);
        for (int i = 0; i < SOURCES; i++) glia_constraint_free(c[i]);
        glia_model_free(m);
    }
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

/* ---- drafts ----------------------------------------------------------------------- */

enum { PROMPTS = 3, DRAFTED = SOURCES * PROMPTS };
static const char *const openings[PROMPTS] = {
    "The answer is: ", "<|im_start|>assistant\n<think>\n",
    "yes, because left, straight on {\"name\": \"a\", \"count\": 1} 2024-02-29"};
typedef struct {
    answer got[DRAFTED];
    int proposals, nodes, forbidden, accepted;
} drafted;

/* No node of a proposal is one that the constraint does not allow. */
static void check_proposals(void *user, uint64_t round, const glia_draft_proposal *p, size_t n) {
    drafted *d = user;
    (void)round;
    for (size_t k = 0; k < n; k++)
        for (int i = 0; i < DRAFTED; i++) {
            answer *a = &d->got[i];
            uint32_t place[256];
            if (a->id != p[k].request) continue;
            place[0] = a->before;
            d->proposals++;
            d->accepted += p[k].accepted;
            for (int node = 1; node < p[k].n; node++) {
                const uint32_t from = place[p[k].parents[node]];
                place[node] = from ? glia_guide_after(&a->guide, from, p[k].tokens[node]) : 0;
                d->forbidden += !place[node];
                d->nodes++;
            }
        }
}

/* Answers to every source and opening. The engine's drafts, if it has some, are checked against guides. */
static void draft_all(const glia_model *m, glia_engine *e, glia_constraint *c[SOURCES], drafted *d) {
    glia_err err = {0};
    for (int i = 0; i < DRAFTED; i++) {
        answer *a = &d->got[i];
        glia_guide_begin(&a->guide, (glia_grammar *)(uintptr_t)c[i % SOURCES],
                         i / SOURCES == 1 ? GLIA_THINK_INSIDE : GLIA_THINK_NO, a->place, MAX_TOKENS, &err);
        ask(m, e, openings[i / SOURCES], c[i % SOURCES], (uint64_t)i, false, a);
    }
    for (size_t left = 1; left;) {
        for (int i = 0; i < DRAFTED; i++) d->got[i].before = glia_guide_place(&d->got[i].guide);
        if (glia_engine_step(e, &left, &err)) fail_msg("%s", err.msg);
    }
}

static void draft_with(const char *config, bool traced, glia_constraint *c[SOURCES], const drafted *want) {
    static drafted d;
    glia_model *m;
    glia_engine *e;
    glia_err err = {0};
    d = (drafted){.proposals = 0};
    const glia_options options = {.threads = 1, .speculative_config = config};
    const glia_engine_options o = {.sequence_length = 200,
                                   .batch_size = 3,
                                   .trace_drafts = traced ? check_proposals : NULL,
                                   .trace_user = &d};
    if (glia_model_load(&m, "models/qwen3-demo", NULL, &options, &err)) fail_msg("%s: %s", config, err.msg);
    if (glia_engine_create(&e, m, &o, &err)) fail_msg("%s: %s", config, err.msg);
    draft_all(m, e, c, &d);
    for (int i = 0; i < DRAFTED; i++) {
        const answer *a = &d.got[i], *b = &want->got[i];
        CHECK(a->finish == b->finish && a->ids.len == b->ids.len &&
                  !memcmp(a->ids.data, b->ids.data, a->ids.len),
              "%s, answer %d: \"%s\" with drafts, \"%s\" without", config, i, a->text.data, b->text.data);
        glia_buf_free(&d.got[i].text);
        glia_buf_free(&d.got[i].ids);
    }
    CHECK(!d.forbidden, "%s: %d of %d nodes are not allowed", config, d.forbidden, d.nodes);
    CHECK(!traced || (d.nodes > 50 && d.accepted > 20), "%s: %d proposals, %d nodes, %d accepted", config,
          d.proposals, d.nodes, d.accepted);
    glia_engine_free(e);
    glia_model_free(m);
}

static void test_drafts(void **state) {
    (void)state;
    static const char *const configs[] = {
        "{\"method\": \"ngram\", \"num_speculative_tokens\": 6, \"prompt_lookup_min\": 1}",
        "{\"method\": \"draft_model\", \"model\": \"models/qwen3-demo\", \"num_speculative_tokens\": 4}",
        "{\"model\": \"models/qwen3-demo\", \"total_token\": 12, \"depth\": 3, \"top_k\": 4}",
        "{\"method\": \"eagle3\", \"model\": \"models/qwen3-demo-eagle3\"}",
        "{\"method\": \"medusa\", \"model\": \"models/qwen3-demo-medusa\"}",
    };
    static drafted want;
    glia_constraint *c[SOURCES];
    glia_engine *e;
    glia_err err = {0};
    glia_model *m = load("models/qwen3-demo", 1);
    create_all(m, c);
    if (glia_engine_create(&e, m, &(glia_engine_options){.sequence_length = 200, .batch_size = 4}, &err))
        fail_msg("%s", err.msg);
    draft_all(m, e, c, &want);
    int thought = 0;
    for (int i = SOURCES; i < 2 * SOURCES; i++) thought += want.got[i].finish == GLIA_FINISH_STOP;
    CHECK(thought > 0, "no thinking came to its end");
    for (size_t k = 0; k < sizeof configs / sizeof *configs; k++)
        for (int traced = 0; traced < 2; traced++) draft_with(configs[k], traced, c, &want);
    for (int i = 0; i < DRAFTED; i++) {
        glia_buf_free(&want.got[i].text);
        glia_buf_free(&want.got[i].ids);
    }
    glia_engine_free(e);
    for (int i = 0; i < SOURCES; i++) glia_constraint_free(c[i]);
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
                                       cmocka_unit_test(test_thinking), cmocka_unit_test(test_drafts),
                                       cmocka_unit_test(test_refused)};
    return check_run_group("constrained", tests);
}
