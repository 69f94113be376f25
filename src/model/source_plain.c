/* source_plain.c - rows of a checkpoint of plain tensors: float32, float16 or bfloat16. */
#include "model/row_source.h"

#include <stdlib.h>
#include <string.h>

#include "base/bf16.h"
#include "format/checkpoint.h"
#include "model/fused.h"

/* One weight of the checkpoint. */
typedef struct {
    const glia_tensor_view *tensor;
    const glia_preshard *preshard; /* or NULL */
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

/* Is the tensor of no use, but known: the copy of a tied head, or RoPE's tables in old checkpoints? */
static bool redundant(const plain *p, const glia_tensor_view *t) {
    static const char suffix[] = ".rotary_emb.inv_freq";
    const size_t n = strlen(t->name);
    if (p->config->tied_head && strcmp(t->name, "lm_head.weight") == 0)
        return t->n_dims == 2 && t->shape[0] == p->config->vocab && t->shape[1] == p->config->hidden;
    return n >= sizeof suffix - 1 && strcmp(t->name + n - (sizeof suffix - 1), suffix) == 0;
}

/* The weights of a matrix must have the dtype of its first weight. */
static glia_status check_fused(const plain *p, const glia_fused *f, int layer, glia_err *err) {
    const stored *w = p->weight[layer];
    for (int i = 1; i < f->n_weights; i++) {
        const glia_tensor_view *a = w[f->weight[0]].tensor, *b = w[f->weight[i]].tensor;
        if (a->dtype != b->dtype)
            return glia_fail(err, GLIA_ERR_UNSUPPORTED,
                             "%s: %s is %s and %s is %s; fused weights must share a dtype", p->dir, a->name,
                             glia_tensor_dtype_name(a->dtype), b->name, glia_tensor_dtype_name(b->dtype));
    }
    return GLIA_OK;
}

static glia_status check_all_fused(const plain *p, glia_err *err) {
    glia_status status = GLIA_OK;
    for (int layer = 0; layer < p->config->layers; layer++)
        for (size_t r = 0; !status && r < glia_fused_rows; r++)
            if (!glia_fused_is_vector(&glia_fused_table[r]))
                status = check_fused(p, &glia_fused_table[r], layer, err);
    return status;
}

static const glia_preshard *preshard_of(const glia_model_spec *spec, glia_weight_id id) {
    for (size_t i = 0; i < spec->n_preshards; i++)
        if (spec->preshard[i].id == id) return &spec->preshard[i];
    return NULL;
}

static glia_status find_all(plain *p, glia_err *err) {
    glia_weight w;
    const glia_checkpoint *c = &p->checkpoint;
    bool *used = calloc(c->n + 1, sizeof *used);
    if (!used) return glia_fail_nomem(err, c->n + 1, "the tensor list");
    glia_status status = GLIA_OK;
    for (size_t i = 0; !status && glia_spec_weight(&w, p->spec, p->config, i); i++) {
        const char *name = glia_checkpoint_stored_name(c, w.name);
        const glia_tensor_view *t = glia_checkpoint_find(c, name);
        status = check_tensor(p, &w, name, t, err);
        if (status) break;
        used[t - c->tensor] = true;
        p->weight[w.layer][w.spec->id] = (stored){t, preshard_of(p->spec, w.spec->id)};
    }
    if (!status) status = check_all_fused(p, err);
    for (size_t i = 0; !status && i < c->n; i++)
        if (!used[i] && !redundant(p, &c->tensor[i]))
            status = glia_fail(err, GLIA_ERR_SHAPE, "%s: tensor %s is not one of %s", p->dir,
                               c->tensor[i].name, p->spec->architecture);
    free(used);
    return status;
}

/* ---- rows ----------------------------------------------------------------- */

static glia_dtype dtype_of(const glia_tensor_view *t) {
    return t->dtype == GLIA_TENSOR_F32    ? GLIA_DTYPE_F32
           : t->dtype == GLIA_TENSOR_BF16 ? GLIA_DTYPE_BF16
                                          : GLIA_DTYPE_F16;
}

/* Values that a preshard function changes are float32. */
static glia_stored_format format(const glia_row_source *s, glia_weight_ref w) {
    const stored *x = find(s, w);
    const bool changes = x->preshard && x->preshard->change;
    return (glia_stored_format){.dtype = changes ? GLIA_DTYPE_F32 : dtype_of(x->tensor)};
}

static void widen(float *y, const char *row, glia_dtype from, size_t n) {
    uint16_t h;
    if (from == GLIA_DTYPE_F32) {
        memcpy(y, row, n * sizeof *y);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        memcpy(&h, row + i * sizeof h, sizeof h);
        y[i] = from == GLIA_DTYPE_BF16 ? glia_bf16_to_f32(h) : glia_f16_to_f32(h);
    }
}

static glia_stored_row read_row(const glia_row_source *s, glia_weight_ref w, size_t row, size_t from,
                                size_t to, glia_stored_format as, float *buffer) {
    const glia_model_config *c = ((const plain *)s)->config;
    const stored *x = find(s, w);
    const glia_preshard *hook = x->preshard;
    const glia_dtype dtype = dtype_of(x->tensor);
    const size_t n = x->tensor->n_dims == 1 ? 1 : (size_t)x->tensor->shape[1];
    const size_t at = hook && hook->source ? (size_t)hook->source(c, (int64_t)row) : row;
    const char *numbers = (const char *)x->tensor->data + at * n * (dtype == GLIA_DTYPE_F32 ? 4 : 2);
    (void)from, (void)to; /* all columns are there */
    if (as.dtype == dtype && !(hook && hook->change)) return (glia_stored_row){.numbers = numbers};
    widen(buffer, numbers, dtype, n);
    if (hook && hook->change) hook->change(c, (int64_t)row, buffer, (int64_t)n);
    return (glia_stored_row){.numbers = buffer};
}

static const char *name(const glia_row_source *s, glia_weight_ref w) { return find(s, w)->tensor->name; }

static void drop(const glia_row_source *s, glia_weight_ref w) {
    glia_checkpoint_drop(&((const plain *)s)->checkpoint, find(s, w)->tensor);
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
    p->base = (glia_row_source){"loading weights", format, read_row, name, drop, close_plain};
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
