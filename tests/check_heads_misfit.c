/* check_heads_misfit.c - a draft head that does not fit its target, or is broken, is one clear sentence.
 *
 * Each row changes one thing of a head of ../shared/data/drafts (a key of config.json, or the name or the
 * number of a tensor's bytes) and says what the message must hold. */
#define _GNU_SOURCE
#include "check.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "draft/head.h"

#define DATA "../shared/data/drafts/"

typedef struct {
    glia_head_kind kind;
    const char *dir, *target;
    const char *inner, *key,
        *value;         /* member of config.json or NULL, its key, and its new value as JSON; "" drops it */
    const char *say[3]; /* parts of the message */
} misfit;

static const misfit misfits[] = {
    {GLIA_HEAD_EAGLE3, "eagle3-a", "llama", NULL, NULL, NULL, {NULL}},
    {GLIA_HEAD_EAGLE3, "eagle3-a", "qwen3", NULL, "vocab_size", "600", {"600", "512"}},
    {GLIA_HEAD_EAGLE3,
     "eagle3-a",
     "qwen3",
     NULL,
     "draft_vocab_size",
     "200",
     {"lm_head.weight", "[192, 64]", "[200, 64]"}},
    {GLIA_HEAD_EAGLE3, "eagle3-a", "qwen3", NULL, "target_hidden_size", "72", {"72", "64"}},
    {GLIA_HEAD_EAGLE3,
     "eagle3-a",
     "qwen3",
     NULL,
     "hidden_size",
     "72",
     {"fc.weight", "[64, 192]", "[72, 192]"}},
    {GLIA_HEAD_EAGLE3,
     "eagle3-a",
     "qwen3",
     NULL,
     "num_attention_heads",
     "4",
     {"q_proj.weight", "[64, 128]", "[128, 128]"}},
    {GLIA_HEAD_EAGLE3, "eagle3-a", "qwen3", NULL, "num_hidden_layers", "2", {"layers.1.", "missing"}},
    {GLIA_HEAD_EAGLE3, "eagle3-a", "qwen3", NULL, "model_type", "\"mixtral\"", {"mixtral", "llama"}},
    {GLIA_HEAD_EAGLE3, "eagle3-a", "qwen3", NULL, "fc_norm", "true", {"fc_norm.0.weight", "missing"}},
    {GLIA_HEAD_EAGLE3, "eagle3-a", "qwen3", NULL, "norm_before_fc", "true", {"input_norm.weight", "missing"}},
    {GLIA_HEAD_EAGLE3, "eagle3-a", "qwen3", NULL, "norm_before_residual", "3", {"norm_before_residual"}},
    {GLIA_HEAD_EAGLE3,
     "eagle3-a",
     "qwen3",
     NULL,
     "eagle_config",
     "{\"eagle_aux_hidden_state_layer_ids\":[1,3,8]}",
     {"eagle_aux_hidden_state_layer_ids[2]", "7", "8"}},
    {GLIA_HEAD_EAGLE3,
     "eagle3-b-trained",
     "qwen3-trained",
     NULL,
     "eagle_aux_hidden_state_layer_ids",
     "[2,4]",
     {"fc.weight", "192", "128"}},
    {GLIA_HEAD_EAGLE3,
     "eagle3-b-trained",
     "qwen3-trained",
     NULL,
     "eagle_aux_hidden_state_layer_ids",
     "[2,4,4]",
     {"layer 4 twice"}},
    {GLIA_HEAD_EAGLE3, "eagle3-b", "qwen3", "transformer_layer_config", "vocab_size", "500", {"500", "512"}},
    {GLIA_HEAD_EAGLE, "eagle3-a", "qwen3", NULL, NULL, NULL, {"EAGLE-3", "\"method\": \"eagle3\""}},
    {GLIA_HEAD_EAGLE3, "eagle1", "qwen3", NULL, NULL, NULL, {"fc.weight", "128", "192"}},
    {GLIA_HEAD_EAGLE, "eagle1", "qwen3", NULL, "hidden_size", "72", {"72", "64"}},
    {GLIA_HEAD_EAGLE, "eagle1", "qwen3", NULL, "bias", "true", {"fc.bias", "missing"}},
    {GLIA_HEAD_MEDUSA, "medusa-vllm", "qwen3-trained", NULL, "hidden_size", "72", {"72", "64"}},
    {GLIA_HEAD_MEDUSA, "medusa-vllm", "qwen3-trained", NULL, "vocab_size", "600", {"600", "512"}},
    {GLIA_HEAD_MEDUSA, "medusa-vllm", "qwen3-trained", NULL, "num_heads", "7", {"7", "5 heads"}},
    {GLIA_HEAD_MEDUSA,
     "medusa-vllm-map",
     "qwen3-trained",
     NULL,
     "original_lm_head",
     "false",
     {"lm_heads.1.weight", "missing"}},
    {GLIA_HEAD_MEDUSA,
     "medusa-vllm-map",
     "qwen3-trained",
     NULL,
     "truncated_vocab_size",
     "512",
     {"lm_heads.0.weight", "[192, 64]", "[512, 64]"}},
    {GLIA_HEAD_MEDUSA, "eagle1", "qwen3", NULL, NULL, NULL, {"Medusa", "0.0.linear.weight"}},
    {GLIA_HEAD_DFLASH, "dflash", "qwen3", NULL, "num_target_layers", "9", {"9", "8 layers"}},
    {GLIA_HEAD_DFLASH, "dflash", "qwen3", NULL, "block_size", "1", {"block_size", "2"}},
    {GLIA_HEAD_DFLASH, "dflash", "qwen3", "dflash_config", "mask_token_id", "512", {"mask_token_id", "511"}},
    {GLIA_HEAD_DFLASH, "dflash", "qwen3", "dflash_config", "mask_token_id", "", {"mask_token_id"}},
    {GLIA_HEAD_DFLASH,
     "dflash",
     "qwen3",
     "dflash_config",
     "target_layer_ids",
     "[1,3,9]",
     {"target_layer_ids[2]", "7", "9"}},
    {GLIA_HEAD_DFLASH, "dspark", "qwen3", NULL, NULL, NULL, {"DSpark", "\"method\": \"dspark\""}},
    {GLIA_HEAD_DSPARK, "dspark", "qwen3", NULL, "markov_head_type", "\"rnn\"", {"rnn", "vanilla"}},
    {GLIA_HEAD_DSPARK,
     "dspark",
     "qwen3",
     NULL,
     "enable_confidence_head",
     "false",
     {"confidence_head.proj", "dspark"}},
    {GLIA_HEAD_DSPARK,
     "dflash",
     "qwen3",
     "dflash_config",
     "enable_confidence_head",
     "true",
     {"confidence_head", "missing"}},
};

/* A copy of the head's directory with links to its tensors and a changed config.json. */
static const char *change(const misfit *m) {
    static const char *const files[] = {"model.safetensors", "medusa_lm_head.safetensors"};
    const char *dir = check_temp_dir();
    char from[300], to[300], here[200];
    snprintf(from, sizeof from, DATA "%s/config.json", m->dir);
    json_t *config = json_load_file(from, 0, NULL),
           *inner = m->inner ? json_object_get(config, m->inner) : config;
    assert_non_null(inner);
    if (m->key && *m->value)
        json_object_set_new(inner, m->key, json_loads(m->value, JSON_DECODE_ANY, NULL));
    else if (m->key)
        json_object_del(inner, m->key);
    char *text = json_dumps(config, 0);
    check_write_file(dir, "config.json", text, strlen(text));
    free(text);
    json_decref(config);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(from, sizeof from, "%s/" DATA "%s/%s", getcwd(here, sizeof here), m->dir, files[i]);
        snprintf(to, sizeof to, "%s/%s", dir, files[i]);
        unlink(to);
        if (glia_name_exists(from)) assert_int_equal(symlink(from, to), 0);
    }
    return dir;
}

static void test_misfits(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof misfits / sizeof *misfits; i++) {
        const misfit *m = &misfits[i];
        glia_model_config target;
        glia_head *h = NULL;
        glia_err err = {0};
        char dir[200];
        snprintf(dir, sizeof dir, DATA "targets/%s", m->target);
        if (glia_model_config_load(&target, dir, NULL, NULL, &err)) fail_msg("%s", err.msg);
        const glia_status status = glia_head_open(&h, m->kind, change(m), &target, GLIA_DTYPE_F32, &err);
        CHECK(!m->say[0] == !status, "row %zu, %s: status %d, %s", i, m->dir, (int)status, err.msg);
        for (int k = 0; k < 3 && m->say[k]; k++)
            CHECK(strstr(err.msg, m->say[k]), "row %zu, %s: \"%s\" lacks \"%s\"", i, m->dir, err.msg,
                  m->say[k]);
        CHECK(!strchr(err.msg, '\n') && strlen(err.msg) < sizeof err.msg - 1, "row %zu: %s", i, err.msg);
        glia_head_free(h);
        glia_model_config_free(&target);
    }
}

/* Default features of EAGLE-3 need three different layers. */
static void test_few_layers(void **state) {
    (void)state;
    static const char text[] =
        "{\"model_type\":\"qwen3\",\"hidden_size\":64,\"vocab_size\":512,\"num_hidden_layers\":6,"
        "\"intermediate_size\":128,\"num_attention_heads\":4,\"num_key_value_heads\":2}";
    glia_model_config target;
    glia_head *h;
    glia_err err = {0};
    assert_int_equal(glia_model_config_parse(&target, text, strlen(text), "target", NULL, NULL, &err),
                     GLIA_OK);
    assert_int_equal(glia_head_open(&h, GLIA_HEAD_EAGLE3, DATA "eagle3-a", &target, GLIA_DTYPE_F32, &err),
                     GLIA_ERR_UNSUPPORTED);
    CHECK(strstr(err.msg, "the target has 6"), "%s", err.msg);
    glia_model_config_free(&target);
}

/* The state dict of torch.save() and the safetensors file hold the same head. */
static void test_torch_file(void **state) {
    (void)state;
    glia_torch_file torch;
    glia_safetensors st;
    glia_err err = {0};
    if (glia_torch_file_open(&torch, DATA "eagle3-a/pytorch_model.bin", &err)) fail_msg("%s", err.msg);
    if (glia_safetensors_open(&st, DATA "eagle3-a/model.safetensors", &err)) fail_msg("%s", err.msg);
    assert_int_equal(torch.n, st.n);
    for (size_t i = 0; i < torch.n; i++) {
        const glia_tensor_view *x = &torch.tensor[i], *y = NULL;
        for (size_t k = 0; k < st.n; k++)
            if (!strcmp(st.tensor[k].name, x->name)) y = &st.tensor[k];
        assert_non_null(y);
        CHECK(x->dtype == y->dtype && x->n_dims == y->n_dims && x->bytes == y->bytes &&
                  !memcmp(x->shape, y->shape, sizeof x->shape) && !memcmp(x->data, y->data, x->bytes),
              "tensor %s differs", x->name);
    }
    glia_torch_file_close(&torch);
    glia_safetensors_close(&st);
}

/* Every cut of a file of torch.save() is refused. */
static void test_cut_torch_file(void **state) {
    (void)state;
    size_t len;
    char *bytes = check_read_file(DATA "medusa-orig/medusa_lm_head.pt", &len);
    for (size_t n = 0; n < len; n += n < 2000 ? 1 : 997) {
        glia_torch_file f;
        glia_err err = {0};
        CHECK(glia_torch_file_parse(&f, bytes, n, "cut", &err) == GLIA_ERR_FORMAT && *err.msg,
              "%zu of %zu bytes", n, len);
    }
    free(bytes);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_misfits),
        cmocka_unit_test(test_few_layers),
        cmocka_unit_test(test_torch_file),
        cmocka_unit_test(test_cut_torch_file),
    };
    check_begin(argc, argv);
    if (!glia_dir_exists(DATA)) {
        puts("SKIPPED: " DATA " is not here");
        return 0;
    }
    return check_run_group("heads_misfit", tests);
}
