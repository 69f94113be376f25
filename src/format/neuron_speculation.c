/* neuron_speculation.c - see neuron_speculation.h.
 * Source: NxDI models/config.py (NeuronConfig, FusedSpecNeuronConfig) and modules/eagle/token_tree.py. */
#include "format/neuron_speculation.h"

#include <limits.h>
#include <string.h>

/* What the keys say. */
typedef struct {
    int length;       /* rows of a verification: the known token and the drafts */
    int heads, nodes; /* of Medusa; nodes: the known token and the drafts */
    bool fused, eagle, eagle3, medusa;
    json_t *token_tree, *medusa_tree; /* NULL: none */
} keys;

static json_t *member(const glia_json_reader *r, const char *key) {
    json_t *value = json_object_get(r->object, key);
    return json_is_null(value) ? NULL : value;
}

static keys read_keys(glia_json_reader *r) {
    return (keys){
        .length = (int)glia_json_int(r, "speculation_length", 0, 0, INT_MAX),
        .heads = (int)glia_json_int(r, "num_medusa_heads", 0, 0, INT_MAX),
        .nodes = (int)glia_json_int(r, "medusa_speculation_length", 0, 0, INT_MAX),
        .fused = glia_json_bool(r, "enable_fused_speculation", false),
        .eagle = glia_json_bool(r, "enable_eagle_speculation", false),
        .eagle3 = glia_json_bool(r, "is_eagle3", false),
        .medusa = glia_json_bool(r, "is_medusa", false),
        .token_tree = member(r, "token_tree_config"),
        .medusa_tree = member(r, "medusa_tree"),
    };
}

static const char *method_of(const keys *k) {
    return k->medusa               ? "medusa"
           : k->eagle3             ? "eagle3"
           : k->eagle              ? "eagle"
           : k->fused || k->length ? "draft_model"
                                   : NULL;
}

/* Keys that contradict each other. */
static void check(glia_json_reader *r, const keys *k) {
    const int paths = (int)json_array_size(k->medusa_tree);
    if (k->medusa && (k->eagle || k->eagle3))
        glia_json_fail(r, GLIA_ERR_FORMAT, "is_medusa and %s are both true: expected one kind of draft",
                       k->eagle ? "enable_eagle_speculation" : "is_eagle3");
    if (k->medusa && k->nodes && paths && k->nodes < paths + 1)
        glia_json_fail(
            r, GLIA_ERR_FORMAT,
            "medusa_speculation_length is %d, but medusa_tree has %d nodes besides the known token", k->nodes,
            paths);
    if (k->length == 1 && !k->token_tree && !k->medusa)
        glia_json_fail(r, GLIA_ERR_FORMAT,
                       "speculation_length is 1, which counts the known token: expected 0 or at least 2");
}

/* A tree, or the depth of a chain. */
static void set_shape(json_t *o, const keys *k) {
    if (k->medusa && k->medusa_tree)
        json_object_set(o, "medusa_tree", k->medusa_tree);
    else if (k->medusa && k->heads)
        json_object_set_new(o, "num_speculative_tokens", json_integer(k->heads));
    else if (!k->medusa && k->token_tree)
        json_object_set(o, "token_tree_config", k->token_tree);
    else if (!k->medusa && k->length > 1)
        json_object_set_new(o, "num_speculative_tokens", json_integer(k->length - 1));
}

json_t *glia_neuron_speculation(glia_json_reader *r, const json_t *fused) {
    const keys k = read_keys(r);
    glia_json_reader inner = *r;
    inner.object = fused;
    const char *method = method_of(&k), *model = glia_json_string(&inner, "draft_model_path");
    r->status = inner.status;
    check(r, &k);
    if (r->status || !method) return NULL;
    json_t *o = json_pack("{s:s}", "method", method);
    if (model && !k.medusa) json_object_set_new(o, "model", json_string(model));
    set_shape(o, &k);
    return o;
}

/* ---- writing ---------------------------------------------------------------- */

static const struct {
    const char *method, *key; /* `key` is true */
} methods[] = {{"draft_model", "enable_fused_speculation"},
               {"eagle", "enable_eagle_speculation"},
               {"eagle3", "is_eagle3"},
               {"medusa", "is_medusa"}};
enum { METHODS = sizeof methods / sizeof *methods };

static const char *key_of(const json_t *speculation) {
    const char *method = json_string_value(json_object_get(speculation, "method"));
    for (int i = 0; i < METHODS; i++)
        if (method && strcmp(method, methods[i].method) == 0) return methods[i].key;
    return NULL;
}

static bool is_medusa(const json_t *speculation) {
    const char *key = key_of(speculation);
    return key && strcmp(key, "is_medusa") == 0;
}

void glia_neuron_speculation_write(json_t *file, const json_t *speculation) {
    const char *key = key_of(speculation);
    const json_t *tokens = json_object_get(speculation, "num_speculative_tokens");
    const json_int_t n = json_integer_value(tokens);
    if (!key) return;
    const bool medusa = is_medusa(speculation);
    const char *tree = medusa ? "medusa_tree" : "token_tree_config", *model = medusa ? NULL : "model";
    json_object_set_new(file, key, json_true());
    if (json_object_get(speculation, tree)) json_object_set(file, tree, json_object_get(speculation, tree));
    if (tokens && medusa)
        json_object_set_new(file, "num_medusa_heads", json_integer(n));
    else if (tokens)
        json_object_set_new(file, "speculation_length", json_integer(n + 1));
    if (model && json_object_get(speculation, model))
        json_object_set_new(file, "fused_spec_config",
                            json_pack("{s:O}", "draft_model_path", json_object_get(speculation, model)));
}

const char *glia_neuron_speculation_lacks(const json_t *speculation) {
    const bool medusa = is_medusa(speculation);
    const char *const known[] = {"method", medusa ? "medusa_tree" : "token_tree_config",
                                 "num_speculative_tokens", medusa ? "method" : "model"};
    const char *key;
    json_t *value;
    if (!key_of(speculation)) return json_string_value(json_object_get(speculation, "method"));
    json_object_foreach((json_t *)(uintptr_t)speculation, key, value) {
        bool found = !value;
        for (size_t i = 0; i < sizeof known / sizeof *known; i++) found |= strcmp(key, known[i]) == 0;
        if (!found) return key;
    }
    return NULL;
}
