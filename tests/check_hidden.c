/* check_hidden.c - outputs of a step besides logits: the hidden state after the last
 * norm, and the residual stream after chosen layers.
 *
 * Checks: the residual stream after layer i equals, bit for bit, the last one of the
 * model truncated after layer i; its norm is the hidden state; the hidden state times
 * the head gives the logits. Over ranks, with sequence and context parallelism, every
 * rank has the same bits, whatever the schedule. */
#define _GNU_SOURCE
#include "ranks.h"

#include <math.h>
#include <stdio.h>

#include "device/device.h"
#include "kernel/kernels.h"

enum { LAYERS = 3, LENGTH = 90, SECOND = 31, HIDDEN = 72 };

static const char form[] =
    "{\"architectures\":[\"Qwen3ForCausalLM\"],\"model_type\":\"qwen3\",\"vocab_size\":131,"
    "\"hidden_size\":72,\"intermediate_size\":100,\"num_hidden_layers\":%d,\"num_attention_heads\":8,"
    "\"num_key_value_heads\":2,\"head_dim\":24,\"max_position_embeddings\":4096,\"rms_norm_eps\":1e-6,"
    "\"rope_theta\":10000.0,\"tie_word_embeddings\":false,\"attention_bias\":true,\"hidden_act\":\"silu\"}";

typedef struct {
    glia_model_config config;
    glia_dtype dtype;
    int tp;
    float *logits[2], *hidden[2], *residual[2];
} outputs;

static int32_t tokens[2][LENGTH];
static const int lengths[2] = {LENGTH, SECOND};

static void parse(glia_model_config *c, int layers) {
    char text[600];
    glia_err err = {0};
    const int n = snprintf(text, sizeof text, form, layers);
    if (glia_model_config_parse(c, text, (size_t)n, "config", NULL, NULL, &err)) fail_msg("%s", err.msg);
}

static float *nan_floats(size_t n) {
    float *x = malloc(n * sizeof *x);
    memset(x, 0xff, n * sizeof *x);
    return x;
}

/* Run the script and keep all outputs, with the residual stream after every layer. */
static outputs play(int layers, glia_dtype dtype, glia_quantization scheme, glia_parallel p, int threads,
                    const ranks_step *step, int n_steps) {
    outputs o = {.dtype = dtype, .tp = p.tp};
    parse(&o.config, layers);
    ranks_model m = {.config = &o.config,
                     .dtype = dtype,
                     .kv_dtype = GLIA_DTYPE_F32,
                     .scheme = scheme,
                     .cpu_flags = glia_cpu_flags(),
                     .parallel = p,
                     .threads = threads,
                     .block_size = 64,
                     .n_residual_layers = layers};
    for (int i = 0; i < layers; i++) m.residual_layer[i] = i;
    for (int q = 0; q < 2; q++) {
        const size_t rows = (size_t)lengths[q];
        m.tokens[q] = tokens[q];
        m.length[q] = lengths[q];
        o.logits[q] = m.logits[q] = nan_floats(rows * (size_t)o.config.vocab);
        o.hidden[q] = m.hidden[q] = nan_floats((size_t)p.tp * rows * HIDDEN);
        o.residual[q] = m.residual[q] = nan_floats((size_t)(p.tp * layers) * rows * HIDDEN);
    }
    assert_true(ranks_play(&m, step, n_steps));
    return o;
}

static void drop(outputs *o) {
    for (int q = 0; q < 2; q++) free(o->logits[q]), free(o->hidden[q]), free(o->residual[q]);
    glia_model_config_free(&o->config);
}

static const float *residual_of(const outputs *o, int rank, int layer, int seq, int position) {
    const size_t at = (size_t)(rank * o->config.layers + layer) * (size_t)lengths[seq] + (size_t)position;
    return o->residual[seq] + at * HIDDEN;
}

static const float *hidden_of(const outputs *o, int rank, int seq, int position) {
    return o->hidden[seq] + ((size_t)rank * (size_t)lengths[seq] + (size_t)position) * HIDDEN;
}

static const ranks_step whole[] = {{{70, 20}}, {{19, 1}}, {{1, 10}}};
enum { N_WHOLE = sizeof whole / sizeof *whole };

static glia_weights *load(const glia_model_config *c, glia_dtype dtype) {
    glia_team *team;
    glia_weights *w;
    glia_quantize none;
    glia_err err = {0};
    if (glia_team_create(&team, 1, &err)) fail_msg("%s", err.msg);
    if (glia_quantize_resolve(&none,
                              &(glia_quantize_choice){.scheme = GLIA_QUANTIZATION_NONE,
                                                      .type = GLIA_QUANTIZATION_TYPE_DEFAULT,
                                                      .keep = NULL},
                              c, &err))
        fail_msg("%s", err.msg);
    const glia_weights_options options = {.dtype = dtype,
                                          .quantize = &none,
                                          .dummy = true,
                                          .seed = 7,
                                          .cpu_flags = glia_cpu_flags(),
                                          .team = team};
    if (glia_weights_load(&w, NULL, c, &options, &err)) fail_msg("%s", err.msg);
    glia_quantize_free(&none);
    glia_team_free(team);
    return w;
}

/* Compare with norm and head computed in float64 from one rank's residual stream. */
static void check_truth(const outputs *o) {
    glia_weights *w = load(&o->config, o->dtype);
    glia_kernels k;
    glia_kernels_init(&k, glia_cpu_flags());
    const size_t vocab = (size_t)o->config.vocab, panel = glia_panel_bytes(w->head.format, HIDDEN);
    float *head = malloc(vocab * HIDDEN * sizeof *head);
    for (size_t i = 0; i < vocab; i++)
        k.unpack(head + i * HIDDEN, (const char *)w->head.data + i / GLIA_PANEL * panel,
                 glia_weight_traits[w->head.format].element, HIDDEN, i % GLIA_PANEL);
    const double u = o->dtype == GLIA_DTYPE_F32 ? 0x1p-24 : 0x1p-8; /* rows may be narrowed for bfloat16 */
    for (int q = 0; q < 2; q++)
        for (int t = 0; t < lengths[q]; t++) {
            const float *x = hidden_of(o, 0, q, t), *r = residual_of(o, 0, o->config.layers - 1, q, t);
            const float *logits = o->logits[q] + (size_t)t * vocab;
            double square = 0;
            for (int i = 0; i < HIDDEN; i++) square += (double)r[i] * (double)r[i];
            for (int i = 0; i < HIDDEN && t % 2; i++) {
                const double want = (double)w->final_norm[i] * (double)r[i] / sqrt(square / HIDDEN + 1e-6);
                CHECK(fabs((double)x[i] - want) <= 1e-6 * fabs(want), "hidden %d of %d: %g, want %g", i, t,
                      (double)x[i], want);
            }
            for (size_t v = 0; v < vocab; v++) {
                double sum = 0, magnitude = 0;
                for (int i = 0; i < HIDDEN; i++) {
                    const double product = (double)head[v * HIDDEN + (size_t)i] * (double)x[i];
                    sum += product;
                    magnitude += fabs(product);
                }
                CHECK(fabs((double)logits[v] - sum) <= (HIDDEN * 0x1p-24 + u) * magnitude,
                      "logit %zu of %d: %g, want %g", v, t, (double)logits[v], sum);
            }
        }
    free(head);
    glia_weights_free(w);
}

static void test_truth(void **state) {
    (void)state;
    static const glia_dtype dtypes[] = {GLIA_DTYPE_F32, GLIA_DTYPE_BF16};
    for (int t = 0; t < 2; t++) {
        outputs o = play(LAYERS, dtypes[t], GLIA_QUANTIZATION_NONE, glia_alone, 2, whole, N_WHOLE);
        check_truth(&o);
        for (int n = 1; n < LAYERS; n++) { /* the model truncated to n layers */
            outputs cut = play(n, dtypes[t], GLIA_QUANTIZATION_NONE, glia_alone, 1, whole, N_WHOLE);
            check_truth(&cut);
            for (int q = 0; q < 2; q++)
                for (int i = 1; i < lengths[q]; i += 2)
                    CHECK(!memcmp(residual_of(&cut, 0, n - 1, q, i), residual_of(&o, 0, n - 1, q, i),
                                  HIDDEN * sizeof(float)),
                          "sequence %d position %d: not the residual stream after layer %d", q, i, n - 1);
            drop(&cut);
        }
        drop(&o);
    }
}

/* Check that rank r's outputs in `got` have the bits of rank 0's in `want`. */
static void compare(const outputs *got, int r, const outputs *want, const char *what) {
    for (int q = 0; q < 2; q++)
        for (int t = 0; t < lengths[q]; t++) {
            CHECK(!memcmp(hidden_of(got, r, q, t), hidden_of(want, 0, q, t), HIDDEN * sizeof(float)),
                  "%s, rank %d: hidden state of sequence %d position %d", what, r, q, t);
            for (int i = 0; i < LAYERS && t % 2; i++)
                CHECK(!memcmp(residual_of(got, r, i, q, t), residual_of(want, 0, i, q, t),
                              HIDDEN * sizeof(float)),
                      "%s, rank %d: residual stream %d of sequence %d position %d", what, r, i, q, t);
        }
}

static void test_ranks(void **state) {
    (void)state;
    static const struct {
        const char *name;
        glia_parallel p;
    } modes[] = {
        {"held by all", {.tp = 2, .cp_degree = 1}},
        {"spread", {.tp = 2, .cp_degree = 1, .sequence_parallel = true, .vocab_parallel = true}},
        {"spread over three", {.tp = 3, .cp_degree = 1, .sequence_parallel = true}},
        {"rows split", {.tp = 4, .cp_degree = 2, .sequence_parallel = true}},
        {"rows split, strided", {.tp = 4, .cp_degree = 2, .cp_strided = true}},
        {"flash decoding", {.tp = 4, .cp_degree = 1, .flash_decoding = true}},
    };
    ranks_step single[LENGTH + SECOND];
    for (int i = 0; i < LENGTH + SECOND; i++) single[i] = (ranks_step){{i < LENGTH, i >= LENGTH}};
    outputs alone = play(LAYERS, GLIA_DTYPE_F32, GLIA_QUANTIZATION_NONE, glia_alone, 1, whole, N_WHOLE);
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        glia_parallel plain = modes[i].p;
        plain.sequence_parallel = false; /* and too few rows for context parallelism */
        outputs got = play(LAYERS, GLIA_DTYPE_F32, GLIA_QUANTIZATION_NONE, modes[i].p, 2, whole, N_WHOLE);
        outputs want =
            play(LAYERS, GLIA_DTYPE_F32, GLIA_QUANTIZATION_NONE, plain, 1, single, LENGTH + SECOND);
        for (int r = 0; r < modes[i].p.tp; r++) compare(&got, r, &want, modes[i].name);
        double worst = 0;
        for (int t = 0; t < LENGTH * HIDDEN; t++) {
            const double off = fabs((double)got.hidden[0][t] - (double)alone.hidden[0][t]);
            if (off > worst) worst = off; /* GCC 12 for ARM crashes on fmax() here */
        }
        CHECK(worst < 1e-4, "%s: hidden states are %g from one rank's", modes[i].name, worst);
        drop(&got);
        drop(&want);
    }
    drop(&alone);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_truth),
        cmocka_unit_test(test_ranks),
    };
    check_begin(argc, argv);
    for (int q = 0; q < 2; q++)
        for (int i = 0; i < LENGTH; i++) tokens[q][i] = (int32_t)(check_u32() % 131);
    return check_run_group("hidden", tests);
}
