/* spec.c - see spec.h; here is the table of the weights that all models share. */
#include "model/spec.h"

#include <stdio.h>
#include <string.h>

#define LAYER "model.layers.%d."

/* clang-format off */
static const glia_weight_spec llama_weights[] = {
    {W_EMBED,      "model.embed_tokens.weight",             D_VOCAB,  D_HIDDEN, CUT_ROWS,    ALWAYS},
    {W_FINAL_NORM, "model.norm.weight",                     D_HIDDEN, D_1,      CUT_NONE,    ALWAYS},
    {W_HEAD,       "lm_head.weight",                        D_VOCAB,  D_HIDDEN, CUT_ROWS,    IF_UNTIED},
    {W_IN_NORM,    LAYER "input_layernorm.weight",          D_HIDDEN, D_1,      CUT_NONE,    ALWAYS},
    {W_Q,          LAYER "self_attn.q_proj.weight",         D_Q,      D_HIDDEN, CUT_ROWS,    ALWAYS},
    {W_K,          LAYER "self_attn.k_proj.weight",         D_KV,     D_HIDDEN, CUT_KV_ROWS, ALWAYS},
    {W_V,          LAYER "self_attn.v_proj.weight",         D_KV,     D_HIDDEN, CUT_KV_ROWS, ALWAYS},
    {W_O,          LAYER "self_attn.o_proj.weight",         D_HIDDEN, D_Q,      CUT_COLS,    ALWAYS},
    {W_POST_NORM,  LAYER "post_attention_layernorm.weight", D_HIDDEN, D_1,      CUT_NONE,    ALWAYS},
    {W_GATE,       LAYER "mlp.gate_proj.weight",            D_FFN,    D_HIDDEN, CUT_ROWS,    ALWAYS},
    {W_UP,         LAYER "mlp.up_proj.weight",              D_FFN,    D_HIDDEN, CUT_ROWS,    ALWAYS},
    {W_DOWN,       LAYER "mlp.down_proj.weight",            D_HIDDEN, D_FFN,    CUT_COLS,    ALWAYS},
    {W_Q_BIAS,     LAYER "self_attn.q_proj.bias",           D_Q,      D_1,      CUT_ROWS,    IF_ATTENTION_BIAS},
    {W_K_BIAS,     LAYER "self_attn.k_proj.bias",           D_KV,     D_1,      CUT_KV_ROWS, IF_ATTENTION_BIAS},
    {W_V_BIAS,     LAYER "self_attn.v_proj.bias",           D_KV,     D_1,      CUT_KV_ROWS, IF_ATTENTION_BIAS},
    {W_O_BIAS,     LAYER "self_attn.o_proj.bias",           D_HIDDEN, D_1,      CUT_NONE,    IF_ATTENTION_BIAS},
    {W_GATE_BIAS,  LAYER "mlp.gate_proj.bias",              D_FFN,    D_1,      CUT_ROWS,    IF_MLP_BIAS},
    {W_UP_BIAS,    LAYER "mlp.up_proj.bias",                D_FFN,    D_1,      CUT_ROWS,    IF_MLP_BIAS},
    {W_DOWN_BIAS,  LAYER "mlp.down_proj.bias",              D_HIDDEN, D_1,      CUT_NONE,    IF_MLP_BIAS},
};
/* clang-format on */
enum { N_LLAMA = sizeof llama_weights / sizeof *llama_weights };

const glia_weight_spec glia_output_head = {W_HEAD, "lm_head.weight", D_VOCAB, D_HIDDEN, CUT_ROWS, ALWAYS};

const char *glia_cut_name(glia_cut cut) {
    static const char *const names[] = {"none", "rows", "cols", "kv_rows"};
    return names[cut];
}

const glia_model_spec *glia_spec_find(const char *architecture) {
    static const glia_model_spec *const specs[] = {&glia_spec_qwen3, &glia_spec_smollm3, &glia_spec_qwen2,
                                                   &glia_spec_llama};
    for (size_t i = 0; i < sizeof specs / sizeof *specs; i++)
        if (strcmp(specs[i]->architecture, architecture) == 0) return specs[i];
    return NULL;
}

int64_t glia_dim_of(const glia_model_config *c, glia_dim d) {
    switch (d) {
    case D_1: return 1;
    case D_HIDDEN: return c->hidden;
    case D_FFN: return c->ffn;
    case D_VOCAB: return c->vocab;
    case D_HEAD: return c->head_dim;
    case D_Q: return c->heads * c->head_dim;
    case D_KV: return c->kv_heads * c->head_dim;
    }
    return 0;
}

static bool present(const glia_weight_spec *w, const glia_model_config *c) {
    switch (w->when) {
    case ALWAYS: return true;
    case IF_UNTIED: return !c->tied_head;
    case IF_ATTENTION_BIAS: return c->attention_bias;
    case IF_MLP_BIAS: return c->mlp_bias;
    }
    return false;
}

static const glia_weight_spec *row_of(const glia_model_spec *s, size_t r) {
    return r < N_LLAMA ? &llama_weights[r] : &s->weight[r - N_LLAMA];
}

/* The i-th present row of the weights of a layer, or of those of the model; NULL past the last. *n: the
 * number of such rows. */
static const glia_weight_spec *nth(const glia_model_spec *s, const glia_model_config *c, bool of_layer,
                                   size_t i, size_t *n) {
    const glia_weight_spec *found = NULL;
    *n = 0;
    for (size_t r = 0; r < N_LLAMA + s->n_weights; r++) {
        const glia_weight_spec *w = row_of(s, r);
        if (glia_is_of_layer(w->id) != of_layer || !present(w, c)) continue;
        if ((*n)++ == i) found = w;
    }
    return found;
}

bool glia_spec_weight(glia_weight *w, const glia_model_spec *s, const glia_model_config *c, size_t i) {
    size_t of_model, of_layer;
    w->layer = 0;
    w->spec = nth(s, c, false, i, &of_model);
    if (!w->spec) {
        nth(s, c, true, 0, &of_layer);
        const size_t k = i - of_model;
        if (k / of_layer >= (size_t)c->layers) return false;
        w->layer = (int)(k / of_layer);
        w->spec = nth(s, c, true, k % of_layer, &of_layer);
    }
    w->rows = glia_dim_of(c, w->spec->rows);
    w->cols = glia_dim_of(c, w->spec->cols);
    const char *mark = strstr(w->spec->name, "%d");
    if (mark)
        snprintf(w->name, sizeof w->name, "%.*s%d%s", (int)(mark - w->spec->name), w->spec->name, w->layer,
                 mark + 2);
    else
        snprintf(w->name, sizeof w->name, "%s", w->spec->name);
    return true;
}

const glia_weight_spec *glia_spec_row(const glia_model_spec *s, const glia_model_config *c,
                                      glia_weight_id id) {
    for (size_t r = 0; r < N_LLAMA + s->n_weights; r++)
        if (row_of(s, r)->id == id && present(row_of(s, r), c)) return row_of(s, r);
    return NULL;
}

glia_cut glia_spec_cut(const glia_weight_spec *w, const glia_parallel *p) {
    return w->id == W_EMBED && !p->vocab_parallel ? CUT_COLS : w->cut;
}

static glia_shard shard_of(glia_dim d, bool is_cut, const glia_model_config *c, const glia_parallel *p,
                           const glia_head_cut *cut) {
    return (glia_shard){
        .kind = !is_cut     ? GLIA_SHARD_ALL
                : d == D_Q  ? GLIA_SHARD_Q
                : d == D_KV ? GLIA_SHARD_KV
                            : GLIA_SHARD_EVEN,
        .n = (size_t)glia_dim_of(c, d),
        .heads = cut,
        .head_dim = (int)c->head_dim,
        .ranks = p->tp,
        .rank = p->rank,
    };
}

void glia_spec_shards(glia_shard *rows, glia_shard *cols, const glia_weight_spec *w,
                      const glia_model_config *c, const glia_parallel *p, const glia_head_cut *cut) {
    const glia_cut how = glia_spec_cut(w, p);
    *rows = shard_of(w->rows, how == CUT_ROWS || how == CUT_KV_ROWS, c, p, cut);
    *cols = shard_of(w->cols, how == CUT_COLS, c, p, cut);
}

int64_t glia_spec_parameters(const glia_model_spec *s, const glia_model_config *c) {
    int64_t total = 0;
    glia_weight w;
    for (size_t i = 0; glia_spec_weight(&w, s, c, i); i++) total += w.rows * w.cols;
    return total;
}
