/* calibrate.c - `glia calibrate`: mean squares of what enters linear layers, from a text. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "api/model.h"
#include "base/path.h"
#include "format/hub.h"
#include "model/importance.h"

enum { WINDOW = 512 };

static glia_status check_options(const glia_model *m, const glia_options *o, glia_err *err) {
    const char *set = o->quantization || m->quantize.scheme ? "quantization"
                      : m->parallel.tp > 1                  ? "tensor_parallel_size"
                      : o->speculative_config               ? "speculative_config"
                      : o->dummy                            ? "dummy"
                                                            : NULL;
    if (m->config.quantization.method)
        return glia_fail(err, GLIA_ERR_UNSUPPORTED,
                         "calibrate needs a checkpoint that is not quantised; this one is (%s)",
                         m->config.quantization.method);
    return set ? glia_fail(err, GLIA_ERR_ARGUMENT, "%s has no meaning for calibrate", set) : GLIA_OK;
}

/* Fail if writing `path` would lose anything. */
static glia_status check_path(const glia_model *m, const char *path, glia_err *err) {
    struct stat info;
    char *real = NULL;
    glia_status status = glia_path_real(&real, path, err);
    if (!status) status = glia_hub_check_output(m->dir, real, err);
    if (!status && stat(real, &info) == 0 && !(S_ISREG(info.st_mode) && info.st_size == 0) &&
        !glia_importance_is(real))
        status = glia_fail(err, GLIA_ERR_IO,
                           "%s: exists, and glia calibrate did not write it; give another file or remove it",
                           path);
    free(real);
    return status;
}

static void ignore(void *user, size_t position, const float *logits) {
    (void)user, (void)position, (void)logits;
}

/* Run the text through the model, a window after the other. */
static glia_status run(glia_engine *e, const int32_t *ids, size_t n, size_t window, const glia_options *o,
                       glia_err *err) {
    glia_status status = GLIA_OK;
    for (size_t at = 0, rows; at < n && !status; at += rows) {
        rows = n - at < window ? n - at : window;
        status = glia_engine_score(e, ids + at, rows, ignore, NULL, err);
        if (o->progress) o->progress(o->user, "calibrating", at + rows, n);
    }
    return status;
}

static glia_status measure(glia_model *m, const int32_t *ids, size_t n, const char *path,
                           const glia_options *o, glia_err *err) {
    double *sums = NULL;
    glia_engine *e = NULL;
    glia_weights *w = m->weights[0];
    glia_status status = glia_importance_observe(&sums, w, err);
    if (!status) status = glia_engine_create(&e, m, o->engine, err);
    if (!status) status = run(e, ids, n, (size_t)o->engine->sequence_length, o, err);
    if (!status) status = check_path(m, path, err); /* again: it took its time */
    if (!status) status = glia_importance_write(path, w, n, err);
    glia_engine_free(e);
    if (sums) glia_importance_forget(sums, w);
    return status;
}

GLIA_API glia_status glia_calibrate(const char *model, const char *cache_dir, const char *text, size_t len,
                                    const char *path, const glia_options *options, glia_err *err) {
    glia_options o = options ? *options : (glia_options){0};
    glia_engine_options engine = o.engine ? *o.engine : (glia_engine_options){0};
    glia_model described = {0}, *m = NULL;
    int32_t *ids = NULL;
    size_t n = 0;
    if (!engine.sequence_length) engine.sequence_length = WINDOW;
    if (!o.dtype) o.dtype = GLIA_DTYPE_F32;
    o.engine = &engine;
    glia_status status = glia_model_open(&described, model, cache_dir, &o, err);
    if (!status) status = check_options(&described, &o, err);
    if (!status) status = check_path(&described, path, err);
    glia_model_close(&described);
    if (!status) status = glia_model_load(&m, model, cache_dir, &o, err);
    if (!status) status = glia_tokenize(m, text, len, false, &ids, &n, err);
    if (!status && n == 0) status = glia_fail(err, GLIA_ERR_ARGUMENT, "no text to calibrate with");
    if (!status) status = measure(m, ids, n, path, &o, err);
    glia_free(ids);
    glia_model_free(m);
    return status;
}
