/* check_ranks.c - parallel layers: the truth, and the same bits whatever the schedule.
 *
 * Truth: small models of both families with every relation of heads to ranks
 * (tests/golden/ranks, Transformers in float64), over 1 to 32 thread ranks with
 * every feature alone and in pairs. Their mean error over all models may be at
 * most FACTOR times that of one rank: a sum cut over ranks is rounded between
 * the parts and not within, so it is no longer, only another.
 *
 * Bits: at a fixed number of ranks, token by token on one thread each, against
 * chunks, mixtures of sequences and more threads, with the residual stream held
 * by all or spread. */
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

/* The mean error of one model's logits. */
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
    step[n++] = (ranks_step){{40}}; /* a chunk, one behind it, and tokens one by one */
    step[n++] = (ranks_step){{g->n - 40 - 8}};
    while (n < 10) step[n++] = (ranks_step){{1}};
    const size_t count = (size_t)g->n * (size_t)g->config.vocab;
    memset(g->logits, 0xff, count * sizeof *g->logits); /* NaN where nobody writes */
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
};

static void test_truth(void **state) {
    (void)state;
    static const int ranks[] = {2, 3, 4, 5, 6, 7, 8, 12, 16, 32};
    static const glia_dtype dtypes[] = {GLIA_DTYPE_F32, GLIA_DTYPE_BF16};
    for (int t = 0; t < 2; t++) {
        double alone = 0;
        for (int i = 0; i < n_models; i++) alone += error_of(&model[i], glia_alone, dtypes[t], 2);
        for (size_t r = 0; r < sizeof ranks / sizeof *ranks; r++)
            for (size_t k = 0; k < sizeof modes / sizeof *modes; k++) {
                double sum = 0;
                const mode *o = &modes[k];
                if (ranks[r] % o->cp) continue;
                for (int i = 0; i < n_models; i++) {
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

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_truth),
    };
    check_begin(argc, argv);
    load_goldens();
    const int status = check_run_group("ranks", tests);
    free_goldens();
    return status;
}
