/* head_config.c - config.json of a draft head, and whether the head fits its target. */
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "draft/head.h"
#include "format/json.h"

enum { FILE_MAX = 16 << 20, SIZE_MAX_ANY = 1 << 24, BLOCK_MAX = 256, RANK_MAX = 1 << 16 };

/* The object with the keys of the decoder layers is `layers`: config.json itself, or a member of it. */
typedef struct {
    glia_json_reader top;
    json_t *tree, *layers;
    const char *dir;
    const glia_head_file *file;
    const glia_model_config *target;
    glia_err *err;
} reader;

const char *glia_head_kind_name(glia_head_kind kind) {
    static const char *const names[] = {"eagle", "eagle3", "medusa", "dflash", "dspark"};
    return names[kind];
}

/* ---- the decoder layers --------------------------------------------------------- */

/* Read the keys of the layers as those of the model whose blocks they are. Keys of the head alone are unknown
 * there and without effect. */
static glia_status read_block(glia_model_config *c, const reader *r) {
    const char *type = json_string_value(json_object_get(r->layers, "model_type"));
    const bool qwen3 = type && !strcmp(type, "qwen3"), qwen2 = type && !strcmp(type, "qwen2");
    json_t *copy = json_deep_copy(r->layers);
    glia_status status = copy ? GLIA_OK : glia_fail_nomem(r->err, 0, "a draft's configuration");
    if (status) return status;
    if (type && !qwen3 && !qwen2 && strcmp(type, "llama") != 0 && strcmp(type, "eagle") != 0) {
        json_decref(copy);
        return glia_fail(r->err, GLIA_ERR_UNSUPPORTED,
                         "%s: model_type is %.80s; Glia runs drafts with layers of llama, qwen2 and qwen3",
                         r->dir, type);
    }
    const char *name = qwen3 ? "Qwen3ForCausalLM" : qwen2 ? "Qwen2ForCausalLM" : "LlamaForCausalLM";
    json_object_set_new(copy, "architectures", json_pack("[s]", name));
    json_object_set_new(copy, "model_type", json_string(qwen3 ? "qwen3" : qwen2 ? "qwen2" : "llama"));
    json_object_del(copy, "is_causal"); /* this reader's own */
    json_object_del(copy, "tie_word_embeddings");
    char *text = json_dumps(copy, JSON_COMPACT);
    json_decref(copy);
    if (!text) return glia_fail_nomem(r->err, 0, "a draft's configuration");
    status = glia_model_config_parse(c, text, strlen(text), r->top.where, NULL, NULL, r->err);
    free(text);
    return status;
}

/* An array of integers in [lo, hi]; returns how many, at most `most`. */
static int read_list(glia_json_reader *r, const char *key, int *list, int most, int lo, int hi) {
    const json_t *array = glia_json_array(r, key), *item;
    size_t i;
    if (json_array_size(array) > (size_t)most)
        glia_json_fail(r, GLIA_ERR_LIMIT, "%s: expected at most %d numbers, found %zu", key, most,
                       json_array_size(array));
    if (r->status) return 0;
    json_array_foreach(array, i, item) {
        const json_int_t x = json_integer_value(item);
        char text[60];
        if (!json_is_integer(item) || x < lo || x > hi)
            glia_json_fail(r, GLIA_ERR_UNSUPPORTED, "%s[%zu]: expected a number from %d to %d, found %s", key,
                           i, lo, hi, glia_json_print(item, text, sizeof text));
        list[i] = (int)x;
    }
    return (int)json_array_size(array);
}

static int compare_int(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }

static glia_json_reader nested(reader *r, const char *key) {
    const json_t *object = glia_json_object(&r->top, key);
    return (glia_json_reader){
        .object = object, .where = r->top.where, .err = r->err, .status = r->top.status};
}

/* ---- EAGLE ---------------------------------------------------------------------- */

/* The features are the inputs of layers 2, n / 2 and n - 3, unless config.json names layers. Its own key
 * eagle_aux_hidden_state_layer_ids has inputs; the one in eagle_config and target_layer_ids have outputs. If
 * use_aux_hidden_state is false there are no features: the head reads the hidden state after the last norm.
 */
static void read_features(reader *r, glia_head_config *c) {
    const int n = r->target->layers;
    const char *const key = "eagle_aux_hidden_state_layer_ids";
    glia_json_reader eagle = nested(r, "eagle_config");
    int inputs = 1, *list = c->feature;
    enum { MOST = GLIA_RESIDUAL_LAYERS_MAX };
    if (eagle.object && !glia_json_bool(&eagle, "use_aux_hidden_state", true)) return;
    c->n_features = read_list(&r->top, key, list, MOST, 1, n);
    if (!c->n_features) {
        inputs = 0;
        c->n_features = eagle.object ? read_list(&eagle, key, list, MOST, 0, n - 1) : 0;
        if (eagle.status) r->top.status = eagle.status;
    }
    if (!c->n_features) c->n_features = read_list(&r->top, "target_layer_ids", list, MOST, 0, n - 1);
    if (!c->n_features) {
        inputs = 1;
        c->n_features = 3;
        list[0] = 2, list[1] = n / 2, list[2] = n - 3;
        if (n < 7)
            glia_json_fail(
                &r->top, GLIA_ERR_UNSUPPORTED,
                "the draft reads the inputs of layers 2, n/2 and n-3, which are three layers from 7 "
                "layers on; the target has %d",
                n);
    }
    qsort(list, (size_t)c->n_features, sizeof *list, compare_int);
    for (int i = 0; i < c->n_features; i++) {
        list[i] -= inputs;
        if (i > 0 && list[i] == list[i - 1])
            glia_json_fail(&r->top, GLIA_ERR_UNSUPPORTED, "%s names layer %d twice", key, list[i] + inputs);
    }
}

static int suggested_tokens(reader *r) {
    const json_t *methods =
                     json_object_get(json_object_get(r->tree, "speculators_config"), "proposal_methods"),
                 *n = json_object_get(json_array_get(methods, 0), "speculative_tokens");
    return json_is_integer(n) && json_integer_value(n) > 0 && json_integer_value(n) < 256
               ? (int)json_integer_value(n)
               : 0;
}

static void read_eagle3(reader *r, glia_head_config *c) {
    const bool speculators = json_object_get(r->tree, "transformer_layer_config") != NULL;
    glia_json_reader eagle = nested(r, "eagle_config");
    read_features(r, c);
    c->draft_vocab = (int)glia_json_int(&r->top, "draft_vocab_size", c->block.vocab, 1, SIZE_MAX_ANY);
    /* The class of speculators has false as default; its published files state the value. */
    c->norm_before_residual = glia_json_bool(&r->top, "norm_before_residual", false);
    c->norm_before_fc = glia_json_bool(&r->top, "norm_before_fc", false) ||
                        (eagle.object && glia_json_bool(&eagle, "norm_before_fc", false));
    c->fc_norm = glia_json_bool(&r->top, "fc_norm", false);
    c->norm_output = glia_json_bool(&r->top, "norm_output", false);
    if (c->fc_norm && c->norm_before_fc)
        glia_json_fail(&r->top, GLIA_ERR_FORMAT, "fc_norm and norm_before_fc are both true: expected one");
    if (!c->n_features && c->block.hidden != r->target->hidden)
        glia_json_fail(&r->top, GLIA_ERR_UNSUPPORTED,
                       "use_aux_hidden_state is false and hidden_size is %lld, expected the target's %lld",
                       (long long)c->block.hidden, (long long)r->target->hidden);
    if (speculators) c->tokens = suggested_tokens(r);
    const int64_t hidden = glia_json_int(&r->top, "target_hidden_size", r->target->hidden, 1, SIZE_MAX_ANY);
    if (hidden != r->target->hidden)
        glia_json_fail(&r->top, GLIA_ERR_UNSUPPORTED,
                       "target_hidden_size is %lld, and the target's hidden size is %lld", (long long)hidden,
                       (long long)r->target->hidden);
}

static void read_eagle(reader *r, glia_head_config *c) {
    const json_t *bias = json_object_get(r->layers, "bias");
    c->draft_vocab = (int)c->block.vocab;
    c->fc_bias = json_is_boolean(bias) ? json_is_true(bias) : -1;
    if (c->block.hidden != r->target->hidden)
        glia_json_fail(&r->top, GLIA_ERR_UNSUPPORTED, "hidden_size is %lld, and the target's is %lld",
                       (long long)c->block.hidden, (long long)r->target->hidden);
    if (glia_head_file_has(r->file, "midlayer.") || glia_head_file_has(r->file, "layers.0.hidden_norm."))
        glia_json_fail(&r->top, GLIA_ERR_UNSUPPORTED,
                       "the draft is a head of EAGLE-3; expected \"method\": \"eagle3\"");
}

/* ---- DFlash, DSpark ---------------------------------------------------------------- */

/* DFlash's rule for files that name no layers: layer i of k is round(1 + i (n - 4) / (k - 1)). */
static void spread_features(glia_head_config *c, int n) {
    c->n_features = c->block.layers < GLIA_RESIDUAL_LAYERS_MAX ? c->block.layers : GLIA_RESIDUAL_LAYERS_MAX;
    for (int i = 0; i < c->n_features; i++)
        c->feature[i] =
            c->n_features == 1 ? n / 2 : (int)lrint(1 + (double)i * (n - 4) / (c->n_features - 1));
}

/* is_causal wins, then dflash_config.causal; else full layers are two-way, and sliding ones are, too, if
 * sliding_window_non_causal is true. */
static void read_causal(reader *r, glia_json_reader *own, glia_head_config *c) {
    const json_t *one = json_object_get(r->tree, "is_causal"), *two = json_object_get(own->object, "causal");
    const json_t *said = json_is_boolean(one) ? one : two;
    const bool two_way = glia_json_bool(&r->top, "sliding_window_non_causal", false);
    for (int i = 0; i < c->block.layers && i < GLIA_HEAD_LAYERS_MAX; i++)
        c->causal[i] = json_is_boolean(said) ? json_is_true(said) : c->block.window[i] > 0 && !two_way;
    if (!glia_json_bool(own, "use_swa", false)) return;
    const int window = (int)glia_json_int(own, "swa_window_size", 0, 1, INT_MAX);
    if (window < 1) glia_json_fail(own, GLIA_ERR_FORMAT, "use_swa is true, but there is no swa_window_size");
    for (int i = 0; i < c->block.layers; i++) c->block.window[i] = window;
}

/* The class of speculators has the heads as default, that of DeepSpec has none. */
static void read_markov(glia_json_reader *own, glia_head_config *c, bool speculators) {
    enum { SPECULATORS_RANK = 256 };
    const char *type = glia_json_string(own, "markov_head_type");
    c->markov_rank = (int)glia_json_int(own, "markov_rank", speculators ? SPECULATORS_RANK : 0, 0, RANK_MAX);
    c->confidence = glia_json_bool(own, "enable_confidence_head", speculators);
    c->confidence_has_markov =
        c->confidence && c->markov_rank && glia_json_bool(own, "confidence_head_with_markov", speculators);
    if (c->markov_rank && type && strcmp(type, "vanilla") != 0)
        glia_json_fail(own, GLIA_ERR_UNSUPPORTED, "markov_head_type is %.60s; Glia has vanilla", type);
}

/* aux_hidden_state_layer_ids of speculators has inputs of layers, target_layer_ids has outputs. */
static void read_block_features(reader *r, glia_json_reader *own, glia_head_config *c) {
    const int n = r->target->layers;
    c->n_features =
        read_list(&r->top, "aux_hidden_state_layer_ids", c->feature, GLIA_RESIDUAL_LAYERS_MAX, 1, n);
    for (int i = 0; i < c->n_features; i++) c->feature[i]--;
    if (!c->n_features)
        c->n_features = read_list(own, "target_layer_ids", c->feature, GLIA_RESIDUAL_LAYERS_MAX, 0, n - 1);
    if (!c->n_features) spread_features(c, n);
}

/* What the parts of the file say about each other. */
static void check_block(glia_json_reader *r, const glia_head_config *c, const glia_head_file *file) {
    const int least = 1 + !c->from_anchor;
    if (c->kind == GLIA_HEAD_DFLASH && glia_head_file_has(file, "markov_head."))
        glia_json_fail(r, GLIA_ERR_UNSUPPORTED,
                       "the draft is a head of DSpark; expected \"method\": \"dspark\"");
    if (c->block_size < least)
        glia_json_fail(r, GLIA_ERR_FORMAT, "block_size: expected %d or more, found %d", least, c->block_size);
    if (c->mask_token < 0) glia_json_fail(r, GLIA_ERR_FORMAT, "there is no mask_token_id");
}

/* The keys are at the top level (DeepSpec, speculators) or in dflash_config (z-lab, SpecForge). */
static void read_dflash(reader *r, glia_head_config *c) {
    glia_json_reader own = nested(r, "dflash_config");
    if (!own.object) own = r->top;
    const bool speculators = json_object_get(r->tree, "speculators_model_type") != NULL;
    const int n = r->target->layers;
    const int of = (int)glia_json_int(&r->top, "num_target_layers", n, 1, INT_MAX);
    if (of != n)
        glia_json_fail(&r->top, GLIA_ERR_UNSUPPORTED, "num_target_layers is %d, and the target has %d layers",
                       of, n);
    if (c->block.layers > GLIA_HEAD_LAYERS_MAX)
        glia_json_fail(&r->top, GLIA_ERR_LIMIT, "num_hidden_layers is %d, limit is %d", c->block.layers,
                       GLIA_HEAD_LAYERS_MAX);
    if (r->top.status) return;
    own.status = GLIA_OK;
    c->draft_vocab = (int)glia_json_int(&r->top, "draft_vocab_size", c->block.vocab, 1, SIZE_MAX_ANY);
    c->from_anchor = glia_json_bool(&r->top, "sample_from_anchor", c->kind == GLIA_HEAD_DSPARK);
    read_block_features(r, &own, c);
    c->block_size = (int)glia_json_int(&own, "block_size",
                                       glia_json_int(&r->top, "block_size", 0, 0, BLOCK_MAX), 0, BLOCK_MAX);
    c->mask_token = (int)glia_json_int(&own, "mask_token_id", -1, 0, r->target->vocab - 1);
    read_causal(r, &own, c);
    if (c->kind == GLIA_HEAD_DSPARK) read_markov(&own, c, speculators);
    check_block(&own, c, r->file);
    if (own.status) r->top.status = own.status;
    c->tokens = c->block_size - !c->from_anchor;
}

/* ---- Medusa --------------------------------------------------------------------- */

static int count(const glia_head_file *f, const char *form, int fixed, int most) {
    char name[80];
    int n = 0;
    for (; n <= most; n++) {
        snprintf(name, sizeof name, form, fixed < 0 ? n : fixed, n);
        if (!glia_head_file_has(f, name)) break;
    }
    return n;
}

/* The tensors say how many heads there are and how many layers each has: config.json of the original format
 * is often wrong, and NxDI's file has none. */
static glia_status read_medusa(glia_head_config *c, const glia_head_file *f, const glia_model_config *target,
                               glia_err *err) {
    static const struct {
        const char *head, *layer;
    } forms[] = {{"medusa_heads.blocks.%d.", "medusa_heads.blocks.%d.layers.%d."},
                 {"blocks.%d.", "blocks.%d.layers.%d."},
                 {"medusa_head_%d.", "medusa_head_%d.%d.linear."},
                 {"%d.", "%d.%d.linear."}};
    for (size_t i = 0; i < sizeof forms / sizeof *forms && !c->heads; i++) {
        c->heads = count(f, forms[i].head, -1, GLIA_MEDUSA_HEADS_MAX);
        c->head_layers = c->heads ? count(f, forms[i].layer, 0, GLIA_MEDUSA_LAYERS_MAX) : 0;
    }
    if (!c->heads)
        return glia_fail(
            err, GLIA_ERR_FORMAT,
            "%s: expected tensors of Medusa heads (0.0.linear.weight or blocks.0.layers.0.weight), "
            "found none",
            f->dir);
    if (c->heads > GLIA_MEDUSA_HEADS_MAX || c->head_layers > GLIA_MEDUSA_LAYERS_MAX)
        return glia_fail(err, GLIA_ERR_LIMIT, "%s: more than %d Medusa heads, or more than %d layers", f->dir,
                         GLIA_MEDUSA_HEADS_MAX, GLIA_MEDUSA_LAYERS_MAX);
    c->block.hidden = target->hidden;
    c->block.vocab = target->vocab;
    c->draft_vocab = (int)target->vocab;
    c->tokens = c->heads;
    return GLIA_OK;
}

/* What config.json in vLLM's format adds; that of the original format has nothing that the tensors lack. */
static void read_medusa_keys(reader *r, glia_head_config *c) {
    const char *type = glia_json_string(&r->top, "model_type");
    if (!type || strcmp(type, "medusa") != 0) return;
    const int heads = (int)glia_json_int(&r->top, "num_heads", c->heads, 1, GLIA_MEDUSA_HEADS_MAX);
    const int64_t hidden = glia_json_int(&r->top, "hidden_size", c->block.hidden, 1, SIZE_MAX_ANY);
    const int64_t vocab = glia_json_int(&r->top, "vocab_size", c->block.vocab, 1, SIZE_MAX_ANY);
    c->draft_vocab = (int)glia_json_int(&r->top, "truncated_vocab_size", vocab, 1, SIZE_MAX_ANY);
    c->one_lm_head = glia_json_bool(&r->top, "original_lm_head", false);
    if (heads > c->heads)
        glia_json_fail(&r->top, GLIA_ERR_FORMAT, "num_heads is %d, and the tensors are of %d heads", heads,
                       c->heads);
    if (hidden != c->block.hidden)
        glia_json_fail(&r->top, GLIA_ERR_UNSUPPORTED, "hidden_size is %lld, and the target's is %lld",
                       (long long)hidden, (long long)c->block.hidden);
    if (vocab != c->block.vocab)
        glia_json_fail(&r->top, GLIA_ERR_UNSUPPORTED, "vocab_size is %lld, and the target's is %lld",
                       (long long)vocab, (long long)c->block.vocab);
}

/* ---- all kinds ------------------------------------------------------------------ */

static void check_vocab(reader *r, const glia_head_config *c) {
    if (c->block.vocab != r->target->vocab)
        glia_json_fail(
            &r->top, GLIA_ERR_UNSUPPORTED,
            "the draft's vocab_size is %lld, and the target's is %lld: the draft is of another model",
            (long long)c->block.vocab, (long long)r->target->vocab);
    if (c->draft_vocab > c->block.vocab)
        glia_json_fail(&r->top, GLIA_ERR_FORMAT, "draft_vocab_size is %d, more than vocab_size %lld",
                       c->draft_vocab, (long long)c->block.vocab);
}

static glia_status read_layers(reader *r, glia_head_config *c) {
    const json_t *inner = json_object_get(r->tree, "transformer_layer_config");
    const json_t *model = json_object_get(r->tree, "model"); /* vLLM's wrapper of EAGLE-1 */
    r->layers = json_is_object(inner)   ? (json_t *)(uintptr_t)inner
                : json_is_object(model) ? (json_t *)(uintptr_t)model
                                        : r->tree;
    const glia_status status = read_block(&c->block, r);
    if (status) return status;
    if (c->kind == GLIA_HEAD_EAGLE) read_eagle(r, c);
    if (c->kind == GLIA_HEAD_EAGLE3) read_eagle3(r, c);
    if (c->kind == GLIA_HEAD_DFLASH || c->kind == GLIA_HEAD_DSPARK) read_dflash(r, c);
    if (c->block.layers > GLIA_HEAD_LAYERS_MAX)
        glia_json_fail(&r->top, GLIA_ERR_LIMIT, "num_hidden_layers is %d, limit is %d", c->block.layers,
                       GLIA_HEAD_LAYERS_MAX);
    if (!r->top.status) check_vocab(r, c);
    return r->top.status;
}

glia_status glia_head_config_read(glia_head_config *c, glia_head_kind kind, const char *dir,
                                  const glia_head_file *file, const glia_model_config *target,
                                  glia_err *err) {
    char *path = glia_path_join(dir, "config.json");
    *c = (glia_head_config){.kind = kind, .target_hidden = target->hidden, .fc_bias = -1};
    if (!path) return glia_fail_nomem(err, strlen(dir), "a path");
    reader r = {.top = {.where = path, .err = err}, .dir = dir, .file = file, .target = target, .err = err};
    const bool medusa = kind == GLIA_HEAD_MEDUSA;
    glia_status status = medusa ? read_medusa(c, file, target, err) : GLIA_OK;
    if (!status && (!medusa || glia_name_exists(path)))
        status = glia_json_load(&r.tree, path, FILE_MAX, 0, err);
    r.top.object = r.tree;
    if (!status && !medusa) status = read_layers(&r, c);
    if (!status && medusa && r.tree) read_medusa_keys(&r, c);
    if (!status) status = r.top.status;
    json_decref(r.tree);
    free(path);
    if (status) glia_head_config_free(c);
    return status;
}

void glia_head_config_free(glia_head_config *c) {
    glia_model_config_free(&c->block);
    *c = (glia_head_config){0};
}
