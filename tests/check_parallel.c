/* check_parallel.c - parallel layers: accuracy, and the same bits whatever the schedule.
 *
 * Truth: small models of both families with every relation of heads to ranks
 * (tests/golden/ranks, Transformers in float64), on 1 to 32 thread ranks, with every
 * feature alone and in pairs. The bound of the mean error over all models is FACTOR
 * times that of one rank: a sum over ranks has the same number of roundings in another
 * order.
 *
 * Bits: at a fixed number of ranks, the reference runs token by token on one thread
 * per rank. It is compared with chunks, mixtures of sequences and more threads, with
 * and without sequence, vocabulary and context parallelism. */
#define _GNU_SOURCE
#include "ranks.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>

#include <jansson.h>

#define GOLDEN "tests/golden/ranks"
#define FACTOR 1.1

enum { VOCAB_MAX = 256, MODELS_MAX = 32 };

typedef struct {
    char dir[300];
    glia_model_config config;
    int32_t *ids;
    int n;
    double *truth;
    float *logits;
} golden;

static golden model[MODELS_MAX];
static int n_models;

static void load_goldens(void) {
    DIR *dir = opendir(GOLDEN);
    assert_non_null(dir);
    for (const struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        if (entry->d_name[0] == '.') continue;
        golden *g = &model[n_models++];
        char path[400];
        glia_err err = {0};
        size_t len;
        snprintf(g->dir, sizeof g->dir, GOLDEN "/%.200s", entry->d_name);
        if (glia_model_config_load(&g->config, g->dir, NULL, NULL, &err)) fail_msg("%s", err.msg);
        snprintf(path, sizeof path, "%s/golden.json", g->dir);
        json_t *meta = json_load_file(path, 0, NULL);
        const json_t *ids = json_object_get(meta, "ids");
        g->n = (int)json_array_size(ids);
        g->ids = calloc((size_t)g->n, sizeof *g->ids);
        for (int i = 0; i < g->n; i++)
            g->ids[i] = (int32_t)json_integer_value(json_array_get(ids, (size_t)i));
        json_decref(meta);
        snprintf(path, sizeof path, "%s/logits.f64", g->dir);
        g->truth = (double *)(void *)check_read_file(path, &len);
        g->logits = calloc((size_t)g->n * (size_t)g->config.vocab, sizeof *g->logits);
    }
    closedir(dir);
    CHECK(n_models == 14, "%d models in " GOLDEN ", expected 14", n_models);
}

static void free_goldens(void) {
    for (int i = 0; i < n_models; i++) {
        glia_model_config_free(&model[i].config);
        free(model[i].ids);
        free(model[i].truth);
        free(model[i].logits);
    }
}

/* ---- truth ---------------------------------------------------------------- */

/* The mean error of a model's logits. */
static double error_of(golden *g, glia_parallel p, glia_dtype dtype, int threads) {
    const ranks_model m = {.dir = g->dir,
                           .config = &g->config,
                           .dtype = dtype,
                           .kv_dtype = dtype,
                           .cpu_flags = glia_cpu_flags(),
                           .parallel = p,
                           .threads = threads,
                           .block_size = 64,
                           .tokens = {g->ids},
                           .length = {g->n},
                           .logits = {g->logits}};
    ranks_step step[32];
    int n = 0;
    step[n++] = (ranks_step){{40}}; /* two chunks, then single tokens */
    step[n++] = (ranks_step){{g->n - 40 - 8}};
    while (n < 10) step[n++] = (ranks_step){{1}};
    const size_t count = (size_t)g->n * (size_t)g->config.vocab;
    memset(g->logits, 0xff, count * sizeof *g->logits); /* NaN: a logit that nobody writes shows */
    if (!ranks_play(&m, step, n)) return INFINITY;
    double sum = 0;
    for (size_t i = 0; i < count; i++) sum += fabs((double)g->logits[i] - g->truth[i]);
    return sum / (double)count;
}

typedef struct {
    const char *name;
    bool vocab, spread, flash;
    int cp;
    bool strided;
} mode;

static const mode modes[] = {
    {.name = "plain", .cp = 1},
    {.name = "vocab-parallel", .vocab = true, .cp = 1},
    {.name = "sequence-parallel", .spread = true, .cp = 1},
    {.name = "vocab- and sequence-parallel", .vocab = true, .spread = true, .cp = 1},
    {.name = "flash decoding", .flash = true, .cp = 1},
    {.name = "flash, vocab-parallel", .flash = true, .vocab = true, .cp = 1},
    {.name = "flash, sequence-parallel", .flash = true, .spread = true, .cp = 1},
    {.name = "context-parallel 2", .cp = 2},
    {.name = "context-parallel 2, strided, vocab", .vocab = true, .cp = 2, .strided = true},
    {.name = "context-parallel 4, spread", .spread = true, .cp = 4},
    {.name = "context-parallel 4, strided", .cp = 4, .strided = true},
    {.name = "context-parallel 2, flash", .flash = true, .cp = 2},
    {.name = "context-parallel 4, flash, spread", .flash = true, .spread = true, .cp = 4},
};

/* Sanitizers are ten times slower, so they run a subset. float32 runs all cases,
 * bfloat16 a quarter. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
static const bool fewer = true;
#else
static const bool fewer = false;
#endif

static void test_truth(void **state) {
    (void)state;
    static const int ranks[] = {2, 3, 4, 5, 6, 7, 8, 12, 16, 32};
    static const glia_dtype dtypes[] = {GLIA_DTYPE_F32, GLIA_DTYPE_BF16};
    const int step = fewer ? 3 : 1; /* every step-th model */
    for (int t = 0; t < 2; t++) {
        double alone = 0;
        for (int i = 0; i < n_models; i += step) alone += error_of(&model[i], glia_alone, dtypes[t], 2);
        for (size_t r = 0; r < sizeof ranks / sizeof *ranks; r++)
            for (size_t k = 0; k < sizeof modes / sizeof *modes; k++) {
                double sum = 0;
                const mode *o = &modes[k];
                if (ranks[r] % o->cp || (fewer && ranks[r] > 8) || ((t || fewer) && (r + k) % 4)) continue;
                for (int i = 0; i < n_models; i += step) {
                    const glia_parallel p = {.tp = ranks[r],
                                             .vocab_parallel = o->vocab,
                                             .sequence_parallel = o->spread,
                                             .flash_decoding = o->flash,
                                             .cp_degree = o->cp,
                                             .cp_strided = o->strided};
                    const double error = error_of(&model[i], p, dtypes[t], ranks[r] < 8 && i % 2 ? 2 : 1);
                    sum += error;
                }
                printf("%s, %2d ranks, %-30s mean error %.3f of one rank's\n", t ? "bfloat16" : "float32",
                       ranks[r], o->name, sum / alone);
                CHECK(sum <= FACTOR * alone, "%d ranks, %s: mean error %.3g, one rank's is %.3g", ranks[r],
                      o->name, sum / n_models, alone / n_models);
            }
    }
}

/* ---- bits ----------------------------------------------------------------- */

static const char *const configs[] = {
    "{\"architectures\":[\"Qwen3ForCausalLM\"],\"model_type\":\"qwen3\",\"vocab_size\":131,"
    "\"hidden_size\":72,\"intermediate_size\":100,\"num_hidden_layers\":2,\"num_attention_heads\":10,"
    "\"num_key_value_heads\":2,\"head_dim\":24,\"max_position_embeddings\":4096,\"rms_norm_eps\":1e-6,"
    "\"rope_theta\":10000.0,\"tie_word_embeddings\":false,\"attention_bias\":true,"
    "\"use_sliding_window\":true,\"sliding_window\":37,\"max_window_layers\":1,\"hidden_act\":\"silu\"}",
    "{\"architectures\":[\"SmolLM3ForCausalLM\"],\"model_type\":\"smollm3\",\"vocab_size\":97,"
    "\"hidden_size\":48,\"intermediate_size\":90,\"num_hidden_layers\":2,\"num_attention_heads\":6,"
    "\"num_key_value_heads\":2,\"max_position_embeddings\":4096,\"rms_norm_eps\":1e-6,"
    "\"rope_theta\":10000.0,\"tie_word_embeddings\":true,\"no_rope_layer_interval\":2,"
    "\"hidden_act\":\"silu\"}",
};

static const struct {
    const char *name;
    glia_dtype weights, cache;
    glia_quantization scheme;
} formats[] = {
    {"bfloat16", GLIA_DTYPE_BF16, GLIA_DTYPE_BF16, GLIA_QUANTIZATION_NONE},
    {"float32", GLIA_DTYPE_F32, GLIA_DTYPE_F32, GLIA_QUANTIZATION_NONE},
    {"int8, int8 cache", GLIA_DTYPE_BF16, GLIA_DTYPE_I8, GLIA_QUANTIZATION_INT8},
    {"w8a8", GLIA_DTYPE_BF16, GLIA_DTYPE_BF16, GLIA_QUANTIZATION_W8A8},
};
enum { INT8_CACHE = 2 }; /* its row */

/* Random steps of up to `most` rows of any sequences, until all sequences are done. */
static int random_steps(ranks_step *step, const int *length, int most) {
    int done[RANKS_SEQS] = {0}, n = 0;
    for (bool left = true; left; n++) {
        int room = 1 + (int)(check_u32() % (uint32_t)most);
        step[n] = (ranks_step){{0}};
        const int first = (int)(check_u32() % RANKS_SEQS);
        for (int k = 0; k < RANKS_SEQS; k++) {
            const int q = (first + k) % RANKS_SEQS, rest = length[q] - done[q];
            int rows = rest < room ? rest : room;
            if (rows && k + 1 < RANKS_SEQS) rows = (int)(check_u32() % (uint32_t)(rows + 1));
            step[n].n[q] = rows;
            room -= rows;
            done[q] += rows;
        }
        left = false;
        for (int q = 0; q < RANKS_SEQS; q++) left |= done[q] < length[q];
        if (!step[n].n[0] && !step[n].n[1] && !step[n].n[2]) n--;
    }
    return n;
}

static void same_bits(const glia_model_config *config, const char *dir, const mode *o, int tp, int format) {
    enum { STEPS = 1024 };
    static const int length[RANKS_SEQS] = {150, 70, 31};
    ranks_step step[STEPS];
    ranks_model m = {.dir = dir,
                     .config = config,
                     .dtype = formats[format].weights,
                     .kv_dtype = formats[format].cache,
                     .scheme = formats[format].scheme,
                     .cpu_flags = glia_cpu_flags(),
                     .parallel = {.tp = tp,
                                  .vocab_parallel = o->vocab,
                                  .flash_decoding = o->flash,
                                  .cp_degree = o->cp,
                                  .cp_strided = o->strided},
                     .threads = 1,
                     .block_size = 64};
    const size_t vocab = (size_t)config->vocab;
    int32_t *tokens[RANKS_SEQS];
    float *want[RANKS_SEQS];
    for (int q = 0; q < RANKS_SEQS; q++) {
        const size_t n = (size_t)length[q];
        m.tokens[q] = tokens[q] = malloc(n * sizeof *tokens[q]);
        m.length[q] = length[q];
        m.logits[q] = want[q] = malloc(n * vocab * sizeof *want[q]);
        for (size_t i = 0; i < n; i++) tokens[q][i] = (int32_t)(check_u32() % (uint32_t)vocab);
    }
    int n = 0;
    for (int q = 0; q < RANKS_SEQS; q++)
        for (int i = 0; i < length[q]; i++) step[n++] = (ranks_step){.n = {q == 0, q == 1, q == 2}};
    if (!o->flash)
        m.parallel.vocab_parallel = false, m.parallel.cp_degree = 1; /* must not change bits either */
    ranks_play(&m, step, n);
    m.parallel.vocab_parallel = o->vocab;
    m.parallel.cp_degree = o->cp;
    for (int turn = 0; turn < 3; turn++) {
        float *got[RANKS_SEQS];
        m.parallel.sequence_parallel = turn != 1;
        m.threads = 1 + turn % 2;
        m.block_size = turn == 2 ? 32 : 64;
        for (int q = 0; q < RANKS_SEQS; q++)
            m.logits[q] = got[q] = calloc((size_t)length[q] * vocab, sizeof *got[q]);
        ranks_play(&m, step, random_steps(step, length, turn == 2 ? 24 : 90));
        for (int q = 0; q < RANKS_SEQS; q++) {
            size_t at = 0;
            const size_t all = (size_t)length[q] * vocab;
            while (at < all && !memcmp(&got[q][at], &want[q][at], sizeof **got)) at++;
            CHECK(at == all,
                  "%s, %s, %s, %d ranks, turn %d: sequence %d position %zu logit %zu is %.9g, want %.9g",
                  config->architecture, formats[format].name, o->name, tp, turn, q, at / vocab, at % vocab,
                  (double)got[q][at], (double)want[q][at]);
            free(got[q]);
        }
    }
    for (int q = 0; q < RANKS_SEQS; q++) {
        free(tokens[q]);
        free(want[q]);
    }
}

/* Every other mode, and of these every other format, of the model in `dir`, or a dummy one. */
static void check_bits(const glia_model_config *config, const char *dir, size_t first_format,
                       size_t formats_end) {
    static const int ranks[] = {2, 3, 4, 8};
    for (size_t r = 0; r < sizeof ranks / sizeof *ranks; r++)
        for (size_t k = 0; k < sizeof modes / sizeof *modes; k++)
            for (size_t f = first_format; f < formats_end; f++)
                if (!modes[k].spread && ranks[r] % modes[k].cp == 0 && (r + k + f) % (fewer ? 8 : 2) == 0)
                    same_bits(config, dir, &modes[k], ranks[r], (int)f);
}

static void test_bits(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof configs / sizeof *configs; i++) {
        glia_model_config config;
        glia_err err = {0};
        if (glia_model_config_parse(&config, configs[i], strlen(configs[i]), "config", NULL, NULL, &err))
            fail_msg("%s", err.msg);
        check_bits(&config, NULL, 0, sizeof formats / sizeof *formats);
        glia_model_config_free(&config);
    }
}

/* The dummy models' biases are zeros. An int8 cache treats biases of K on their own. */
static void test_biases(void **state) {
    (void)state;
    static const char *const dirs[] = {"tests/golden/forward/qwen2",
                                       "tests/golden/forward/smollm3-bias-window-types"};
    for (size_t i = 0; i < sizeof dirs / sizeof *dirs; i++) {
        glia_model_config config;
        glia_err err = {0};
        if (glia_model_config_load(&config, dirs[i], NULL, NULL, &err)) fail_msg("%s", err.msg);
        check_bits(&config, dirs[i], INT8_CACHE, INT8_CACHE + 1);
        glia_model_config_free(&config);
    }
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_truth),
        cmocka_unit_test(test_bits),
        cmocka_unit_test(test_biases),
    };
    check_begin(argc, argv);
    load_goldens();
    const int status = check_run_group("parallel", tests);
    free_goldens();
    return status;
}
