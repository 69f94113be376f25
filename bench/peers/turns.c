/* turns.c - Glia as an engine of bench/peers/run; the commands are those of turns.h.
 *     turns DIR none|int8|w8a8 THREADS BATCH SEQUENCE_LENGTH [ADAPTER ...] */
#include "turns.h"
#include <glia.h>

enum { ADAPTERS_MAX = 8 };
static const char *const names[ADAPTERS_MAX] = {"0", "1", "2", "3", "4", "5", "6", "7"};

typedef struct {
    glia_model *model;
    glia_engine *engine;
    glia_sampling sampling;
    size_t tokens[BATCH_MAX]; /* so far, by sequence */
    float *row;               /* the last logits seen */
    size_t vocabulary;
} turns;

static void on_event(void *user, const glia_event *e) {
    if (e->token >= 0) ++*(size_t *)user;
}

static void on_logits(void *user, size_t position, const float *logits) {
    turns *t = user;
    (void)position;
    memcpy(t->row, logits, t->vocabulary * sizeof *logits);
}

static bool failed(engine *e, const glia_err *err) {
    if (err->status) snprintf(e->error, sizeof e->error, "%s", err->msg);
    return err->status;
}

static glia_status submit(const engine *e, const int32_t *ids, size_t n, size_t sequence, size_t output,
                          glia_err *err) {
    turns *t = e->self;
    const int adapter = adapter_of(e, sequence);
    t->sampling.adapter = adapter < 0 ? NULL : names[adapter];
    t->sampling.max_tokens = t->sampling.min_tokens = (int)output;
    t->tokens[sequence] = 0;
    return glia_engine_submit(t->engine, ids, n, &t->sampling, on_event, &t->tokens[sequence], NULL, err);
}

static glia_status finish(turns *t, glia_err *err) {
    size_t left = 1;
    while (left)
        if (glia_engine_step(t->engine, &left, err)) break;
    return err->status;
}

static bool prefill(engine *e, const int32_t *ids, size_t n, size_t from, turn_time *took) {
    turns *t = e->self;
    glia_err err = {0};
    size_t left;
    submit(e, ids, n, 0, 1, &err);
    for (size_t done = 0; done < from && !err.status; done += CHUNK) glia_engine_step(t->engine, &left, &err);
    const double start = seconds();
    if (!err.status) finish(t, &err);
    *took = (turn_time){seconds() - start, n - from};
    return !failed(e, &err);
}

static bool decode(engine *e, const int32_t *ids, size_t batch, size_t prompt, size_t steps,
                   turn_time *took) {
    turns *t = e->self;
    glia_err err = {0};
    for (size_t i = 0; i < batch && !err.status; i++) submit(e, ids + i * prompt, prompt, i, steps + 1, &err);
    size_t begun = 0, before = 0, left;
    while (begun < batch && !err.status) {
        glia_engine_step(t->engine, &left, &err);
        begun = before = 0;
        for (size_t i = 0; i < batch; i++) {
            begun += t->tokens[i] > 0;
            before += t->tokens[i];
        }
    }
    const double start = seconds();
    if (!err.status) finish(t, &err);
    *took = (turn_time){seconds() - start, batch * (steps + 1) - before};
    return !failed(e, &err);
}

static const float *logits(engine *e, const int32_t *ids, size_t n) {
    turns *t = e->self;
    glia_err err = {0};
    glia_engine_score_adapted(t->engine, e->used ? names[0] : NULL, ids, n, on_logits, t, &err);
    return failed(e, &err) ? NULL : t->row;
}

static void ceilings(engine *e) {
    const turns *t = e->self;
    glia_ceilings c;
    glia_engine_ceilings(t->engine, &c);
    printf("{\"read_bytes_per_s\": %.6g, \"f32_flop_per_s\": %.6g, \"bf16_flop_per_s\": %.6g, "
           "\"i8_op_per_s\": %.6g}\n",
           c.read_bytes_per_s, c.f32_flop_per_s, c.bf16_flop_per_s, c.i8_op_per_s);
}

static void tell_ready(turns *t) {
    glia_model_info info;
    glia_engine_stats stats;
    glia_model_get_info(t->model, &info);
    glia_engine_get_stats(t->engine, &stats);
    t->vocabulary = (size_t)info.vocab_size;
    printf("{\"version\": \"%s\", \"rung\": \"%s\", \"threads\": %d, \"matrix_parameters\": %llu, "
           "\"head_parameters\": %llu, \"matrix_bytes\": %llu, \"kv_bytes_per_token\": %llu}\n",
           glia_version(), stats.rung, stats.threads, (unsigned long long)info.matrix_parameters,
           (unsigned long long)info.vocab_size * (unsigned long long)info.hidden_size,
           (unsigned long long)info.matrix_bytes, (unsigned long long)stats.kv_bytes_per_token);
}

/* "none", "int8", "w8a8", or such as "int4,128,symmetric". */
static void set_format(glia_options *o, const char *format) {
    static const struct {
        const char *name;
        glia_quantization scheme;
    } schemes[] = {{"int8", GLIA_QUANTIZATION_INT8},
                   {"w8a8", GLIA_QUANTIZATION_W8A8},
                   {"int4", GLIA_QUANTIZATION_INT4},
                   {"w4a8", GLIA_QUANTIZATION_W4A8}};
    char name[8] = "", kind[12] = "";
    sscanf(format, "%7[^,],%d,%11s", name, &o->quantization_group_size, kind);
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++)
        if (strcmp(name, schemes[i].name) == 0) o->quantization = schemes[i].scheme;
    const bool rotated = o->quantization == GLIA_QUANTIZATION_W4A8;
    if (strcmp(kind, "symmetric") == 0)
        o->quantization_type =
            rotated ? GLIA_QUANTIZATION_ROTATED_GROUP_SYMMETRIC : GLIA_QUANTIZATION_GROUP_SYMMETRIC;
}

int main(int argc, char **argv) {
    turns t = {0};
    glia_err err = {0};
    const int adapters = argc - 6;
    glia_lora_module modules[ADAPTERS_MAX];
    if (adapters < 0 || adapters > ADAPTERS_MAX) return 2;
    for (int i = 0; i < adapters; i++) modules[i] = (glia_lora_module){.name = names[i], .path = argv[6 + i]};
    const glia_engine_options options = {.lora_modules = modules,
                                         .n_lora_modules = (size_t)adapters,
                                         .batch_size = atoi(argv[4]),
                                         .sequence_length = atoi(argv[5]),
                                         .prefill_chunk_size = CHUNK,
                                         .no_prefix_cache = true};
    glia_options o = {.dtype = GLIA_DTYPE_BF16, .threads = atoi(argv[3]), .engine = &options};
    set_format(&o, argv[2]);
    if (glia_model_load(&t.model, argv[1], NULL, &o, &err) == GLIA_OK &&
        glia_engine_create(&t.engine, t.model, &options, &err) == GLIA_OK) {
        glia_sampling_defaults(t.model, &t.sampling);
        t.sampling.do_sample = false;
        t.sampling.ignore_eos = true;
        tell_ready(&t);
        t.row = calloc(t.vocabulary, sizeof *t.row);
        engine e = {.prefill = prefill,
                    .decode = decode,
                    .logits = logits,
                    .ceilings = ceilings,
                    .vocabulary = t.vocabulary,
                    .adapters = (size_t)adapters,
                    .self = &t};
        if (t.row) take_turns(&e, "peer-glia");
    } else {
        printf("{\"error\": \"%s\"}\n", err.msg);
    }
    free(t.row);
    glia_engine_free(t.engine);
    glia_model_free(t.model);
    return 0;
}
