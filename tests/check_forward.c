/* check_forward.c - the whole forward pass, against Transformers in float64.
 *
 * Each folder of tests/golden/forward is a small model of one configuration with its
 * expected logits (tools/gen_forward_goldens.py). Bounds, on every rung of this
 * machine and in both number formats, over all models together: our mean error is at
 * most that of Transformers in the same format, and our largest error at most 1.25
 * times theirs. A single model has few logits, so its mean error may be 1.25 times
 * theirs. tools/fidelity.py checks the strict bounds on larger models. */
#include "check.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/cpu.h"
#include "glia.h"

#define GOLDEN "tests/golden/forward"
#define MAX_RATIO 1.25

typedef struct {
    char dir[512];
    int32_t *ids;
    size_t n_ids, n_logits;
    double *truth; /* [n_ids, vocab] */
    json_t *meta;
} golden;

static golden golden_load(const char *name) {
    golden g = {0};
    char path[600];
    snprintf(g.dir, sizeof g.dir, GOLDEN "/%.400s", name);
    snprintf(path, sizeof path, "%s/golden.json", g.dir);
    g.meta = json_load_file(path, 0, NULL);
    const json_t *ids = json_object_get(g.meta, "ids");
    g.n_ids = json_array_size(ids);
    assert_true(g.n_ids > 0);
    g.ids = calloc(g.n_ids, sizeof *g.ids);
    for (size_t i = 0; i < g.n_ids; i++) g.ids[i] = (int32_t)json_integer_value(json_array_get(ids, i));
    snprintf(path, sizeof path, "%s/logits.f64", g.dir);
    size_t len;
    g.truth = (double *)(void *)check_read_file(path, &len); /* little-endian, like this machine */
    g.n_logits = len / sizeof *g.truth;
    return g;
}

static void golden_free(golden *g) {
    free(g->ids);
    free(g->truth);
    json_decref(g->meta);
}

typedef struct {
    const golden *g;
    size_t vocab, seen;
    double sum, max;
} tally;

static void add_errors(void *user, size_t position, const float *logits) {
    tally *t = user;
    CHECK(position == t->seen, "logits of position %zu came after %zu others", position, t->seen);
    t->seen++;
    if (position >= t->g->n_ids) return;
    for (size_t i = 0; i < t->vocab; i++) {
        const double error = fabs((double)logits[i] - t->g->truth[position * t->vocab + i]);
        t->sum += error;
        if (!(error <= t->max)) t->max = error; /* this form keeps a NaN */
    }
}

static const char *dtype_name(glia_dtype dtype) { return dtype == GLIA_DTYPE_F32 ? "float32" : "bfloat16"; }

static double theirs(const golden *g, glia_dtype dtype, const char *what) {
    const json_t *all = json_object_get(g->meta, "error_of_theirs");
    return json_real_value(json_object_get(json_object_get(all, dtype_name(dtype)), what));
}

/* The sum and the maximum over all models, per number format. */
typedef struct {
    double our_sum, their_sum, our_max, their_max;
} totals;

static void add_totals(totals *all, double our_mean, double our_max, double their_mean, double their_max) {
    all->our_sum += our_mean;
    all->their_sum += their_mean;
    all->our_max = fmax(all->our_max, our_max);
    all->their_max = fmax(all->their_max, their_max);
}

static void check_one(const golden *g, glia_dtype dtype, const char *rung, totals *all) {
    const glia_options options = {
        .dtype = dtype,
        .threads = 2,
        .cpu_features = rung,
        .engine = &(glia_engine_options){.sequence_length = (int)g->n_ids, .prefill_chunk_size = 48}};
    glia_err err;
    glia_model *m;
    glia_engine *e;
    if (glia_model_load(&m, g->dir, NULL, &options, &err) != GLIA_OK) fail_msg("%s: %s", g->dir, err.msg);
    if (glia_engine_create(&e, m, options.engine, &err) != GLIA_OK) fail_msg("%s: %s", g->dir, err.msg);
    glia_engine_stats stats;
    glia_engine_get_stats(e, &stats);
    CHECK(!strcmp(stats.rung, rung), "%s runs %s, asked for %s", g->dir, stats.rung, rung);
    glia_model_info info;
    glia_model_get_info(m, &info);
    tally t = {.g = g, .vocab = (size_t)info.vocab_size};
    assert_int_equal(g->n_logits, g->n_ids * t.vocab);
    if (glia_engine_score(e, g->ids, g->n_ids, add_errors, &t, &err) != GLIA_OK)
        fail_msg("%s: %s", g->dir, err.msg);
    const double mean = t.sum / (double)g->n_logits;
    const double their_mean = theirs(g, dtype, "mean"), their_max = theirs(g, dtype, "max");
    CHECK(t.seen == g->n_ids, "%s: logits of %zu positions, expected %zu", g->dir, t.seen, g->n_ids);
    CHECK(mean <= MAX_RATIO * their_mean, "%s %s %s: mean error %.3g, theirs is %.3g", g->dir,
          dtype_name(dtype), rung, mean, their_mean);
    add_totals(all, mean, t.max, their_mean, their_max);
    glia_engine_free(e);
    glia_model_free(m);
}

static void each_golden(const char *rung, unsigned needs) {
    if ((glia_cpu_flags() & needs) != needs) check_skip("this machine has no %s", rung);
    DIR *dir = opendir(GOLDEN);
    assert_non_null(dir);
    static const glia_dtype dtypes[] = {GLIA_DTYPE_F32, GLIA_DTYPE_BF16};
    totals all[2] = {0};
    int n = 0;
    for (const struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        if (entry->d_name[0] == '.') continue;
        golden g = golden_load(entry->d_name);
        for (int i = 0; i < 2; i++) check_one(&g, dtypes[i], rung, &all[i]);
        golden_free(&g);
        n++;
    }
    closedir(dir);
    CHECK(n >= 24, "%d models in " GOLDEN ", expected 24", n);
    for (int i = 0; i < 2; i++) {
        const totals *t = &all[i];
        printf("%s %s: mean error %.2f of theirs, largest %.2f of theirs\n", rung, dtype_name(dtypes[i]),
               t->our_sum / t->their_sum, t->our_max / t->their_max);
        CHECK(t->our_sum <= t->their_sum, "%s %s: mean error %.3g, theirs is %.3g", rung,
              dtype_name(dtypes[i]), t->our_sum / n, t->their_sum / n);
        CHECK(t->our_max <= MAX_RATIO * t->their_max, "%s %s: largest error %.3g, theirs is %.3g", rung,
              dtype_name(dtypes[i]), t->our_max, t->their_max);
    }
}

static void test_rung(void **state) {
    const glia_rung *rung = *state;
    each_golden(rung->name, rung->needs);
}

int main(void) {
    struct CMUnitTest tests[GLIA_RUNGS];
    for (int i = 0; i < GLIA_RUNGS; i++)
        tests[i] = (struct CMUnitTest){
            .name = glia_rungs[i].name, .test_func = test_rung, .initial_state = (void *)&glia_rungs[i]};
    return check_run_group("forward", tests);
}
