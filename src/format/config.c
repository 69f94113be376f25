/* config.c - see config.h. A new Llama-like architecture needs one row of
 * `families` here; docs/EXTENDING.md lists the other files. */
#include "format/config.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "format/config_rope.h"
#include "format/json.h"

enum {
    FILE_MAX = 16 << 20,
    SIZE_MAX_ANY = 1 << 24,
    LAYERS_MAX = 4096,
    HEADS_MAX = 1 << 16,
    HEAD_DIM_MAX = 4096
};

typedef struct {
    const char *architecture, *model_type;
    /* Numbers are transformers' defaults for absent keys. */
    int vocab, hidden, ffn, layers, heads;
    int kv_heads;          /* 0: as many as heads */
    int head_dim;          /* 0: hidden / heads */
    int positions, window; /* window 0: none */
    double theta;
    bool tied;
    int bos, eos, pad;     /* -1: none */
    bool has_nope;         /* some layers have no RoPE, and windows apply to these layers; else windows
                            * apply from layer max_window_layers on */
    bool no_layer_types;   /* all layers are alike */
    const char *unread[8]; /* known keys that transformers does not read for this architecture */
} family;

static const family families[] = {
    {.architecture = "Qwen3ForCausalLM",
     .model_type = "qwen3",
     .vocab = 151936,
     .hidden = 4096,
     .ffn = 22016,
     .layers = 32,
     .heads = 32,
     .kv_heads = 32,
     .head_dim = 128,
     .positions = 32768,
     .window = 4096,
     .theta = 10000,
     .bos = -1,
     .eos = -1,
     .pad = -1,
     .unread = {"no_rope_layers", "no_rope_layer_interval", "mlp_bias"}},
    {.architecture = "SmolLM3ForCausalLM",
     .model_type = "smollm3",
     .vocab = 128256,
     .hidden = 2048,
     .ffn = 11008,
     .layers = 36,
     .heads = 16,
     .kv_heads = 4,
     .positions = 32768,
     .theta = 2000000,
     .tied = true,
     .bos = 128000,
     .eos = 128001,
     .pad = 128004,
     .has_nope = true},
    {.architecture = "Qwen2ForCausalLM",
     .model_type = "qwen2",
     .vocab = 151936,
     .hidden = 4096,
     .ffn = 22016,
     .layers = 32,
     .heads = 32,
     .kv_heads = 32,
     .positions = 32768,
     .window = 4096,
     .theta = 10000,
     .bos = -1,
     .eos = -1,
     .pad = -1,
     .unread = {"no_rope_layers", "no_rope_layer_interval", "attention_bias", "mlp_bias"}},
    {.architecture = "LlamaForCausalLM",
     .model_type = "llama",
     .vocab = 32000,
     .hidden = 4096,
     .ffn = 11008,
     .layers = 32,
     .heads = 32,
     .positions = 2048,
     .theta = 10000,
     .bos = 1,
     .eos = 2,
     .pad = -1,
     .no_layer_types = true,
     .unread = {"no_rope_layers", "no_rope_layer_interval", "use_sliding_window", "sliding_window",
                "max_window_layers", "layer_types"}},
};
enum { N_FAMILIES = sizeof families / sizeof *families };

/* NAN: this file reads the key, or the key has no effect on a logit. A number:
 * any other value would change the logits, so it is refused. */
/* clang-format off */
static const glia_json_key known_keys[] = {
    {"architectures", NAN}, {"model_type", NAN}, {"vocab_size", NAN}, {"hidden_size", NAN},
    {"intermediate_size", NAN}, {"num_hidden_layers", NAN}, {"num_attention_heads", NAN},
    {"num_key_value_heads", NAN}, {"head_dim", NAN}, {"hidden_act", NAN}, {"max_position_embeddings", NAN},
    {"rms_norm_eps", NAN}, {"tie_word_embeddings", NAN}, {"rope_theta", NAN}, {"rope_scaling", NAN},
    {"rope_parameters", NAN}, {"original_max_position_embeddings", NAN}, {"partial_rotary_factor", NAN}, {"attention_bias", NAN},
    {"use_sliding_window", NAN}, {"sliding_window", NAN}, {"max_window_layers", NAN}, {"layer_types", NAN},
    {"torch_dtype", NAN}, {"dtype", NAN}, {"bos_token_id", NAN}, {"eos_token_id", NAN}, {"pad_token_id", NAN},
    /* no effect here: training, files, other tasks, settings of transformers' runtime */
    {"transformers_version", NAN}, {"_name_or_path", NAN}, {"name_or_path", NAN}, {"_commit_hash", NAN},
    {"initializer_range", NAN}, {"attention_dropout", NAN}, {"hidden_dropout", NAN}, {"resid_pdrop", NAN},
    {"use_cache", NAN}, {"pretraining_tp", NAN}, {"gradient_checkpointing", NAN}, {"output_attentions", NAN},
    {"output_hidden_states", NAN}, {"return_dict", NAN}, {"torchscript", NAN}, {"use_bfloat16", NAN},
    {"attn_implementation", NAN}, {"_attn_implementation", NAN}, {"_attn_implementation_autoset", NAN},
    {"_flash_attn_2_enabled", NAN}, {"chunk_size_feed_forward", NAN}, {"tie_encoder_decoder", NAN},
    {"is_decoder", NAN}, {"tokenizer_class", NAN}, {"id2label", NAN}, {"label2id", NAN}, {"num_labels", NAN},
    {"problem_type", NAN}, {"finetuning_task", NAN}, {"task_specific_params", NAN}, {"sep_token_id", NAN},
    {"unsloth_fixed", NAN}, {"unsloth_version", NAN}, {"is_llama_config", NAN}, {"router_aux_loss_coef", NAN},
    {"output_router_logits", NAN}, {"prefix", NAN}, {"tf_legacy_loss", NAN}, {"decoder_start_token_id", NAN},
    {"experts_implementation", NAN}, {"tie_last_hidden_states", NAN}, {"transformers_weights", NAN},
    {"unk_token_id", NAN}, {"cls_token_id", NAN}, {"mask_token_id", NAN},
    /* how to generate; see generation.h */
    {"max_new_tokens", NAN}, {"min_new_tokens", NAN}, {"min_p", NAN}, {"bad_words_ids", NAN}, {"begin_suppress_tokens", NAN}, {"diversity_penalty", NAN}, {"do_sample", NAN},
    {"early_stopping", NAN}, {"encoder_no_repeat_ngram_size", NAN}, {"epsilon_cutoff", NAN}, {"eta_cutoff", NAN},
    {"exponential_decay_length_penalty", NAN}, {"forced_bos_token_id", NAN}, {"forced_eos_token_id", NAN},
    {"length_penalty", NAN}, {"max_length", NAN}, {"min_length", NAN}, {"no_repeat_ngram_size", NAN},
    {"num_beam_groups", NAN}, {"num_beams", NAN}, {"num_return_sequences", NAN}, {"output_scores", NAN},
    {"remove_invalid_values", NAN}, {"repetition_penalty", NAN}, {"return_dict_in_generate", NAN},
    {"suppress_tokens", NAN}, {"temperature", NAN}, {"top_k", NAN}, {"top_p", NAN}, {"typical_p", NAN},
    /* change the result */
    {"quantization_config", NAN}, {"compression_config", NAN}, {"per_layer_config", 0}, {"configuration_files", 0},
    {"attention_chunk_size", 0}, {"num_experts", 0}, {"num_local_experts", 0}, {"n_routed_experts", 0},
    {"is_encoder_decoder", 0}, {"add_cross_attention", 0}, {"cross_attention_hidden_size", 0},
    {"pruned_heads", 0}, {"use_bidirectional_attention", 0}, {"rope_interleaved", 0}, {"rope_interleave", 0}, {"use_mrope", 0},
    {"attn_logit_softcapping", 0}, {"final_logit_softcapping", 0}, {"attention_multiplier", 0},
    {"embedding_multiplier", 1}, {"residual_multiplier", 1}, {"logits_scaling", 1}, {"logit_scale", 1},
    {"mlp_bias", NAN}, {"no_rope_layers", NAN}, {"no_rope_layer_interval", NAN}, {"is_causal", NAN},
    {NULL, 0},
};
/* clang-format on */

/* All architectures as a list for messages: "A, B and C". */
static const char *supported(glia_buf *b) {
    for (int i = 0; i < N_FAMILIES; i++)
        glia_buf_printf(b, "%s%s",
                        i == 0               ? ""
                        : i + 1 < N_FAMILIES ? ", "
                                             : " and ",
                        families[i].architecture);
    return b->oom ? "" : b->data;
}

static const family *family_of(const char *name, bool is_type) {
    for (int i = 0; name && i < N_FAMILIES; i++)
        if (!strcmp(name, is_type ? families[i].model_type : families[i].architecture)) return &families[i];
    return NULL;
}

/* model_type decides, as in transformers. Without it, architectures decides. */
static const family *find_family(glia_json_reader *r) {
    const json_t *list = glia_json_array(r, "architectures");
    const char *type = glia_json_string(r, "model_type"), *name = json_string_value(json_array_get(list, 0));
    const family *found = type ? family_of(type, true) : family_of(name, false);
    glia_buf names = {0};
    if (!name && !type)
        glia_json_fail(r, GLIA_ERR_FORMAT, "neither architectures nor model_type says what the model is");
    else if (!found)
        glia_json_fail(r, GLIA_ERR_UNSUPPORTED, "%s is %.80s; Glia runs %s",
                       type ? "model_type" : "architecture", type ? type : name, supported(&names));
    else if (name && strcmp(name, found->architecture) != 0)
        glia_json_warn(r, "architectures says %.80s; the model is read as %s, because model_type is %s", name,
                       found->architecture, found->model_type);
    glia_buf_free(&names);
    return found;
}

static bool is_null(const glia_json_reader *r, const char *key) {
    return json_is_null(json_object_get(r->object, key));
}

static void read_sizes(glia_json_reader *r, glia_model_config *c, const family *f) {
    c->architecture = f->architecture;
    c->vocab = glia_json_int(r, "vocab_size", f->vocab, 1, SIZE_MAX_ANY);
    c->hidden = glia_json_int(r, "hidden_size", f->hidden, 1, SIZE_MAX_ANY);
    c->ffn = glia_json_int(r, "intermediate_size", f->ffn, 1, SIZE_MAX_ANY);
    c->layers = (int)glia_json_int(r, "num_hidden_layers", f->layers, 1, LAYERS_MAX);
    c->heads = (int)glia_json_int(r, "num_attention_heads", f->heads, 1, HEADS_MAX);
    const bool mha = f->kv_heads == 0 || is_null(r, "num_key_value_heads");
    const int kv_heads = mha ? c->heads : f->kv_heads;
    c->kv_heads = (int)glia_json_int(r, "num_key_value_heads", kv_heads, 1, HEADS_MAX);
    const int64_t quotient = c->hidden / c->heads;
    const int64_t head_dim = f->head_dim == 0 || is_null(r, "head_dim") ? quotient : f->head_dim;
    c->head_dim = glia_json_int(r, "head_dim", head_dim, 2, HEAD_DIM_MAX);
    c->max_position_embeddings = (int)glia_json_int(r, "max_position_embeddings", f->positions, 2, 1 << 30);
    c->rms_norm_eps = glia_json_real(r, "rms_norm_eps", 1e-6, 0, (double)FLT_MAX);
    c->tied_head = glia_json_bool(r, "tie_word_embeddings", f->tied);
    c->attention_bias = glia_json_bool(r, "attention_bias", false);
    c->mlp_bias = glia_json_bool(r, "mlp_bias", false);
    if (c->heads % c->kv_heads != 0)
        glia_json_fail(r, GLIA_ERR_FORMAT,
                       "num_attention_heads %d is not a multiple of num_key_value_heads %d", c->heads,
                       c->kv_heads);
    if (c->head_dim < 2 || c->head_dim > HEAD_DIM_MAX || c->head_dim % 2 != 0)
        glia_json_fail(r, GLIA_ERR_FORMAT, "head_dim: expected an even number from 2 to %d, found %d",
                       HEAD_DIM_MAX, (int)c->head_dim);
    const char *act = glia_json_string(r, "hidden_act");
    if (act && strcmp(act, "silu") != 0 && strcmp(act, "swish") != 0)
        glia_json_fail(r, GLIA_ERR_UNSUPPORTED, "hidden_act is %.60s; Glia has silu", act);
    const char *weights = glia_json_string(r, "transformers_weights");
    if (weights && strcmp(weights, "model.safetensors") != 0)
        glia_json_fail(r, GLIA_ERR_UNSUPPORTED, "transformers_weights is %.60s; Glia reads model.safetensors",
                       weights);
    if (!glia_json_bool(r, "is_causal", true))
        glia_json_fail(r, GLIA_ERR_UNSUPPORTED, "is_causal is false; Glia's attention is causal");
}

/* The dtype in which a model runs by default. Glia computes in float32 at most. */
static glia_dtype parse_dtype(glia_json_reader *r, const char *key) {
    static const struct {
        const char *name;
        glia_dtype dtype;
    } names[] = {{"float32", GLIA_DTYPE_F32}, {"float", GLIA_DTYPE_F32}, {"bfloat16", GLIA_DTYPE_BF16},
                 {"float16", GLIA_DTYPE_F16}, {"half", GLIA_DTYPE_F16},  {"float64", GLIA_DTYPE_F32},
                 {"double", GLIA_DTYPE_F32}};
    const char *s = glia_json_string(r, key);
    if (!s) return GLIA_DTYPE_AUTO;
    const char *name = strncmp(s, "torch.", 6) ? s : s + 6;
    if (!strcmp(name, "float64") || !strcmp(name, "double"))
        glia_json_warn(r, "%s is %s; Glia computes in float32", key, s);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(name, names[i].name)) return names[i].dtype;
    glia_json_fail(r, GLIA_ERR_UNSUPPORTED, "%s is %.60s; Glia reads float32, bfloat16, float16 and float64",
                   key, s);
    return GLIA_DTYPE_AUTO;
}

/* `dtype` (version 5) wins over `torch_dtype` (version 4). */
static void read_dtype(glia_json_reader *r, glia_model_config *c) {
    c->dtype = parse_dtype(r, "dtype");
    const char *v4 = glia_json_string(r, "torch_dtype"), *v5 = glia_json_string(r, "dtype");
    if (!v5)
        c->dtype = parse_dtype(r, "torch_dtype");
    else if (v4 && strcmp(v4, v5) != 0)
        glia_json_warn(r, "torch_dtype %.60s is ignored: dtype is %.60s, which wins", v4, v5);
}

static void read_ids(glia_json_reader *r, glia_model_config *c, const family *f) {
    const bool has_eos = json_object_get(r->object, "eos_token_id") != NULL;
    c->eos.n = glia_json_ids(r, "eos_token_id", c->eos.id, GLIA_TOKEN_IDS_MAX);
    if (!has_eos && f->eos >= 0) c->eos = (glia_token_ids){1, {f->eos}};
    c->bos = glia_json_id(r, "bos_token_id", f->bos);
    c->pad = glia_json_id(r, "pad_token_id", f->pad);
}

/* A 1 in `no_rope_layers` means that the layer DOES rotate. */
static void read_nope(glia_json_reader *r, glia_model_config *c, const family *f) {
    memset(c->rope, 1, (size_t)c->layers);
    if (!f->has_nope) return;
    const json_t *list = glia_json_array(r, "no_rope_layers");
    const int interval = list ? 1 : (int)glia_json_int(r, "no_rope_layer_interval", 4, INT32_MIN, INT32_MAX);
    if (interval == 0)
        glia_json_fail(r, GLIA_ERR_FORMAT, "no_rope_layer_interval: expected other than 0, found 0");
    if (list && json_array_size(list) < (size_t)c->layers)
        glia_json_fail(r, GLIA_ERR_FORMAT,
                       "no_rope_layers: expected num_hidden_layers = %d values, found %zu", c->layers,
                       json_array_size(list));
    for (int i = 0; i < c->layers && !r->status; i++) {
        const json_t *v = json_array_get(list, (size_t)i);
        char text[60];
        if (list && !json_is_integer(v) && !json_is_boolean(v))
            glia_json_fail(r, GLIA_ERR_FORMAT, "no_rope_layers[%d]: expected an integer, found %s", i,
                           glia_json_print(v, text, sizeof text));
        const bool rotates = list ? !glia_json_is_neutral(v, 0) : (i + 1) % interval != 0;
        c->rope[i] = rotates;
    }
}

/* 1 if layer_types[i] is sliding attention, 0 if full. */
static int layer_type(glia_json_reader *r, const json_t *list, int i) {
    const json_t *v = json_array_get(list, (size_t)i);
    const char *s = json_string_value(v);
    if (s && (!strcmp(s, "full_attention") || !strcmp(s, "attention"))) return 0;
    if (s && !strcmp(s, "sliding_attention")) return 1;
    char text[60];
    glia_json_fail(r, s ? GLIA_ERR_UNSUPPORTED : GLIA_ERR_FORMAT,
                   "layer_types[%d] is %s; Glia has full_attention and sliding_attention", i,
                   glia_json_print(v, text, sizeof text));
    return 0;
}

static void read_windows(glia_json_reader *r, glia_model_config *c, const family *f) {
    const bool use = glia_json_bool(r, "use_sliding_window", false);
    const json_t *types = glia_json_array(r, "layer_types");
    const int first = (int)glia_json_int(r, "max_window_layers", 28, INT32_MIN, INT32_MAX);
    const bool null = is_null(r, "sliding_window");
    const int64_t window = glia_json_int(r, "sliding_window", null ? 0 : f->window, INT32_MIN, INT32_MAX);
    const bool none = null || (f->window == 0 && !json_object_get(r->object, "sliding_window"));
    if (types && json_array_size(types) != (size_t)c->layers)
        glia_json_fail(r, GLIA_ERR_FORMAT, "layer_types: expected num_hidden_layers = %d values, found %zu",
                       c->layers, json_array_size(types));
    bool any = false;
    for (int i = 0; i < c->layers && !r->status; i++) {
        const bool late = f->has_nope ? !c->rope[i] : i >= first;
        const bool slides = types ? layer_type(r, types, i) : use && !none && late;
        if (slides && none)
            glia_json_fail(r, GLIA_ERR_FORMAT,
                           "layer_types[%d] is sliding_attention, but there is no "
                           "sliding_window",
                           i);
        if (slides && !use && !f->has_nope)
            glia_json_fail(r, GLIA_ERR_FORMAT,
                           "layer_types[%d] is sliding_attention, but use_sliding_window "
                           "is false",
                           i);
        if (slides && window < 1)
            glia_json_fail(r, GLIA_ERR_FORMAT, "sliding_window: expected 1 or more, found %d", (int)window);
        c->window[i] = slides ? (int)window : 0;
        any |= slides;
    }
    /* For SmolLM3, transformers builds its masks from layer_types alone. */
    if (any && !use)
        glia_json_warn(
            r, "layer_types has sliding_attention, which counts although use_sliding_window is false");
}

/* Delete the keys of f->unread from `tree`, the object that `r` reads, so that
 * they count as absent. Warn if the value of such a key is not neutral. */
static void drop_unread(const glia_json_reader *r, json_t *tree, const family *f) {
    for (const char *const *key = f->unread; *key; key++) {
        const json_t *value = json_object_get(tree, *key);
        if (!value) continue;
        if (!glia_json_is_neutral(value, NAN))
            glia_json_warn(r, "%s is ignored by %s", *key, f->architecture);
        json_object_del(tree, *key);
    }
}

static void read_config(glia_json_reader *r, json_t *tree, glia_model_config *c) {
    const family *f = find_family(r);
    if (r->status) return;
    drop_unread(r, tree, f);
    glia_json_check_keys(r, known_keys);
    read_sizes(r, c, f);
    read_dtype(r, c);
    read_ids(r, c, f);
    glia_quantization_read(
        r, json_object_get(tree, "quantization_config") ? "quantization_config" : "compression_config",
        &c->quantization);
    if (r->status) return;
    c->rope = malloc((size_t)c->layers);
    c->window = calloc((size_t)c->layers, sizeof *c->window);
    if (!c->rope || !c->window) {
        r->status = glia_fail_nomem(r->err, (size_t)c->layers * 5, "the model's layers");
        return;
    }
    read_nope(r, c, f);
    read_windows(r, c, f);
    glia_rope_config_read(r, c, f->theta, !f->no_layer_types);
}

static glia_status from_tree(glia_model_config *c, json_t *tree, const char *where, glia_warning_fn *warning,
                             void *user, glia_err *err) {
    glia_json_reader r = {.object = tree, .where = where, .err = err, .warning = warning, .user = user};
    read_config(&r, tree, c);
    json_decref(tree);
    if (r.status) glia_model_config_free(c);
    return r.status;
}

glia_status glia_model_config_parse(glia_model_config *c, const char *text, size_t len, const char *where,
                                    glia_warning_fn *warning, void *user, glia_err *err) {
    json_t *tree;
    memset(c, 0, sizeof *c);
    const glia_status status = glia_json_parse(&tree, text, len, 0, where, err);
    return status ? status : from_tree(c, tree, where, warning, user, err);
}

glia_status glia_model_config_load(glia_model_config *c, const char *dir, glia_warning_fn *warning,
                                   void *user, glia_err *err) {
    json_t *tree;
    memset(c, 0, sizeof *c);
    char *path = glia_path_join(dir, "config.json");
    if (!path) return glia_fail_nomem(err, strlen(dir) + 16, "a path");
    glia_status status = glia_json_load(&tree, path, FILE_MAX, 0, err);
    if (!status) status = from_tree(c, tree, path, warning, user, err);
    free(path);
    return status;
}

void glia_model_config_free(glia_model_config *c) {
    free(c->rope);
    free(c->window);
    glia_rope_config_free(&c->rope_config);
    glia_quantization_free(&c->quantization);
    memset(c, 0, sizeof *c);
}
