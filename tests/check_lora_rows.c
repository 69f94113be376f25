/* check_lora_rows.c - a row's bits depend on its own adapter only, and a row without an
 * adapter has the base model's bits.
 *
 * Prompts with and without adapters are answered one by one, then together: some begin
 * later, adapters are replaced and dropped meanwhile, prompts are cut into chunks, the
 * prefix cache has their blocks, drafts propose tokens. Tokens and the log-probabilities of
 * the TOP likeliest tokens, which depend on all logits, are the same bit for bit. The
 * adapters are shared reference data (data/lora/README.md), and those of OWN. */
#define _GNU_SOURCE
#include "check.h"

#include <dirent.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cpu.h"
#include "glia.h"

#define LORA "data/lora/"
#define BASE "qwen3-tied"
#define OWN "tests/golden/lora/"
enum { PROMPTS = 12, OUTPUT = 12, TOP = 20, ADAPTERS = 8, LONGEST = 40, KNOWN_MAX = 64 };
static const int32_t invocation[] = {7, 11}; /* the tokens of OWN "activated" */

/* ---- adapters --------------------------------------------------------------- */

static char root[600]; /* of the reference data, with a slash */
static char known[KNOWN_MAX][80], broken[KNOWN_MAX][80];
static int n_known, n_broken;

static void path_of(char path[900], const char *name) {
    snprintf(path, 900, OWN "%s", name);
    if (access(path, F_OK) != 0) snprintf(path, 900, "%sadapters/%s", root, name);
}

/* Does the adapter belong to BASE? */
static bool fits(const char *name) {
    char path[1200], dir[900];
    path_of(dir, name);
    snprintf(path, sizeof path, "%s/adapter_config.json", dir);
    json_t *config = json_load_file(path, 0, NULL);
    const char *base = json_string_value(json_object_get(config, "base_model_name_or_path"));
    const bool is = base && strcmp(strrchr(base, '/') + 1, BASE) == 0 && strcmp(name, "pickle-bin") != 0;
    json_decref(config);
    return is;
}

static void find_known(const char *dir) {
    struct dirent **names;
    const int n = scandir(dir, &names, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        if (n_known < KNOWN_MAX && names[i]->d_name[0] != '.' && fits(names[i]->d_name))
            snprintf(known[n_known++], sizeof known[0], "%.79s", names[i]->d_name);
        free(names[i]);
    }
    if (n > 0) free(names);
}

static bool find_adapters(void) {
    const char *found = check_shared(LORA "README.md");
    char path[1200];
    struct dirent **names;
    if (!found) return false;
    snprintf(root, sizeof root, "%.*s", (int)(strlen(found) - strlen("README.md")), found);
    snprintf(path, sizeof path, "%sadapters", root);
    find_known(path);
    find_known(OWN);
    snprintf(path, sizeof path, "%sbroken", root);
    int n = scandir(path, &names, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        if (n_broken < KNOWN_MAX && names[i]->d_name[0] != '.')
            snprintf(broken[n_broken++], sizeof broken[0], "%.79s", names[i]->d_name);
        free(names[i]);
    }
    if (n > 0) free(names);
    CHECK(n_broken >= 10, "%d broken adapters", n_broken);
    CHECK(n_known >= 15, "%d adapters of " BASE, n_known);
    return true;
}

/* ---- one world -------------------------------------------------------------- */

typedef struct {
    int32_t token[OUTPUT], top[OUTPUT][TOP];
    float logprob[OUTPUT][TOP];
    int n;
    glia_finish finish;
} answer;

typedef struct {
    int32_t token[LONGEST];
    int n, adapter;
} prompt;

/* What is the same when a prompt is alone and in company. */
typedef struct {
    char what[200];
    glia_options o;
    glia_dtype kv;
} format;

/* What company changes. */
typedef struct {
    int threads, places, chunk, block;
    const char *speculation;
} schedule;

typedef struct {
    const format *f;
    char base[700];
    const char *name[ADAPTERS]; /* NULL: none */
    char path[ADAPTERS][900];
    glia_lora_module module[ADAPTERS];
    prompt prompts[PROMPTS];
    answer alone[PROMPTS];
} world;

static void keep(void *user, const glia_event *event) {
    answer *a = user;
    if (event->token >= 0 && a->n < OUTPUT) {
        a->token[a->n] = event->token;
        memcpy(a->top[a->n], event->top_tokens, sizeof a->top[0]);
        memcpy(a->logprob[a->n], event->top_logprobs, sizeof a->logprob[0]);
        a->n++;
    }
    a->finish = event->finish;
}

static glia_engine *open_engine(glia_model **m, const world *w, const glia_engine_options *engine,
                                int threads, const char *speculation) {
    glia_options o = w->f->o;
    glia_engine *e = NULL;
    glia_err err = {0};
    o.engine = engine;
    o.threads = threads;
    o.speculative_config = speculation;
    if (glia_model_load(m, w->base, NULL, &o, &err)) fail_msg("%s: %s", w->f->what, err.msg);
    if (glia_engine_create(&e, *m, engine, &err)) fail_msg("%s: %s", w->f->what, err.msg);
    return e;
}

static void submit(glia_engine *e, const world *w, int i, answer *a) {
    glia_err err = {0};
    const glia_sampling s = {.temperature = 1,
                             .top_p = 1,
                             .typical_p = 1,
                             .repetition_penalty = 1,
                             .max_tokens = OUTPUT,
                             .logprobs = TOP,
                             .ignore_eos = true,
                             .adapter = w->name[w->prompts[i].adapter]};
    *a = (answer){0};
    if (glia_engine_submit(e, w->prompts[i].token, (size_t)w->prompts[i].n, &s, keep, a, NULL, &err))
        fail_msg("%s: %s", w->f->what, err.msg);
}

static void step(glia_engine *e, size_t *left) {
    glia_err err = {0};
    if (glia_engine_step(e, left, &err)) fail_msg("%s", err.msg);
}

static void finish(glia_engine *e) {
    for (size_t left = 1; left;) step(e, &left);
}

static void check_answer(const world *w, int i, const answer *a, const char *how) {
    const char *name = w->name[w->prompts[i].adapter];
    CHECK(!memcmp(a, &w->alone[i], sizeof *a), "%s, %s: prompt %d with adapter %s differs from its run alone",
          w->f->what, how, i, name ? name : "none");
}

/* The prompts with adapters, or those without in an engine that has none, one by one. */
static void run_alone(world *w, bool adapted) {
    glia_model *m;
    glia_engine_options engine = {.sequence_length = 64,
                                  .batch_size = 1,
                                  .kv_cache_dtype = w->f->kv,
                                  .no_prefix_cache = true,
                                  .lora_modules = w->module + 1,
                                  .n_lora_modules = adapted ? ADAPTERS - 1 : 0};
    glia_engine *e = open_engine(&m, w, &engine, 1, NULL);
    for (int i = 0; i < PROMPTS; i++) {
        if ((w->prompts[i].adapter > 0) != adapted) continue;
        submit(e, w, i, &w->alone[i]);
        finish(e);
        CHECK(w->alone[i].n == OUTPUT, "%s, prompt %d: %d tokens", w->f->what, i, w->alone[i].n);
    }
    glia_engine_free(e);
    glia_model_free(m);
}

/* Replace an adapter by itself, load it under another name, or drop it and load it again. */
static void disturb(glia_engine *e, const world *w) {
    const int i = 1 + (int)(check_u32() % (ADAPTERS - 1));
    char path[900];
    glia_err err = {0};
    glia_status status = GLIA_OK;
    switch (check_u32() % 5) {
    case 0: status = glia_engine_load_adapter(e, w->name[i], w->path[i], true, &err); break;
    case 1: status = glia_engine_load_adapter(e, "other", w->path[i], true, &err); break;
    case 2:
        status = glia_engine_drop_adapter(e, w->name[i], &err);
        if (!status) status = glia_engine_load_adapter(e, w->name[i], w->path[i], false, &err);
        break;
    case 3: /* a broken one changes nothing */
        snprintf(path, sizeof path, "%sbroken/%s", root, broken[check_u32() % (uint32_t)n_broken]);
        CHECK(glia_engine_load_adapter(e, w->name[i], path, true, &err) != GLIA_OK, "%s is loaded", path);
        return;
    default: return;
    }
    if (status) fail_msg("%s: %s", w->f->what, err.msg);
}

/* All prompts together, some later than others, twice. */
static void run_together(const world *w, const schedule *s) {
    glia_model *m;
    answer a[PROMPTS];
    char how[200];
    const glia_engine_options engine = {.sequence_length = 64,
                                        .batch_size = 6,
                                        .kv_cache_dtype = w->f->kv,
                                        .prefill_chunk_size = s->chunk,
                                        .block_size = s->block,
                                        .lora_modules = w->module + 1,
                                        .n_lora_modules = ADAPTERS - 1,
                                        .max_loras = s->places,
                                        .max_cpu_loras = s->places};
    glia_engine *e = open_engine(&m, w, &engine, s->threads, s->speculation);
    snprintf(how, sizeof how, "%d threads, %d places, chunks of %d, blocks of %d, %.80s", s->threads,
             s->places, s->chunk, s->block, s->speculation ? s->speculation : "no drafts");
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < PROMPTS; i++) {
            size_t left;
            submit(e, w, i, &a[i]);
            for (uint32_t k = check_u32() % 3; k > 0; k--) step(e, &left);
            disturb(e, w);
        }
        finish(e);
        for (int i = 0; i < PROMPTS; i++) check_answer(w, i, &a[i], how);
    }
    glia_engine_free(e);
    glia_model_free(m);
}

/* Prompts with and without adapters. Some begin with the same block. */
static void draw_prompts(world *w) {
    for (int i = 0; i < PROMPTS; i++) {
        prompt *p = &w->prompts[i];
        p->n = 1 + (int)(check_u32() % (LONGEST - 1));
        p->adapter = i % ADAPTERS;
        for (int k = 0; k < p->n; k++) p->token[k] = (int32_t)(check_u32() % 160);
        if (i > 2 && p->n > 33) memcpy(p->token, w->prompts[0].token, 32 * sizeof(int32_t));
        if (i == 0) p->n = LONGEST;
        if (p->n > 2 && check_u32() % 4)
            memcpy(p->token + check_u32() % (uint32_t)(p->n - 1), invocation, sizeof invocation);
    }
}

static world *open_world(const format *f, const char *const *names) {
    world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    w->f = f;
    snprintf(w->base, sizeof w->base, "%sbases/" BASE, root);
    for (int i = 1; i < ADAPTERS; i++) {
        w->name[i] = names[i];
        path_of(w->path[i], names[i]);
        w->module[i] = (glia_lora_module){names[i], w->path[i]};
    }
    draw_prompts(w);
    run_alone(w, false);
    run_alone(w, true);
    return w;
}

/* ---- formats, one by one ---------------------------------------------------- */

/* Every kind of change. */
static const char *const kinds[ADAPTERS] = {
    NULL,    "all-linear-rslora", "dora", "embed-tied", "modules-to-save-norm", "trainable-tokens",
    "norms", "activated"};

#define BF16 .dtype = GLIA_DTYPE_BF16
static const format formats[] = {
    {"bfloat16", {BF16}, 0},
    {"float32", {.dtype = GLIA_DTYPE_F32}, 0},
    {"float16", {.dtype = GLIA_DTYPE_F16}, 0},
    {"ref", {BF16, .cpu_features = "ref"}, 0},
    {"avx2", {BF16, .cpu_features = "avx2"}, 0},
    {"avx512", {BF16, .cpu_features = "avx512"}, 0},
    {"int8", {BF16, .quantization = GLIA_QUANTIZATION_INT8}, 0},
    {"int4", {BF16, .quantization = GLIA_QUANTIZATION_INT4}, 0},
    {"fp8, int8 cache", {BF16, .quantization = GLIA_QUANTIZATION_FP8}, GLIA_DTYPE_I8},
    {"w8a8", {BF16, .quantization = GLIA_QUANTIZATION_W8A8}, 0},
    {"w8a8 per channel",
     {BF16, .quantization = GLIA_QUANTIZATION_W8A8,
      .quantization_type = GLIA_QUANTIZATION_PER_CHANNEL_SYMMETRIC},
     0},
    {"int8 cache", {BF16}, GLIA_DTYPE_I8},
    {"tp 2", {BF16, .tensor_parallel_size = 2}, 0},
    {"tp 3, w8a8", {BF16, .tensor_parallel_size = 3, .quantization = GLIA_QUANTIZATION_W8A8}, 0},
    {"tp 4, flash", {BF16, .tensor_parallel_size = 4, .flash_decoding = GLIA_SWITCH_ON}, 0},
    {"cp 2", {BF16, .tensor_parallel_size = 2, .context_parallel_size = 2}, 0},
    {"cp 2, w8a8",
     {BF16, .tensor_parallel_size = 2, .context_parallel_size = 2, .strided_context_parallel = GLIA_SWITCH_ON,
      .quantization = GLIA_QUANTIZATION_W8A8},
     0},
};

static bool has_rung(const char *features) {
    unsigned flags = glia_cpu_flags();
    const bool has = !glia_cpu_mask(&flags, features, NULL);
    if (!has) check_skip_because("this machine has no %s", features);
    return has;
}

static void test_formats(void **state) {
    (void)state;
    if (!root[0]) check_skip("no " LORA);
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        const format *f = &formats[i];
        if (!has_rung(f->o.cpu_features)) continue;
        world *w = open_world(f, kinds);
        run_together(w, &(schedule){1, 2, 512, 32, NULL});
        if (f->o.tensor_parallel_size <= 1) run_together(w, &(schedule){2, 3, 9, 32, NULL});
        free(w);
    }
}

/* ---- random ones ------------------------------------------------------------ */

enum { DRAWS = 8, SCHEDULES = 2 };

static int one_of(const int *list, int n) { return list[check_u32() % (uint32_t)n]; }
#define ONE_OF(...) one_of((const int[]){__VA_ARGS__}, (int)(sizeof((int[]){__VA_ARGS__}) / sizeof(int)))

static void draw_format(format *f) {
    glia_options *o = &f->o;
    *f = (format){.kv = (glia_dtype)ONE_OF(0, 0, GLIA_DTYPE_I8)};
    o->dtype = (glia_dtype)ONE_OF(GLIA_DTYPE_BF16, GLIA_DTYPE_BF16, GLIA_DTYPE_F32);
    o->quantization = (glia_quantization)ONE_OF(0, 0, GLIA_QUANTIZATION_INT8, GLIA_QUANTIZATION_W8A8,
                                                GLIA_QUANTIZATION_INT4, GLIA_QUANTIZATION_FP8);
    o->tensor_parallel_size = ONE_OF(1, 1, 2, 3, 4);
    const bool even = o->tensor_parallel_size % 2 == 0;
    if (even) o->context_parallel_size = ONE_OF(1, 1, 2);
    if (o->context_parallel_size == 2) o->strided_context_parallel = (glia_switch)ONE_OF(0, GLIA_SWITCH_ON);
    if (o->tensor_parallel_size == 4 && o->context_parallel_size == 1)
        o->flash_decoding = (glia_switch)ONE_OF(0, GLIA_SWITCH_ON);
    snprintf(f->what, sizeof f->what,
             "dtype %d, quantization %d, tp %d, cp %d strided %d, flash %d, cache %d", (int)o->dtype,
             (int)o->quantization, o->tensor_parallel_size, o->context_parallel_size,
             (int)o->strided_context_parallel, (int)o->flash_decoding, (int)f->kv);
}

/* Different adapters of those that are known. */
static void draw_names(const char *names[ADAPTERS]) {
    for (int i = 1; i < ADAPTERS; i++) {
        bool is_new = false;
        while (!is_new) {
            names[i] = known[check_u32() % (uint32_t)n_known];
            is_new = true;
            for (int k = 1; k < i; k++) is_new &= names[k] != names[i];
        }
    }
}

static const char *draw_speculation(const world *w) {
    static char text[1000];
    switch (check_u32() % 3) {
    case 0: return NULL;
    case 1: return "{\"method\": \"ngram\", \"num_speculative_tokens\": 4, \"prompt_lookup_min\": 1}";
    default:
        snprintf(text, sizeof text,
                 "{\"method\": \"draft_model\", \"model\": \"%s\", \"num_speculative_tokens\": 3}", w->base);
        return text;
    }
}

static void test_random(void **state) {
    (void)state;
    if (!root[0]) check_skip("no " LORA);
    for (int i = 0; i < DRAWS; i++) {
        const char *names[ADAPTERS] = {NULL};
        format f;
        draw_format(&f);
        draw_names(names);
        world *w = open_world(&f, names);
        for (int k = 0; k < SCHEDULES; k++) {
            const schedule s = {.threads = f.o.tensor_parallel_size > 1 ? 1 : ONE_OF(1, 2),
                                .places = ONE_OF(1, 2, 3, 5),
                                .chunk = ONE_OF(3, 9, 40, 512),
                                .block = 32,
                                .speculation = draw_speculation(w)};
            run_together(w, &s);
        }
        free(w);
    }
}

int main(int argc, char **argv) {
    check_begin(argc, argv);
    find_adapters();
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_formats), cmocka_unit_test(test_random)};
    return check_run_group("lora_rows", tests);
}
