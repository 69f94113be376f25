/* check_head_config.c - what config.json of a draft head says, in each format that trainers publish: the
 * layers that the head reads, its block, its norms; and files that contradict themselves. Without tensors. */
#include "check.h"

#include <string.h>

#include "draft/head.h"

static const char target_text[] =
    "{\"model_type\":\"qwen3\",\"hidden_size\":64,\"vocab_size\":512,\"num_hidden_layers\":8,"
    "\"intermediate_size\":128,\"num_attention_heads\":4,\"num_key_value_heads\":2,\"head_dim\":32}";

#define LAYER                                                                                                \
    "\"model_type\":\"qwen3\",\"hidden_size\":64,\"vocab_size\":512,\"num_hidden_layers\":2,"                \
    "\"intermediate_size\":128,\"num_attention_heads\":4,\"num_key_value_heads\":2,\"head_dim\":32"
#define SLIDING                                                                                              \
    ",\"use_sliding_window\":true,\"sliding_window\":4,"                                                     \
    "\"layer_types\":[\"sliding_attention\",\"full_attention\"]"
#define SPECULATORS(name, members)                                                                           \
    "{\"speculators_model_type\":\"" name "\",\"transformer_layer_config\":{" LAYER SLIDING "}," members "}"
#define ZLAB(members) "{" LAYER ",\"block_size\":7,\"dflash_config\":{\"mask_token_id\":9," members "}}"

enum { FLASH = GLIA_HEAD_DFLASH, SPARK = GLIA_HEAD_DSPARK, THREE = GLIA_HEAD_EAGLE3 };

/* What a configuration means. */
static const struct {
    int kind;
    const char *text;
    int n_features, feature[4]; /* outputs of these layers */
    int tokens, markov_rank;
    bool from_anchor, causal[2];
} meanings[] = {
    {FLASH, ZLAB("\"target_layer_ids\":[1,3,5]"), 3, {1, 3, 5}, 6, 0, false, {false, false}},
    {FLASH, ZLAB("\"causal\":true,\"target_layer_ids\":[0,7]"), 2, {0, 7}, 6, 0, false, {true, true}},
    {FLASH, ZLAB("\"causal\":null"), 2, {1, 5}, 6, 0, false, {false, false}},
    {FLASH,
     SPECULATORS("dflash", "\"block_size\":8,\"mask_token_id\":9,\"aux_hidden_state_layer_ids\":[2,4,8]"),
     3,
     {1, 3, 7},
     7,
     0,
     false,
     {true, false}},
    {FLASH,
     SPECULATORS("dflash", "\"block_size\":8,\"mask_token_id\":9,\"aux_hidden_state_layer_ids\":[1],"
                           "\"sample_from_anchor\":true,\"sliding_window_non_causal\":true"),
     1,
     {0},
     8,
     0,
     true,
     {false, false}},
    {SPARK,
     SPECULATORS("dspark", "\"block_size\":8,\"mask_token_id\":9,\"aux_hidden_state_layer_ids\":[2]"),
     1,
     {1},
     8,
     256,
     true,
     {true, false}},
    {SPARK,
     SPECULATORS("dspark", "\"block_size\":8,\"mask_token_id\":9,\"aux_hidden_state_layer_ids\":[2],"
                           "\"sample_from_anchor\":false,\"markov_rank\":4"),
     1,
     {1},
     7,
     4,
     false,
     {true, false}},
    {SPARK,
     "{" LAYER ",\"block_size\":7,\"mask_token_id\":9,\"target_layer_ids\":[3]}",
     1,
     {3},
     7,
     0,
     true,
     {false, false}},
    {THREE, "{" LAYER "}", 3, {1, 3, 4}, 0, 0, false, {false, false}},
    {THREE, "{" LAYER ",\"eagle_aux_hidden_state_layer_ids\":[8,1]}", 2, {0, 7}, 0, 0, false, {false, false}},
    {THREE,
     "{" LAYER ",\"eagle_config\":{\"eagle_aux_hidden_state_layer_ids\":[0,7]}}",
     2,
     {0, 7},
     0,
     0,
     false,
     {false, false}},
    {THREE, "{" LAYER ",\"target_layer_ids\":[2]}", 1, {2}, 0, 0, false, {false, false}},
    {THREE,
     "{" LAYER ",\"eagle_config\":{\"use_aux_hidden_state\":false}}",
     0,
     {0},
     0,
     0,
     false,
     {false, false}},
};

static const struct {
    int kind;
    const char *text, *words;
} refused[] = {
    {FLASH, SPECULATORS("dflash", "\"block_size\":8,\"mask_token_id\":9,\"aux_hidden_state_layer_ids\":[0]"),
     "aux_hidden_state_layer_ids[0]: expected a number from 1 to 8, found 0"},
    {FLASH, SPECULATORS("dflash", "\"block_size\":1,\"mask_token_id\":9"),
     "block_size: expected 2 or more, found 1"},
    {FLASH, SPECULATORS("dflash", "\"block_size\":8,\"mask_token_id\":9,\"sample_from_anchor\":1"),
     "sample_from_anchor: expected true or false"},
    {SPARK, SPECULATORS("dspark", "\"block_size\":0,\"mask_token_id\":9"),
     "block_size: expected 1 or more, found 0"},
    {SPARK, SPECULATORS("dspark", "\"block_size\":8"), "there is no mask_token_id"},
    {THREE, "{" LAYER ",\"fc_norm\":true,\"norm_before_fc\":true}",
     "fc_norm and norm_before_fc are both true"},
    {THREE, "{" LAYER ",\"eagle_config\":{\"use_aux_hidden_state\":3}}",
     "use_aux_hidden_state: expected true or false"},
};

static glia_status read(glia_head_config *c, int kind, const char *text, glia_err *err) {
    const char *dir = check_temp_dir();
    glia_model_config target;
    glia_head_file none = {0};
    assert_int_equal(
        glia_model_config_parse(&target, target_text, strlen(target_text), "target", NULL, NULL, err), 0);
    check_write_file(dir, "config.json", text, strlen(text));
    const glia_status status = glia_head_config_read(c, (glia_head_kind)kind, dir, &none, &target, err);
    glia_model_config_free(&target);
    return status;
}

static void test_meanings(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof meanings / sizeof *meanings; i++) {
        glia_head_config c;
        glia_err err = {0};
        const glia_status status = read(&c, meanings[i].kind, meanings[i].text, &err);
        CHECK(!status, "row %zu: %s", i, err.msg);
        if (status) continue;
        CHECK(c.n_features == meanings[i].n_features, "row %zu: %d features", i, c.n_features);
        for (int k = 0; k < c.n_features; k++)
            CHECK(c.feature[k] == meanings[i].feature[k], "row %zu: feature %d is layer %d", i, k,
                  c.feature[k]);
        CHECK(c.tokens == meanings[i].tokens && c.from_anchor == meanings[i].from_anchor,
              "row %zu: %d tokens", i, c.tokens);
        CHECK(c.markov_rank == meanings[i].markov_rank, "row %zu: rank %d", i, c.markov_rank);
        CHECK(c.causal[0] == meanings[i].causal[0] && c.causal[1] == meanings[i].causal[1],
              "row %zu: causal %d %d", i, c.causal[0], c.causal[1]);
        glia_head_config_free(&c);
    }
}

static void test_refused(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        glia_head_config c;
        glia_err err = {0};
        CHECK(read(&c, refused[i].kind, refused[i].text, &err), "row %zu is accepted", i);
        CHECK(strstr(err.msg, refused[i].words), "row %zu said: %s\nwanted: %s", i, err.msg,
              refused[i].words);
    }
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_meanings), cmocka_unit_test(test_refused)};
    check_begin(argc, argv);
    return check_run_group("head_config", tests);
}
