/* head.c - the tensors of a draft head: which there are, and whether they fit. */
#include "draft/head.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    ITEMS_MAX = GLIA_HEAD_LAYERS_MAX * 12 + GLIA_MEDUSA_HEADS_MAX * (2 * GLIA_MEDUSA_LAYERS_MAX + 1) + 32
};

/* ---- the list of matrices and vectors ------------------------------------------- */

typedef struct {
    glia_head *h;
    const glia_head_file *file;
    const char *prefix; /* of the names that follow */
    glia_status status;
    glia_err *err;
} lister;

/* The tensor of this name, checked; cols 0: a vector. NULL: there is none, which `must` forbids. */
static const glia_tensor_view *tensor_of(lister *l, const char *name, int64_t rows, int64_t cols, bool must) {
    char full[128], found[128];
    if (l->status) return NULL;
    snprintf(full, sizeof full, "%s%s", l->prefix, name);
    const glia_tensor_view *t = glia_head_file_find(l->file, full);
    if (!t) {
        if (must)
            l->status = glia_fail(l->err, GLIA_ERR_SHAPE, "%s: tensor %s is missing", l->file->dir, full);
        return NULL;
    }
    if (t->n_dims == (cols ? 2 : 1) && t->shape[0] == rows && (!cols || t->shape[1] == cols)) {
        l->status = glia_tensor_check_weight(t, l->file->dir, l->err);
        return l->status ? NULL : t;
    }
    glia_tensor_shape(t, found, sizeof found);
    l->status = cols ? glia_fail(l->err, GLIA_ERR_SHAPE, "%s: tensor %s has shape %s, expected [%lld, %lld]",
                                 l->file->dir, full, found, (long long)rows, (long long)cols)
                     : glia_fail(l->err, GLIA_ERR_SHAPE, "%s: tensor %s has shape %s, expected [%lld]",
                                 l->file->dir, full, found, (long long)rows);
    return NULL;
}

static void add_item(lister *l, glia_matrix *matrix, const float **vector,
                     const glia_tensor_view *const *part, int n, bool alternate) {
    if (l->status || !part[0]) return;
    glia_head_item *item = &l->h->item[l->h->n_items++];
    *item = (glia_head_item){.matrix = matrix, .vector = vector, .n_parts = n, .alternate = alternate};
    for (int i = 0; i < n; i++) item->part[i] = part[i];
}

static void matrix(lister *l, glia_matrix *to, const char *name, int64_t rows, int64_t cols) {
    const glia_tensor_view *t = tensor_of(l, name, rows, cols, true);
    add_item(l, to, NULL, &t, 1, false);
}

/* Returns false if there is none. */
static bool vector(lister *l, const float **to, const char *name, int64_t n, bool must) {
    const glia_tensor_view *t = tensor_of(l, name, n, 0, must);
    add_item(l, NULL, to, &t, 1, false);
    return t != NULL;
}

/* All biases of a fused matrix, or none. */
static void biases(lister *l, const float **to, const char *const *names, const int64_t *rows, int n) {
    const glia_tensor_view *part[3];
    for (int i = 0; i < n; i++) part[i] = tensor_of(l, names[i], rows[i], 0, i > 0 && part[0]);
    add_item(l, NULL, to, part, n, false);
}

static void list_attention(lister *l, glia_head_layer *y, int64_t k) {
    const glia_head_config *c = &l->h->config;
    const glia_model_config *b = &c->block;
    const int64_t q = b->heads * b->head_dim, kv = b->kv_heads * b->head_dim, rows[] = {q, kv, kv};
    static const char *const names[] = {"self_attn.q_proj.bias", "self_attn.k_proj.bias",
                                        "self_attn.v_proj.bias"};
    const glia_tensor_view *part[] = {tensor_of(l, "self_attn.q_proj.weight", q, k, true),
                                      tensor_of(l, "self_attn.k_proj.weight", kv, k, true),
                                      tensor_of(l, "self_attn.v_proj.weight", kv, k, true)};
    if (c->kind == GLIA_HEAD_DFLASH || c->kind == GLIA_HEAD_DSPARK) {
        add_item(l, &y->q, NULL, part, 1, false);
        add_item(l, &y->kv, NULL, part + 1, 2, false);
        biases(l, &y->q_bias, names, rows, 1);
        biases(l, &y->kv_bias, names + 1, rows + 1, 2);
    } else {
        add_item(l, &y->qkv, NULL, part, 3, false);
        biases(l, &y->qkv_bias, names, rows, 3);
    }
    vector(l, &y->o_bias, "self_attn.o_proj.bias", b->hidden, false);
    matrix(l, &y->o, "self_attn.o_proj.weight", b->hidden, q);
    const bool normed = vector(l, &y->q_norm, "self_attn.q_norm.weight", b->head_dim, false);
    vector(l, &y->k_norm, "self_attn.k_norm.weight", b->head_dim, normed);
}

/* A layer whose names begin with l->prefix. */
static void list_layer(lister *l, glia_head_layer *y, int i) {
    const glia_model_config *b = &l->h->config.block;
    const glia_head_kind kind = l->h->config.kind;
    const bool first3 = kind == GLIA_HEAD_EAGLE3 && i == 0;
    list_attention(l, y, first3 ? 2 * b->hidden : b->hidden);
    if (kind != GLIA_HEAD_EAGLE || i > 0) vector(l, &y->in_norm, "input_layernorm.weight", b->hidden, true);
    if (first3) vector(l, &y->hidden_norm, "hidden_norm.weight", b->hidden, true);
    vector(l, &y->post_norm, "post_attention_layernorm.weight", b->hidden, true);
    const glia_tensor_view *ffn[] = {tensor_of(l, "mlp.gate_proj.weight", b->ffn, b->hidden, true),
                                     tensor_of(l, "mlp.up_proj.weight", b->ffn, b->hidden, true)};
    add_item(l, &y->gate_up, NULL, ffn, 2, true);
    matrix(l, &y->down, "mlp.down_proj.weight", b->hidden, b->ffn);
}

static void list_layers(lister *l) {
    char prefix[32];
    for (int i = 0; i < l->h->config.block.layers; i++) {
        snprintf(prefix, sizeof prefix, "layers.%d.", i);
        l->prefix = i == 0 && glia_head_file_has(l->file, "midlayer.") ? "midlayer." : prefix;
        list_layer(l, &l->h->layer[i], i);
    }
    l->prefix = "";
}

/* The embedding and the head of logits, or the target's. */
static void list_ends(lister *l) {
    glia_head *h = l->h;
    const glia_head_config *c = &h->config;
    const glia_model_config *b = &c->block;
    h->own_embedding = glia_head_file_has(l->file, "embed_tokens.weight");
    h->own_lm_head = glia_head_file_has(l->file, "lm_head.weight");
    if (h->own_embedding) matrix(l, &h->embed, "embed_tokens.weight", b->vocab, b->hidden);
    if (h->own_lm_head) matrix(l, &h->lm_head, "lm_head.weight", c->draft_vocab, b->hidden);
    if (l->status) return;
    if (!h->own_embedding && b->hidden != c->target_hidden)
        l->status = glia_fail(l->err, GLIA_ERR_UNSUPPORTED,
                              "%s: the draft's hidden_size is %lld, the target's is %lld, and there is no "
                              "embed_tokens.weight",
                              l->file->dir, (long long)b->hidden, (long long)c->target_hidden);
    else if (!h->own_lm_head && (b->hidden != c->target_hidden || c->draft_vocab != b->vocab))
        l->status = glia_fail(l->err, GLIA_ERR_UNSUPPORTED,
                              "%s: expected lm_head.weight [%d, %lld], found none, and the target's head is "
                              "[%lld, %lld]",
                              l->file->dir, c->draft_vocab, (long long)b->hidden, (long long)b->vocab,
                              (long long)c->target_hidden);
}

/* Is fc's width what the target's features have together? A clearer sentence than that of the shape. */
static void check_features(lister *l, int64_t expected) {
    const glia_head_config *c = &l->h->config;
    const glia_tensor_view *t = glia_head_file_find(l->file, "fc.weight");
    if (l->status || !t || t->n_dims != 2 || t->shape[1] == expected) return;
    l->status =
        glia_fail(l->err, GLIA_ERR_SHAPE,
                  "%s: fc.weight reads %lld numbers, and %d states of the target, hidden size %lld, have "
                  "%lld: the draft is of another model",
                  l->file->dir, (long long)t->shape[1], c->n_features ? c->n_features : 2,
                  (long long)c->target_hidden, (long long)expected);
}

static void list_eagle(lister *l) {
    glia_head *h = l->h;
    const glia_head_config *c = &h->config;
    const int64_t hidden = c->block.hidden, target = c->target_hidden;
    const bool three = c->kind == GLIA_HEAD_EAGLE3;
    const int64_t width = three ? c->n_features * target : hidden + target;
    const bool fused = !three || c->n_features;
    if (fused) check_features(l, width);
    if (fused) matrix(l, &h->fc, "fc.weight", hidden, width);
    if (fused) vector(l, &h->fc_bias, "fc.bias", hidden, c->fc_bias == 1);
    char name[40];
    for (int i = 0; c->fc_norm && i < c->n_features; i++) {
        snprintf(name, sizeof name, "fc_norm.%d.weight", i);
        vector(l, &h->fc_norm[i], name, target, true);
    }
    if (c->norm_before_fc && fused) vector(l, &h->input_norm, "input_norm.weight", width, true);
    if (three) vector(l, &h->norm, "norm.weight", hidden, true);
    list_layers(l);
    list_ends(l);
}

static void list_dflash(lister *l) {
    glia_head *h = l->h;
    const glia_head_config *c = &h->config;
    const int64_t hidden = c->block.hidden, width = c->n_features * c->target_hidden;
    check_features(l, width);
    matrix(l, &h->fc, "fc.weight", hidden, width);
    vector(l, &h->hidden_norm, "hidden_norm.weight", hidden, true);
    vector(l, &h->norm, "norm.weight", hidden, true);
    if (c->markov_rank) {
        matrix(l, &h->markov_w1, "markov_head.markov_w1.weight", c->block.vocab, c->markov_rank);
        matrix(l, &h->markov_w2, "markov_head.markov_w2.weight", c->draft_vocab, c->markov_rank);
    }
    if (c->confidence) {
        const int64_t reads = hidden + (c->confidence_has_markov ? c->markov_rank : 0);
        const glia_tensor_view *t = tensor_of(l, "confidence_head.proj.weight", 1, reads, true);
        add_item(l, NULL, &h->confidence, &t, 1, false);
        vector(l, &h->confidence_bias, "confidence_head.proj.bias", 1, false);
    }
    list_layers(l);
    list_ends(l);
}

/* The name of a tensor of head `i` in the format that the file has. */
static const char *medusa_name(const lister *l, char name[80], int i, int layer, const char *what) {
    const glia_head_config *c = &l->h->config;
    const char *outer = glia_head_file_has(l->file, "medusa_heads.") ? "medusa_heads." : "";
    if (glia_head_file_has(l->file, "blocks.0.") || *outer) {
        if (layer < c->head_layers)
            snprintf(name, 80, "%sblocks.%d.layers.%d.%s", outer, i, layer, what);
        else
            snprintf(name, 80, "%slm_heads.%d.weight", outer, i);
        return name;
    }
    const char *nxd = glia_head_file_has(l->file, "medusa_head_0.") ? "medusa_head_" : "";
    snprintf(name, 80, layer < c->head_layers ? "%s%d.%d.linear.%s" : "%s%d.%d.%s", nxd, i, layer, what);
    return name;
}

static void list_medusa(lister *l) {
    glia_head *h = l->h;
    glia_head_config *c = &h->config;
    const int64_t hidden = c->block.hidden;
    char name[80];
    for (int i = 0; i < c->heads; i++) {
        for (int k = 0; k < c->head_layers; k++) {
            matrix(l, &h->medusa[i].linear[k], medusa_name(l, name, i, k, "weight"), hidden, hidden);
            vector(l, &h->medusa[i].bias[k], medusa_name(l, name, i, k, "bias"), hidden, false);
        }
        if (i == 0 || !c->one_lm_head)
            matrix(l, &h->medusa[i].lm_head, medusa_name(l, name, i, c->head_layers, "weight"),
                   c->draft_vocab, hidden);
    }
}

/* ---- tokens of the target ---------------------------------------------------------- */

/* Read d2t, where a number is a difference, or Medusa's token_map, where it is a token. */
static void read_map(lister *l) {
    glia_head *h = l->h;
    const int n = h->config.draft_vocab;
    const glia_tensor_view *delta = glia_head_file_find(l->file, "d2t"),
                           *whole = glia_head_file_find(l->file, "token_map");
    const glia_tensor_view *t = delta ? delta : whole;
    if (l->status) return;
    if (!t) {
        if (n != h->config.block.vocab)
            l->status =
                glia_fail(l->err, GLIA_ERR_SHAPE,
                          "%s: the draft's vocabulary has %d tokens, the target's %lld, and there is no "
                          "tensor %s that maps them",
                          l->file->dir, n, (long long)h->config.block.vocab,
                          h->config.kind == GLIA_HEAD_MEDUSA ? "token_map" : "d2t");
        return;
    }
    const size_t size = t->dtype == GLIA_TENSOR_I32 ? 4 : 8;
    if (t->n_dims != 1 || t->shape[0] != n || (t->dtype != GLIA_TENSOR_I64 && t->dtype != GLIA_TENSOR_I32)) {
        char shape[128];
        l->status = glia_fail(l->err, GLIA_ERR_SHAPE, "%s: tensor %s is %s %s, expected I64 [%d]",
                              l->file->dir, t->name, glia_tensor_dtype_name(t->dtype),
                              glia_tensor_shape(t, shape, sizeof shape), n);
        return;
    }
    h->map = malloc((size_t)n * sizeof *h->map);
    if (!h->map) l->status = glia_fail_nomem(l->err, (size_t)n * sizeof *h->map, "a draft's vocabulary");
    for (int i = 0; i < n && !l->status; i++) {
        int64_t x = 0;
        int32_t narrow = 0;
        memcpy(size == 4 ? (void *)&narrow : (void *)&x, (const char *)t->data + (size_t)i * size, size);
        if (size == 4) x = narrow;
        if (x > -(INT64_C(1) << 32) && x < INT64_C(1) << 32) x += delta ? i : 0;
        if (x < 0 || x >= h->config.block.vocab)
            l->status = glia_fail(l->err, GLIA_ERR_FORMAT,
                                  "%s: %s[%d] leads to token %lld, and the vocabulary has %lld", l->file->dir,
                                  t->name, i, (long long)x, (long long)h->config.block.vocab);
        else
            h->map[i] = (int32_t)x;
    }
}

/* ---- open ------------------------------------------------------------------------- */

static glia_weight_format format_of(glia_dtype dtype) {
    return dtype == GLIA_DTYPE_I8 ? GLIA_WEIGHT_I8 : glia_weight_format_of(dtype);
}

static glia_status list_all(glia_head *h, glia_err *err) {
    lister l = {.h = h, .file = &h->file, .prefix = "", .err = err};
    h->item = calloc(ITEMS_MAX, sizeof *h->item);
    if (!h->item) return glia_fail_nomem(err, ITEMS_MAX * sizeof *h->item, "a draft's tensors");
    if (h->config.kind == GLIA_HEAD_MEDUSA)
        list_medusa(&l);
    else if (h->config.kind == GLIA_HEAD_EAGLE || h->config.kind == GLIA_HEAD_EAGLE3)
        list_eagle(&l);
    else
        list_dflash(&l);
    read_map(&l);
    if (!l.status && h->config.kind != GLIA_HEAD_MEDUSA)
        l.status = glia_head_file_check_used(&h->file, glia_head_kind_name(h->config.kind), err);
    return l.status;
}

glia_status glia_head_open(glia_head **out, glia_head_kind kind, const char *dir,
                           const glia_model_config *target, glia_dtype dtype, glia_err *err) {
    glia_head *h = calloc(1, sizeof *h);
    *out = NULL;
    if (!h) return glia_fail_nomem(err, sizeof *h, "a draft");
    h->format = format_of(dtype);
    glia_status status = glia_head_file_open(&h->file, dir, kind == GLIA_HEAD_MEDUSA, err);
    if (!status) status = glia_head_config_read(&h->config, kind, dir, &h->file, target, err);
    if (!status) status = list_all(h, err);
    if (status)
        glia_head_free(h);
    else
        *out = h;
    return status;
}

void glia_head_free(glia_head *h) {
    if (!h) return;
    glia_plan_unmap(&h->plan);
    glia_head_file_close(&h->file);
    glia_head_config_free(&h->config);
    free(h->item);
    free(h->map);
    free(h);
}

glia_status glia_head_list_target(glia_head *h, const glia_head_file *file, const glia_model_config *t,
                                  glia_err *err) {
    lister l = {.h = h, .file = file, .prefix = "", .err = err};
    const bool tied = t->tied_head || !glia_head_file_has(file, "lm_head.weight");
    if (!h->own_embedding) matrix(&l, &h->embed, "embed_tokens.weight", t->vocab, t->hidden);
    if (!h->own_lm_head)
        matrix(&l, &h->lm_head, tied ? "embed_tokens.weight" : "lm_head.weight", t->vocab, t->hidden);
    return l.status;
}
