/* importance.c - see importance.h. */
#include "model/importance.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "format/safetensors.h"
#include "model/fused.h"

enum { NAME = 64 };

struct glia_importance {
    const float **of; /* [layers, N_PRODUCTS] into numbers */
    float *mean;      /* [layers, N_PRODUCTS] of all columns */
    float *numbers;
    uint64_t hash;
};

/* ---- products -------------------------------------------------------------------- */

/* Columns of the weights of a product. */
static int64_t columns_of(const glia_model_config *c, glia_product p) {
    return p == PRODUCT_O ? glia_dim_of(c, D_Q) : p == PRODUCT_DOWN ? glia_dim_of(c, D_FFN) : c->hidden;
}

static void name_of(char *name, int layer, glia_product p) {
    static const char *const names[N_PRODUCTS] = {[PRODUCT_HEAD] = "head",
                                                  [PRODUCT_QKV] = "qkv",
                                                  [PRODUCT_O] = "o",
                                                  [PRODUCT_GATE_UP] = "gate_up",
                                                  [PRODUCT_DOWN] = "down"};
    if (p == PRODUCT_HEAD)
        snprintf(name, NAME, "%s", names[p]);
    else
        snprintf(name, NAME, "model.layers.%d.%s", layer, names[p]);
}

/* The matrix of a product of one rank alone. */
static glia_matrix *matrix_of(glia_weights *w, int layer, glia_product p) {
    glia_layer_weights *l = &w->layer[layer];
    return p == PRODUCT_HEAD      ? &w->head
           : p == PRODUCT_QKV     ? &l->qkv
           : p == PRODUCT_O       ? &l->o
           : p == PRODUCT_GATE_UP ? &l->gate_up
                                  : &l->down;
}

/* Visit the head, then the products of each layer: zero *layer and *p, then call until false. */
static bool next_product(const glia_model_config *c, int *layer, glia_product *p) {
    if (*p != PRODUCT_HEAD && ++*p < N_PRODUCTS) return true;
    if (*p == N_PRODUCTS) ++*layer;
    *p = PRODUCT_QKV;
    return *layer < c->layers;
}

/* ---- read ------------------------------------------------------------------------- */

static const glia_tensor_view *find(const glia_safetensors *s, const char *name) {
    for (size_t i = 0; i < s->n; i++)
        if (strcmp(s->tensor[i].name, name) == 0) return &s->tensor[i];
    return NULL;
}

/* Columns of all products together. */
static size_t all_columns(const glia_model_config *c) {
    size_t n = 0;
    glia_product p = PRODUCT_NONE;
    for (int layer = 0; next_product(c, &layer, &p);) n += (size_t)columns_of(c, p);
    return n;
}

/* Set x [n] and its mean from the tensor. */
static glia_status read_numbers(float *x, float *mean, const glia_tensor_view *t, const char *path,
                                glia_err *err) {
    const int64_t n = t->shape[0];
    double sum = 0;
    memcpy(x, t->data, (size_t)n * sizeof *x);
    for (int64_t i = 0; i < n; i++) {
        sum += (double)x[i];
        if (!(x[i] >= 0 && isfinite(x[i])))
            return glia_fail(err, GLIA_ERR_FORMAT,
                             "%s: tensor %s: number %lld is %g, expected a mean square of 0 or more", path,
                             t->name, (long long)i, (double)x[i]);
    }
    *mean = (float)(sum / (double)n);
    return GLIA_OK;
}

static glia_status read_product(glia_importance *m, float *to, const glia_safetensors *file, const char *path,
                                const glia_model_config *c, int layer, glia_product p, glia_err *err) {
    char name[NAME], found[128] = "none";
    const int64_t n = columns_of(c, p);
    name_of(name, layer, p);
    const glia_tensor_view *t = find(file, name);
    if (t) glia_tensor_shape(t, found, sizeof found);
    if (!t || t->dtype != GLIA_TENSOR_F32 || t->n_dims != 1 || t->shape[0] != n)
        return glia_fail(err, GLIA_ERR_SHAPE,
                         "%s: tensor %s: expected float32 [%lld], found %s%s; it is of another model or no "
                         "importance file of glia calibrate",
                         path, name, (long long)n, t ? glia_tensor_dtype_name(t->dtype) : "", found);
    const int at = layer * N_PRODUCTS + (int)p;
    m->of[at] = to;
    return read_numbers(to, &m->mean[at], t, path, err);
}

static glia_status read_all(glia_importance *m, const char *path, const glia_model_config *c, glia_err *err) {
    glia_safetensors file;
    glia_status status = glia_safetensors_open(&file, path, err);
    if (status) return status;
    float *to = m->numbers;
    glia_product p = PRODUCT_NONE;
    m->hash = glia_hash(file.map.data, file.map.len, 0);
    for (int layer = 0; !status && next_product(c, &layer, &p); to += columns_of(c, p))
        status = read_product(m, to, &file, path, c, layer, p, err);
    glia_safetensors_close(&file);
    return status;
}

glia_status glia_importance_open(glia_importance **out, const char *path, const glia_model_config *c,
                                 glia_err *err) {
    const size_t products = (size_t)c->layers * N_PRODUCTS, columns = all_columns(c);
    glia_importance *m = *out = calloc(1, sizeof *m);
    if (m) {
        m->of = calloc(products, sizeof *m->of);
        m->mean = calloc(products, sizeof *m->mean);
        m->numbers = calloc(columns, sizeof *m->numbers);
    }
    const glia_status status = m && m->of && m->mean && m->numbers
                                   ? read_all(m, path, c, err)
                                   : glia_fail_nomem(err, columns * sizeof(float), "the importance");
    if (!status) return GLIA_OK;
    glia_importance_close(m);
    *out = NULL;
    return status;
}

static int index_of(int layer, glia_product product) {
    return (product == PRODUCT_HEAD ? 0 : layer) * N_PRODUCTS + (int)product;
}

const float *glia_importance_of(const glia_importance *m, int layer, glia_product product) {
    return m->of[index_of(layer, product)];
}

float glia_importance_mean(const glia_importance *m, int layer, glia_product product) {
    return m->mean[index_of(layer, product)];
}

uint64_t glia_importance_hash(const glia_importance *m) { return m->hash; }

void glia_importance_close(glia_importance *m) {
    if (!m) return;
    free(m->of);
    free(m->mean);
    free(m->numbers);
    free(m);
}

bool glia_importance_is(const char *path) {
    glia_safetensors s;
    if (glia_safetensors_open(&s, path, NULL)) return false;
    const bool is = json_object_get(s.metadata, GLIA_SAFETENSORS_OURS) && find(&s, "head");
    glia_safetensors_close(&s);
    return is;
}

/* ---- observe ------------------------------------------------------------------------ */

glia_status glia_importance_observe(double **sums, glia_weights *w, glia_err *err) {
    const glia_model_config *c = w->config;
    const size_t n = all_columns(c);
    double *at = *sums = calloc(n, sizeof **sums);
    if (!at) return glia_fail_nomem(err, n * sizeof *at, "sums of squares");
    glia_product p = PRODUCT_NONE;
    for (int layer = 0; next_product(c, &layer, &p); at += columns_of(c, p))
        matrix_of(w, layer, p)->squares = at;
    return GLIA_OK;
}

void glia_importance_forget(double *sums, glia_weights *w) {
    glia_product p = PRODUCT_NONE;
    for (int layer = 0; next_product(w->config, &layer, &p);) matrix_of(w, layer, p)->squares = NULL;
    free(sums);
}

/* ---- write -------------------------------------------------------------------------- */

static glia_status append(glia_safetensors_writer *out, const double *squares, size_t n, size_t tokens,
                          glia_err *err) {
    glia_status status = GLIA_OK;
    for (size_t i = 0; i < n && !status; i++) {
        const float mean = (float)(squares[i] / (double)tokens);
        status = glia_safetensors_append(out, &mean, sizeof mean, err);
    }
    return status;
}

glia_status glia_importance_write(const char *path, const glia_weights *w, size_t tokens, glia_err *err) {
    const glia_model_config *c = w->config;
    const size_t most = (size_t)c->layers * N_PRODUCTS + 1;
    glia_tensor_spec *spec = calloc(most, sizeof *spec);
    char(*name)[NAME] = calloc(most, sizeof *name);
    glia_safetensors_writer *out = NULL;
    size_t n = 0;
    if (!spec || !name) {
        free(spec);
        free(name);
        return glia_fail_nomem(err, most * sizeof *spec, "the importance");
    }
    glia_product p = PRODUCT_NONE;
    for (int layer = 0; next_product(c, &layer, &p); n++) {
        name_of(name[n], layer, p);
        spec[n] = (glia_tensor_spec){name[n], GLIA_TENSOR_F32, 1, {columns_of(c, p)}};
    }
    glia_status status = glia_safetensors_create(&out, path, spec, n, err);
    p = PRODUCT_NONE;
    for (int layer = 0; !status && next_product(c, &layer, &p);)
        status = append(out, matrix_of((glia_weights *)(uintptr_t)w, layer, p)->squares,
                        (size_t)columns_of(c, p), tokens, err);
    if (!status)
        status = glia_safetensors_finish(out, err);
    else
        glia_safetensors_abandon(out);
    free(spec);
    free(name);
    return status;
}
