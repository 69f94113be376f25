/* source_plain.c - rows of a checkpoint: plain tensors, float64, float32, float16 or bfloat16, and quantised
 * ones. */
#include "model/row_source.h"

#include <stdlib.h>
#include <string.h>

#include "base/bf16.h"
#include "format/checkpoint.h"

/* One weight of the checkpoint. */
typedef struct {
    const glia_tensor_view *tensor;
    const glia_preshard *preshard; /* or NULL */
    glia_coded coded;              /* coded.scheme is NULL: a plain tensor */
} stored;

typedef struct {
    glia_row_source base; /* first, so that pointers to both are equal */
    const char *dir;
    const glia_model_spec *spec;
    const glia_model_config *config;
    glia_checkpoint checkpoint;
    stored (*weight)[N_WEIGHTS]; /* [layers]; those of the model in [0] */
} plain;

static const stored *find(const glia_row_source *s, glia_weight_ref w) {
    return &((const plain *)s)->weight[w.layer][w.id];
}

/* ---- find and check ------------------------------------------------------- */

static glia_status check_tensor(const plain *p, const glia_weight *w, const char *name,
                                const glia_tensor_view *t, glia_err *err) {
    char found[128];
    if (!t) return glia_fail(err, GLIA_ERR_SHAPE, "%s: tensor %s is missing", p->dir, name);
    const bool vector = w->spec->cols == D_1;
    if (t->n_dims != (vector ? 1 : 2) || t->shape[0] != w->rows || (!vector && t->shape[1] != w->cols)) {
        glia_tensor_shape(t, found, sizeof found);
        if (vector)
            return glia_fail(err, GLIA_ERR_SHAPE, "%s: tensor %s has shape %s, expected [%lld]", p->dir, name,
                             found, (long long)w->rows);
        return glia_fail(err, GLIA_ERR_SHAPE, "%s: tensor %s has shape %s, expected [%lld, %lld]", p->dir,
                         name, found, (long long)w->rows, (long long)w->cols);
    }
    return glia_tensor_check_weight(t, p->dir, err);
}

static const glia_preshard *preshard_of(const glia_model_spec *spec, glia_weight_id id) {
    for (size_t i = 0; i < spec->n_preshards; i++)
        if (spec->preshard[i].id == id) return &spec->preshard[i];
    return NULL;
}

/* The tensor of a weight, and its name. A tied embedding may be stored as the head alone. */
static const glia_tensor_view *find_tensor(const plain *p, const glia_weight *w, const char **name) {
    const glia_checkpoint *c = &p->checkpoint;
    *name = glia_checkpoint_stored_name(c, w->name);
    const glia_tensor_view *t = glia_checkpoint_find(c, *name);
    if (t || w->spec->id != W_EMBED || !p->config->tied_head) return t;
    t = glia_checkpoint_find(c, glia_output_head.name);
    if (t) *name = glia_output_head.name;
    return t;
}

static glia_status find_all(plain *p, glia_err *err) {
    glia_weight w;
    glia_status status = GLIA_OK;
    for (size_t i = 0; !status && glia_spec_weight(&w, p->spec, p->config, i); i++) {
        const char *name = w.name;
        stored *x = &p->weight[w.layer][w.spec->id];
        x->preshard = preshard_of(p->spec, w.spec->id);
        if (w.spec->cols != D_1 && w.spec->id != W_EMBED)
            status = glia_coded_find(&x->coded, &p->checkpoint, &p->config->quantization, w.name, w.rows,
                                     w.cols, p->dir, err);
        x->tensor = x->coded.scheme ? x->coded.codes : find_tensor(p, &w, &name);
        if (!status && !x->coded.scheme) status = check_tensor(p, &w, name, x->tensor, err);
    }
    return status;
}

/* ---- rows ----------------------------------------------------------------- */

/* The format of a tensor's rows as a reader gets them. */
static glia_dtype dtype_of(const glia_tensor_view *t) {
    return t->dtype == GLIA_TENSOR_BF16  ? GLIA_DTYPE_BF16
           : t->dtype == GLIA_TENSOR_F16 ? GLIA_DTYPE_F16
                                         : GLIA_DTYPE_F32;
}

/* Values that a preshard function changes are float32, and so is what float64 becomes. */
static glia_stored_format format(const glia_row_source *s, glia_weight_ref w) {
    const stored *x = find(s, w);
    const bool changes = x->coded.scheme || (x->preshard && x->preshard->change);
    return (glia_stored_format){.dtype = changes ? GLIA_DTYPE_F32 : dtype_of(x->tensor)};
}

/* y = n numbers of `row` in float32. */
static void to_f32(float *y, const char *row, glia_tensor_dtype from, size_t n) {
    uint16_t h;
    double d;
    if (from == GLIA_TENSOR_F32) memcpy(y, row, n * sizeof *y);
    if (from == GLIA_TENSOR_F64)
        for (size_t i = 0; i < n; i++) y[i] = (float)*(double *)memcpy(&d, row + i * sizeof d, sizeof d);
    if (from != GLIA_TENSOR_BF16 && from != GLIA_TENSOR_F16) return;
    for (size_t i = 0; i < n; i++) {
        memcpy(&h, row + i * sizeof h, sizeof h);
        y[i] = from == GLIA_TENSOR_BF16 ? glia_bf16_to_f32(h) : glia_f16_to_f32(h);
    }
}

static glia_stored_row read_row(const glia_row_source *s, glia_weight_ref w, size_t row, size_t from,
                                size_t to, glia_stored_format as, float *buffer) {
    const glia_model_config *c = ((const plain *)s)->config;
    const stored *x = find(s, w);
    const glia_preshard *hook = x->preshard;
    const glia_tensor_view *t = x->tensor;
    const size_t n = t->n_dims == 1 ? 1 : (size_t)t->shape[1];
    const size_t at = hook && hook->source ? (size_t)hook->source(c, (int64_t)row) : row;
    if (x->coded.scheme) {
        glia_coded_row(&x->coded, at, buffer);
        if (hook && hook->change) hook->change(c, (int64_t)row, buffer, x->coded.cols);
        return (glia_stored_row){.numbers = buffer};
    }
    const char *numbers = (const char *)t->data + at * (t->bytes / (size_t)t->shape[0]);
    const bool as_stored = as.dtype == dtype_of(t) && t->dtype != GLIA_TENSOR_F64;
    (void)from, (void)to; /* all columns are there */
    if (as_stored && !(hook && hook->change)) return (glia_stored_row){.numbers = numbers};
    to_f32(buffer, numbers, t->dtype, n);
    if (hook && hook->change) hook->change(c, (int64_t)row, buffer, (int64_t)n);
    return (glia_stored_row){.numbers = buffer};
}

/* Preshard functions act on rows of numbers, so a weight that has one is read as numbers. */
static const glia_coded *coded(const glia_row_source *s, glia_weight_ref w) {
    const stored *x = find(s, w);
    return x->coded.scheme && !x->preshard ? &x->coded : NULL;
}

static const char *name(const glia_row_source *s, glia_weight_ref w) { return find(s, w)->tensor->name; }

static void drop(const glia_row_source *s, glia_weight_ref w) {
    glia_checkpoint_drop(&((const plain *)s)->checkpoint, find(s, w)->tensor);
}

static glia_status check(const glia_row_source *s, glia_err *err) {
    return glia_checkpoint_check(&((const plain *)s)->checkpoint, err);
}

static void close_plain(glia_row_source *s) {
    plain *p = (plain *)s;
    glia_checkpoint_close(&p->checkpoint);
    free(p->weight);
    free(p);
}

glia_status glia_source_plain(glia_row_source **out, const char *dir, const glia_model_spec *spec,
                              const glia_model_config *config, glia_err *err) {
    plain *p = calloc(1, sizeof *p);
    *out = NULL;
    if (!p) return glia_fail_nomem(err, sizeof *p, "the loader");
    p->base = (glia_row_source){"loading weights", coded, format, read_row, name, drop, check, close_plain};
    p->dir = dir;
    p->spec = spec;
    p->config = config;
    p->weight = calloc((size_t)config->layers, sizeof *p->weight);
    glia_status status =
        p->weight ? GLIA_OK : glia_fail_nomem(err, (size_t)config->layers * sizeof *p->weight, "the loader");
    if (!status) status = glia_checkpoint_open(&p->checkpoint, dir, err);
    if (!status) status = find_all(p, err);
    if (status)
        close_plain(&p->base);
    else
        *out = &p->base;
    return status;
}
