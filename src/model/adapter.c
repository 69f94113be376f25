/* adapter.c - see adapter.h. */
#include "model/adapter.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bf16.h"
#include "model/artifact.h"

/* ---- numbers ---------------------------------------------------------------- */

void glia_tensor_floats(const glia_tensor_view *v, size_t from, size_t n, float *y) {
    const char *at = v->data;
    uint16_t h;
    double d;
    switch (v->dtype) {
    case GLIA_TENSOR_F64:
        for (size_t i = 0; i < n; i++)
            y[i] = (float)*(double *)memcpy(&d, at + (from + i) * sizeof d, sizeof d);
        break;
    case GLIA_TENSOR_BF16:
        for (size_t i = 0; i < n; i++)
            y[i] = glia_bf16_to_f32(*(uint16_t *)memcpy(&h, at + (from + i) * sizeof h, sizeof h));
        break;
    case GLIA_TENSOR_F16:
        for (size_t i = 0; i < n; i++)
            y[i] = glia_f16_to_f32(*(uint16_t *)memcpy(&h, at + (from + i) * sizeof h, sizeof h));
        break;
    default: memcpy(y, at + from * sizeof *y, n * sizeof *y);
    }
}

bool glia_change_is(const glia_change *c) { return c->r || c->whole || c->bias || c->b_bias || c->n_tokens; }

size_t glia_change_rank(const glia_change *c) { return (size_t)(c->r + c->n_tokens); }

double glia_change_scale(const glia_change *c) { return c->r && !c->n_tokens ? c->scale : 1; }

/* y [n]: row `row` of `rows`, of a matrix that is `blocks` blocks on a diagonal, which are stored one below
 * the other. */
static void block_row(const glia_tensor_view *v, size_t row, size_t rows, size_t n, int blocks, float *y) {
    const size_t width = n / (size_t)blocks, block = row / (rows / (size_t)blocks);
    if (blocks > 1) memset(y, 0, n * sizeof *y);
    glia_tensor_floats(v, row * width, width, y + block * width);
}

void glia_change_a(const glia_change *c, size_t j, size_t cols, float *y) {
    const size_t r = (size_t)c->r;
    if (j >= r) {
        memcpy(y, c->delta + (j - r) * cols, cols * sizeof *y);
        return;
    }
    const size_t pool = (size_t)c->pool, means = cols / pool;
    block_row(c->a, j, r, means, c->a_blocks, y);
    for (size_t k = cols; pool > 1 && k-- > 0;) y[k] = y[k / pool] * ((float)means / (float)pool);
    for (size_t k = 0; c->n_tokens && k < cols; k++) y[k] *= (float)c->scale;
}

void glia_change_b(const glia_change *c, size_t row, float *y) {
    if (c->r) block_row(c->b, row, (size_t)c->b->shape[0], (size_t)c->r, c->b_blocks, y);
    for (int j = 0; j < c->n_tokens; j++) y[c->r + j] = c->token[j] == (int32_t)row;
}

/* ---- the weight of a module ------------------------------------------------- */

typedef struct {
    glia_adapter *a;
    const char *path; /* of the tensors, for messages */
    glia_row_source *source;
    const glia_adapter_base *base;
    glia_warning_fn *warning;
    void *user;
    glia_err *err;
} binder;

/* "MODULE.weight" of the model: *w, and true. */
static bool find_weight(glia_weight *w, const glia_adapter *a, const char *module) {
    const size_t n = strlen(module);
    for (size_t i = 0; glia_spec_weight(w, a->spec, a->config, i); i++)
        if (strncmp(w->name, module, n) == 0 && strcmp(w->name + n, ".weight") == 0) return true;
    if (strcmp(module, "lm_head") != 0) return false;
    *w = (glia_weight){.spec = &glia_output_head, .rows = a->config->vocab, .cols = a->config->hidden};
    return true;
}

static glia_status no_module(const binder *b, const glia_adapter_tensor *t) {
    static const char layers[] = "model.layers.";
    char *end;
    const bool of_layer = strncmp(t->module, layers, sizeof layers - 1) == 0;
    const long layer = of_layer ? strtol(t->module + sizeof layers - 1, &end, 10) : -1;
    if (layer >= b->a->config->layers)
        return glia_fail(b->err, GLIA_ERR_SHAPE, "%s: tensor %.160s is of layer %ld, the model has %d layers",
                         b->path, t->view->name, layer, b->a->config->layers);
    return glia_fail(b->err, GLIA_ERR_SHAPE, "%s: tensor %.160s: the model has no module %.120s", b->path,
                     t->view->name, t->module);
}

/* Fail unless the tensor is [rows, cols]; cols 0: [rows]. */
static glia_status check_shape(const binder *b, const glia_tensor_view *v, int64_t rows, int64_t cols,
                               const char *why) {
    const int dims = cols ? 2 : 1;
    char found[80] = "", want[60];
    if (v->n_dims == dims && v->shape[0] == rows && (!cols || v->shape[1] == cols)) return GLIA_OK;
    for (int i = 0; i < v->n_dims && i < 3; i++)
        snprintf(found + strlen(found), sizeof found - strlen(found), "%s%lld", i ? ", " : "",
                 (long long)v->shape[i]);
    snprintf(want, sizeof want, cols ? "%lld, %lld" : "%lld", (long long)rows, (long long)cols);
    return glia_fail(b->err, GLIA_ERR_SHAPE, "%s: tensor %.160s is [%s], expected [%s]%s", b->path, v->name,
                     found, want, why);
}

static glia_status refuse(const binder *b, const glia_adapter_tensor *t, const char *why) {
    return glia_fail(b->err, GLIA_ERR_FORMAT, "%s: tensor %.160s: %s", b->path, t->view->name, why);
}

/* ---- one tensor ------------------------------------------------------------- */

/* How the configuration stores A and B of a linear layer in another form than [r, cols] and [rows, r]. */
static glia_status read_form(const binder *b, const glia_adapter_tensor *t, const glia_weight *w,
                             glia_change *c) {
    const glia_adapter_files *f = &b->a->files;
    const char *leaf = strrchr(t->module, '.');
    const bool linear = w->spec->id != W_EMBED;
    const char *name = leaf ? leaf + 1 : t->module;
    c->pool = linear && f->pool ? f->pool : 1;
    c->a_blocks = linear && glia_adapter_blocks(f, "target_modules_bd_a", name) ? f->blocks : 1;
    c->b_blocks = linear && glia_adapter_blocks(f, "target_modules_bd_b", name) ? f->blocks : 1;
    if (w->cols % (c->pool * c->a_blocks) == 0 && w->rows % c->b_blocks == 0 && c->r % c->a_blocks == 0 &&
        c->r % c->b_blocks == 0)
        return GLIA_OK;
    return glia_fail(b->err, GLIA_ERR_SHAPE,
                     "%s: %.120s [%lld, %lld] with rank %d does not divide into %s of %d", b->path, t->module,
                     (long long)w->rows, (long long)w->cols, c->r, c->pool > 1 ? "groups" : "blocks",
                     c->pool > 1 ? c->pool : f->blocks);
}

static glia_status bind_ab(const binder *b, const glia_adapter_tensor *t, const glia_weight *w,
                           glia_change *c) {
    const bool embedding = w->spec->id == W_EMBED,
               is_a = t->role == GLIA_LORA_A || t->role == GLIA_LORA_EMBED_A;
    char why[100];
    bool is;
    if (w->spec->cols == D_1) return refuse(b, t, "its module is no linear layer");
    if (embedding != (t->role >= GLIA_LORA_EMBED_A))
        return refuse(b, t, "its module has another kind of A and B");
    glia_status status =
        glia_adapter_targets(&is, &b->a->files, t->module, w->spec->id != W_HEAD && !embedding, b->err);
    if (status) return status;
    if (!is) return refuse(b, t, "adapter_config.json does not target its module");
    status = glia_adapter_scale(&c->r, &c->scale, &b->a->files, t->module, b->err);
    if (!status) status = read_form(b, t, w, c);
    if (status) return status;
    snprintf(why, sizeof why, ": adapter_config.json gives its module rank %d", c->r);
    if (is_a) c->a = t->view;
    if (!is_a) c->b = t->view;
    /* an embedding's A has a column for each token */
    const int64_t rows = embedding ? w->cols : w->rows, cols = embedding ? w->rows : w->cols,
                  stored_r = is_a ? c->r : c->r / c->b_blocks;
    const bool rank_differs = t->view->n_dims == 2 && t->view->shape[is_a ? 0 : 1] != stored_r;
    return is_a ? check_shape(b, t->view, c->r, cols / (c->pool * c->a_blocks), rank_differs ? why : "")
                : check_shape(b, t->view, rows, stored_r, rank_differs ? why : "");
}

static glia_status bind_magnitude(const binder *b, const glia_adapter_tensor *t, const glia_weight *w,
                                  glia_change *c) {
    if (!b->a->files.dora) return refuse(b, t, "adapter_config.json does not have use_dora");
    const size_t n = (size_t)(w->spec->id == W_EMBED ? w->cols : w->rows);
    const glia_status status = check_shape(b, t->view, (int64_t)n, 0, "");
    if (status) return status;
    c->factor = malloc(n * sizeof *c->factor);
    if (!c->factor) return glia_fail_nomem(b->err, n * sizeof *c->factor, "DoRA's magnitudes");
    glia_tensor_floats(t->view, 0, n, c->factor);
    return GLIA_OK;
}

static glia_status bind_whole(const binder *b, const glia_adapter_tensor *t, const glia_weight *w,
                              glia_change *c) {
    if (!glia_adapter_saves(&b->a->files, t->module))
        return refuse(b, t, "adapter_config.json does not name its module in modules_to_save");
    c->whole = t->view;
    return check_shape(b, t->view, w->rows, w->spec->cols == D_1 ? 0 : w->cols, "");
}

static glia_status bind_bias(const binder *b, const glia_adapter_tensor *t, const glia_weight *w,
                             glia_change *c) {
    const bool saved = glia_adapter_saves(&b->a->files, t->module);
    if (w->spec->cols == D_1) return refuse(b, t, "its module has no bias");
    if (t->role == GLIA_LORA_B_BIAS) {
        c->b_bias = t->view;
        if (!b->a->files.lora_bias) return refuse(b, t, "adapter_config.json does not have lora_bias");
    } else {
        c->bias = t->view;
        if (b->a->files.biases == GLIA_LORA_BIAS_NONE && !saved)
            return refuse(b, t, "adapter_config.json says that bias is none");
    }
    return check_shape(b, t->view, w->rows, 0, "");
}

/* ---- what depends on the base model's weights ------------------------------- */

/* The weight that is meant: a tied head is the embedding. */
static glia_weight_ref base_weight(const binder *b, glia_weight_id id, int layer) {
    return (glia_weight_ref){id == W_HEAD && b->a->config->tied_head ? W_EMBED : id, layer};
}

/* Open the base model's weights, to read one of them. */
static glia_status open_source(binder *b, glia_weight_id id, int layer) {
    const glia_adapter *a = b->a;
    static const char also[] = "give the directory of the original model";
    if (!b->source && b->base->dummy)
        return glia_source_dummy(&b->source, a->spec, a->config, b->base->seed, b->err);
    if (!glia_artifact_in(b->base->dir))
        return b->source ? GLIA_OK : glia_source_plain(&b->source, b->base->dir, a->spec, a->config, b->err);
    if (b->base->n == 0 || b->base->n < b->base->weight[0]->parallel.tp)
        return glia_fail(
            b->err, GLIA_ERR_UNSUPPORTED,
            "%s: this adapter depends on the base model's weights, which a process of a compiled "
            "model does not have as a whole; %s",
            a->files.dir, also);
    const glia_status status =
        b->source ? GLIA_OK : glia_source_packed(&b->source, b->base->weight, b->base->n, b->err);
    if (status || b->source->format(b->source, base_weight(b, id, layer)).dtype != GLIA_DTYPE_AUTO)
        return status;
    return glia_fail(b->err, GLIA_ERR_UNSUPPORTED,
                     "%s: DoRA depends on the base model's weights, which are compiled as quantised ones; %s",
                     a->files.dir, also);
}

/* Row `row` of the base model's weight. */
static const float *base_row(const binder *b, glia_weight_id id, int layer, size_t row, size_t cols,
                             float *buffer) {
    const glia_stored_format f32 = {.dtype = GLIA_DTYPE_F32};
    return b->source->read(b->source, base_weight(b, id, layer), row, 0, cols, f32, buffer).numbers;
}

/* PEFT replaces the base model's embedding by the one that it has stored beside A and B. */
static glia_status check_base(binder *b, const glia_adapter_tensor *t, const glia_weight *w) {
    const size_t cols = (size_t)w->cols;
    char text[500];
    glia_status status = check_shape(b, t->view, w->rows, w->cols, "");
    if (status || b->base->sizes) return status;
    if (!b->base->dummy && glia_artifact_in(b->base->dir)) {
        snprintf(text, sizeof text,
                 "%.300s: tensor %.100s is not compared with the model's, which is compiled", b->path,
                 t->view->name);
        if (b->warning) b->warning(b->user, text);
        return GLIA_OK;
    }
    status = open_source(b, w->spec->id, w->layer);
    if (status) return status;
    float *stored = malloc(2 * cols * sizeof *stored);
    if (!stored) return glia_fail_nomem(b->err, 2 * cols * sizeof *stored, "a row");
    for (size_t row = 0; !status && row < (size_t)w->rows; row++) {
        const float *base = base_row(b, w->spec->id, w->layer, row, cols, stored + cols);
        glia_tensor_floats(t->view, row * cols, cols, stored);
        if (memcmp(stored, base, cols * sizeof *stored) != 0)
            status = glia_fail(b->err, GLIA_ERR_SHAPE,
                               "%s: tensor %.160s differs from the model's weight in row %zu: the adapter "
                               "belongs to another base model%s%.120s",
                               b->path, t->view->name, row, b->a->files.base_model ? ", " : "",
                               b->a->files.base_model ? b->a->files.base_model : "");
    }
    free(stored);
    return status;
}

/* y [cols] = row i of W + scale B A. a: A [r, cols], of an embedding B transposed; by: memory for r floats.
 */
static void changed_row(const binder *b, const glia_weight *w, const glia_change *c, size_t i, const float *a,
                        float *y, float *by) {
    const size_t cols = (size_t)w->cols, r = (size_t)c->r;
    const float *base = base_row(b, w->spec->id, w->layer, i, cols, y);
    if (base != y) memcpy(y, base, cols * sizeof *y);
    if (w->spec->id != W_EMBED) glia_change_b(c, i, by);
    for (size_t j = 0; j < r; j++) {
        if (w->spec->id == W_EMBED) glia_tensor_floats(c->a, j * (size_t)w->rows + i, 1, &by[j]);
        const float scaled = (float)c->scale * by[j], *from = a + j * cols;
        for (size_t k = 0; k < cols; k++) y[k] += scaled * from[k];
    }
}

/* factor = magnitude / |W + scale B A|: the norms of rows, of an embedding those of columns. */
static glia_status find_factors(binder *b, const glia_weight *w, glia_change *c) {
    const size_t cols = (size_t)w->cols, r = (size_t)c->r;
    const bool embedding = w->spec->id == W_EMBED;
    const glia_status status = open_source(b, w->spec->id, w->layer);
    if (status) return status;
    float *a = malloc((r * cols + cols + r) * sizeof *a), *row = a ? a + r * cols : NULL;
    double *sum = calloc(cols, sizeof *sum);
    if (!a || !sum) {
        free(a);
        free(sum);
        return glia_fail_nomem(b->err, (r * cols + 3 * cols + r) * sizeof *a, "DoRA's norms");
    }
    for (size_t j = 0; !embedding && j < r; j++) glia_change_a(c, j, cols, a + j * cols);
    for (size_t k = 0; embedding && k < cols; k++)
        for (size_t j = 0; j < r; j++) glia_tensor_floats(c->b, k * r + j, 1, &a[j * cols + k]);
    for (size_t i = 0; i < (size_t)w->rows; i++) {
        changed_row(b, w, c, i, a, row, row + cols);
        if (!embedding) sum[0] = 0;
        for (size_t k = 0; k < cols; k++) sum[embedding ? k : 0] += (double)row[k] * (double)row[k];
        if (!embedding) c->factor[i] = (float)((double)c->factor[i] / sqrt(sum[0]));
    }
    for (size_t k = 0; embedding && k < cols; k++)
        c->factor[k] = (float)((double)c->factor[k] / sqrt(sum[k]));
    free(a);
    free(sum);
    return GLIA_OK;
}

static glia_status bind_tokens(binder *b, const glia_adapter_tensor *t, const glia_weight *w,
                               glia_change *c) {
    const json_t *list = glia_adapter_tokens(&b->a->files, t->module);
    const size_t cols = (size_t)w->cols, n = json_array_size(list);
    if (!n) return refuse(b, t, "adapter_config.json has no trainable_token_indices for its module");
    if (w->spec->id != W_EMBED && w->spec->id != W_HEAD)
        return refuse(b, t, "its module is neither the embedding nor the head");
    glia_status status =
        check_shape(b, t->view, (int64_t)n, w->cols, ": a row for each of trainable_token_indices");
    if (!status && !b->base->sizes) status = open_source(b, w->spec->id, 0);
    if (status) return status;
    c->token = malloc(n * sizeof *c->token);
    c->delta = malloc((n + 1) * cols * sizeof *c->delta);
    if (!c->token || !c->delta)
        return glia_fail_nomem(b->err, n * cols * sizeof *c->delta, "the rows of tokens");
    for (size_t i = 0; i < n; i++) {
        const json_int_t id = json_integer_value(json_array_get(list, i));
        if (!json_is_integer(json_array_get(list, i)) || id < 0 || id >= w->rows)
            return glia_fail(b->err, GLIA_ERR_FORMAT,
                             "%s: trainable_token_indices: element %zu is %lld, the vocabulary has %lld",
                             b->a->files.dir, i, (long long)id, (long long)w->rows);
        c->token[i] = (int32_t)id;
        if (b->base->sizes) continue;
        float *delta = c->delta + i * cols;
        const float *base = base_row(b, w->spec->id, 0, (size_t)id, cols, c->delta + n * cols);
        glia_tensor_floats(t->view, i * cols, cols, delta);
        for (size_t k = 0; k < cols; k++) delta[k] -= base[k];
    }
    c->n_tokens = (int)n;
    return GLIA_OK;
}

/* ---- all of it -------------------------------------------------------------- */

static glia_status bind_tensor(binder *b, const glia_adapter_tensor *t) {
    glia_weight w;
    if (!find_weight(&w, b->a, t->module)) return no_module(b, t);
    glia_change *c = &b->a->change[w.layer * N_WEIGHTS + (int)w.spec->id];
    if (b->a->files.invocation && t->role > GLIA_LORA_B_BIAS)
        return glia_fail(b->err, GLIA_ERR_UNSUPPORTED,
                         "%s: tensor %.160s: alora_invocation_tokens with a change that PEFT applies to all "
                         "tokens; Glia has A and B of linear layers with them",
                         b->path, t->view->name);
    switch (t->role) {
    case GLIA_LORA_MAGNITUDE: return bind_magnitude(b, t, &w, c);
    case GLIA_LORA_TOKENS: return bind_tokens(b, t, &w, c);
    case GLIA_LORA_WEIGHT: return bind_whole(b, t, &w, c);
    case GLIA_LORA_B_BIAS:
    case GLIA_LORA_BIAS: return bind_bias(b, t, &w, c);
    case GLIA_LORA_BASE: return check_base(b, t, &w);
    default: return bind_ab(b, t, &w, c);
    }
}

/* Each change is of one kind, and DoRA has a factor. */
static glia_status check_change(binder *b, const glia_weight *w, glia_change *c) {
    const bool adds = c->r && c->n_tokens && w->spec->id == W_HEAD && !c->factor; /* A and B, and rows */
    if ((c->r != 0) + (c->whole != NULL) + (c->n_tokens != 0) > 1 + adds)
        return glia_fail(b->err, GLIA_ERR_FORMAT, "%s: %.120s is changed in two ways", b->path, w->name);
    if (b->a->files.dora && c->r && !c->factor)
        return glia_fail(b->err, GLIA_ERR_FORMAT, "%s: %.120s has no %s, which use_dora asks for", b->path,
                         w->name, glia_lora_role_name(GLIA_LORA_MAGNITUDE));
    if ((int)glia_change_rank(c) > b->a->rank) b->a->rank = (int)glia_change_rank(c);
    return c->factor && !b->base->sizes ? find_factors(b, w, c) : GLIA_OK;
}

/* Warn of modules that are targeted and have no tensors: PEFT leaves them as they are in the base model. */
static glia_status count_absent(const binder *b) {
    glia_weight w;
    int n = 0;
    char first[96] = "", text[400];
    for (size_t i = 0; glia_spec_weight(&w, b->a->spec, b->a->config, i); i++) {
        bool is;
        if (w.spec->cols == D_1 || glia_adapter_change(b->a, w.layer, w.spec->id)->r) continue;
        w.name[strlen(w.name) - strlen(".weight")] = '\0';
        const bool linear = w.spec->id != W_HEAD && w.spec->id != W_EMBED;
        const glia_status status = glia_adapter_targets(&is, &b->a->files, w.name, linear, b->err);
        if (status) return status;
        if (is && n++ == 0) snprintf(first, sizeof first, "%s", w.name);
    }
    snprintf(text, sizeof text,
             "%.200s: no tensors for %d of the targeted modules, such as %s: they stay the base model's",
             b->a->files.dir, n, first);
    if (n && b->warning) b->warning(b->user, text);
    return GLIA_OK;
}

/* A head that is tied to the embedding: replaced rows are of both, unless the head has rows of its own; a
 * replaced embedding if ensure_weight_tying says so. */
static void tie_head(glia_adapter *a) {
    const glia_change *embed = glia_adapter_change(a, 0, W_EMBED);
    glia_change *head = &a->change[W_HEAD];
    if (!a->config->tied_head || head->whole || head->n_tokens) return;
    head->token = embed->token;
    head->delta = embed->delta;
    head->n_tokens = embed->n_tokens;
    if (!glia_change_is(head) && a->files.ties_head) head->whole = embed->whole;
}

static glia_status bind_all(binder *b) {
    glia_adapter *a = b->a;
    glia_status status = GLIA_OK;
    for (size_t i = 0; !status && i < a->files.n; i++) status = bind_tensor(b, &a->files.tensor[i]);
    if (!status) tie_head(a);
    for (int i = 0; !status && i < a->config->layers * N_WEIGHTS; i++) {
        const glia_weight_id id = (glia_weight_id)(i % N_WEIGHTS);
        glia_weight w = {.layer = i / N_WEIGHTS};
        if (!glia_change_is(&a->change[i])) continue;
        w.spec = id == W_HEAD ? &glia_output_head : glia_spec_row(a->spec, a->config, id);
        w.rows = glia_dim_of(a->config, w.spec->rows);
        w.cols = glia_dim_of(a->config, w.spec->cols);
        snprintf(w.name, sizeof w.name, "%s", w.spec->name);
        status = check_change(b, &w, &a->change[i]);
    }
    return status ? status : count_absent(b);
}

glia_status glia_adapter_open(glia_adapter *a, const char *dir, const glia_model_config *config,
                              const glia_adapter_base *base, glia_warning_fn *warning, void *user,
                              glia_err *err) {
    char path[1024];
    *a = (glia_adapter){.spec = glia_spec_find(config->architecture), .config = config};
    binder b = {.a = a, .path = path, .base = base, .warning = warning, .user = user, .err = err};
    const size_t n = (size_t)config->layers * N_WEIGHTS;
    glia_status status = glia_adapter_files_open(&a->files, dir, err);
    if (status) return status;
    snprintf(path, sizeof path, "%s/adapter_model.safetensors", dir);
    a->change = calloc(n, sizeof *a->change);
    if (!a->change) status = glia_fail_nomem(err, n * sizeof *a->change, "the adapter's changes");
    if (!status) status = bind_all(&b);
    if (b.source && !status) status = b.source->check(b.source, err);
    if (b.source) b.source->close(b.source);
    if (status) glia_adapter_close(a);
    return status;
}

void glia_adapter_close(glia_adapter *a) {
    const int n = a->change ? a->config->layers * N_WEIGHTS : 0;
    for (int i = 0; i < n; i++) {
        const glia_change *embed = &a->change[W_EMBED], *c = &a->change[i];
        free(a->change[i].factor);
        if (i == W_HEAD && c->token == embed->token && c->delta == embed->delta) continue; /* tied */
        free(a->change[i].token);
        free(a->change[i].delta);
    }
    free(a->change);
    glia_adapter_files_close(&a->files);
    *a = (glia_adapter){0};
}
