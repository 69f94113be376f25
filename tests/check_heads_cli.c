/* check_heads_cli.c - draft heads through `glia generate`: the trace of proposals and accepted paths against
 * the published code, and the demo models' own heads, with which every answer stays what it is without. */
#define _GNU_SOURCE
#include "cli.h"

#include <math.h>

#include "base/file.h"

#define DATA "../shared/data/drafts/"
enum { EMIT = 64 };

static json_t *read_json(const char *path) {
    json_error_t e;
    json_t *j = json_load_file(path, 0, &e);
    if (!j) fail_msg("%s: %s", path, e.text);
    return j;
}

/* One object a line. */
static json_t *read_lines(const char *path) {
    size_t len;
    char *text = check_read_file(path, &len);
    json_t *list = json_array();
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
        json_array_append_new(list, json_loads(line, 0, NULL));
    free(text);
    return list;
}

static int integer(const json_t *list, size_t i) { return (int)json_integer_value(json_array_get(list, i)); }

/* ---- published heads --------------------------------------------------------------- */

typedef struct {
    const char *dir, *method, *more; /* more: members of the configuration behind "model" */
    const char *tree;                /* a member of the golden that is given under this key, or NULL */
    const char *accepted;            /* the golden's counts; "produced_per_round" counts the bonus, too */
    const char *nodes; /* the member of a round that has whole nodes, or drafts alone; NULL: neither */
} published;

static const published cases[] = {
    {"eagle3-a", "eagle3", ", \"num_speculative_tokens\": 4", NULL, "chain4_accepted_per_round", NULL},
    {"eagle3-a", "eagle3", ", \"total_token\": 12, \"depth\": 4, \"top_k\": 4", NULL, "accepted_per_round",
     "nodes"},
    {"eagle3-a-smollm3", "eagle3", ", \"total_token\": 12, \"depth\": 4, \"top_k\": 4", NULL,
     "accepted_per_round", "nodes"},
    {"eagle3-b-trained", "eagle3", ", \"num_speculative_tokens\": 4", NULL, "chain4_accepted_per_round",
     NULL},
    {"eagle1-trained", "eagle", ", \"total_token\": 12, \"depth\": 4, \"top_k\": 4", NULL,
     "accepted_per_round", "nodes"},
    {"medusa-orig-trained", "medusa", "", "choices", "accept_length_per_round", NULL},
    {"dflash-trained", "dflash", "", NULL, "produced_per_round", "drafts"},
    {"dspark-trained", "dspark", "", NULL, "accepted_per_round", "drafts"},
};

static bool same_nodes(const json_t *nodes, const json_t *want, bool whole) {
    bool same = json_array_size(nodes) == json_array_size(want) + !whole;
    for (size_t i = !whole; i < json_array_size(nodes) && same; i++) {
        const json_t *node = json_array_get(nodes, i), *other = json_array_get(want, whole ? i : i - 1);
        same = whole ? integer(node, 0) == integer(other, 0) && integer(node, 1) == integer(other, 1) &&
                           fabs(json_number_value(json_array_get(node, 2)) -
                                (i ? json_number_value(json_array_get(other, 2)) : 0)) < 1e-3
                     : integer(node, 0) == (int)json_integer_value(other);
    }
    return same;
}

/* The last round may be cut, since Glia ends at the requested length exactly. */
static void check_trace(const published *c, const json_t *golden, const json_t *trace) {
    const json_t *counts = json_object_get(golden, c->accepted), *rounds = json_object_get(golden, "rounds");
    const int bonus = !strcmp(c->accepted, "produced_per_round");
    const size_t n = json_array_size(trace), all = json_array_size(counts);
    int said = 1;
    CHECK(n == all || n + 1 == all, "%s: %zu rounds, want %zu", c->dir, n, all);
    for (size_t i = 0; i < n; i++) {
        const json_t *one = json_array_get(json_object_get(json_array_get(trace, i), "sequences"), 0);
        const int accepted = (int)json_integer_value(json_object_get(one, "accepted")),
                  want = integer(counts, i) - bonus;
        said += accepted + 1;
        CHECK(accepted == want || (said >= EMIT && accepted < want), "%s, round %zu: %d accepted, want %d",
              c->dir, i, accepted, want);
        const json_t *round = json_array_get(rounds, i), *gap = json_object_get(round, "cut_gap");
        if (!c->nodes || !round || (gap && json_number_value(gap) < 1e-3) || said > EMIT) continue;
        CHECK(same_nodes(json_object_get(one, "nodes"), json_object_get(round, c->nodes),
                         !strcmp(c->nodes, "nodes")),
              "%s, round %zu: other nodes", c->dir, i);
    }
}

static void test_published(void **state) {
    (void)state;
    if (!glia_dir_exists(DATA)) check_skip(DATA " is not here");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const published *c = &cases[i];
        char path[200], tree[4000] = "";
        snprintf(path, sizeof path, DATA "%s/golden.json", c->dir);
        json_t *golden = read_json(path);
        char *prompt = json_dumps(json_object_get(golden, "prompt"), JSON_COMPACT),
             *choices = c->tree ? json_dumps(json_object_get(golden, c->tree), JSON_COMPACT) : NULL;
        if (choices) snprintf(tree, sizeof tree, ",\"medusa_tree\":%s", choices);
        snprintf(path, sizeof path, "%s/trace", check_temp_dir());
        outcome o = glia(
            prompt,
            "generate " DATA "%s --ids - --greedy --ignore-eos --max-tokens %d --threads 2 --dtype float32 "
            "--speculative-config '{\"method\":\"%s\",\"model\":\"" DATA "%s\"%s%s}' --trace-drafts %s",
            json_string_value(json_object_get(golden, "target")), EMIT, c->method, c->dir, c->more, tree,
            path);
        CHECK(o.status == 0, "%s: exit %d: %s", c->dir, o.status, o.err);
        json_t *ids = json_loads(o.out, 0, NULL);
        CHECK(json_equal(ids, json_object_get(golden, "greedy64")), "%s: other tokens: %s", c->dir, o.out);
        if (o.status == 0) {
            json_t *trace = read_lines(path);
            check_trace(c, golden, trace);
            json_decref(trace);
        }
        json_decref(ids);
        json_decref(golden);
        free(prompt);
        free(choices);
        done(&o);
    }
}

/* ---- the demo models' own heads ------------------------------------------------------ */

static const char *const prompts[] = {"Once upon a time", "12 + 34 = ", "Who are you?"};

/* An answer as JSON: ids, finish, log-probabilities. */
static json_t *outputs(const char *model, const char *flags, const char *config, json_t **root) {
    char text[2000];
    json_t *batch = json_array();
    for (size_t i = 0; i < sizeof prompts / sizeof *prompts; i++) {
        snprintf(text, sizeof text, "\"%s\"", prompts[i]);
        outcome o = glia(text, "tokenize %s", model);
        json_array_append_new(batch, json_loads(o.out, 0, NULL));
        done(&o);
    }
    char *ids = json_dumps(batch, JSON_COMPACT);
    outcome o = glia(ids, "generate %s --ids - --json --max-tokens 60 --threads 2 --logprobs 2 %s %s", model,
                     flags, config);
    if (o.status) fail_msg("%s: %s", model, o.err);
    free(ids);
    json_decref(batch);
    *root = json_loads(o.out, 0, NULL);
    done(&o);
    return json_object_get(*root, "outputs");
}

/* With a head, as a chain, a static tree and a grown tree: the same answers, and drafts are accepted. */
static void test_demo_heads(void **state) {
    static const char *const methods[] = {"eagle3", "medusa"},
                             *const trees[] = {"", ",\"medusa_tree\":[[0],[1],[0,0],[0,1],[0,0,0]]",
                                               ",\"total_token\":12,\"depth\":3,\"top_k\":4"},
                             *const flags[] = {"--greedy",
                                               "--temperature 0.8 --seed 3 --repetition-penalty 1.2"};
    (void)state;
    for (int m = 0; m < N_MODELS; m++)
        for (size_t f = 0; f < 2; f++) {
            json_t *plain_root, *plain = outputs(models[m], flags[f], "", &plain_root);
            for (size_t k = 0; k < sizeof methods / sizeof *methods; k++)
                for (size_t t = 0; t < 3; t++) {
                    char config[400];
                    json_t *root;
                    snprintf(config, sizeof config,
                             "--speculative-config '{\"method\":\"%s\",\"model\":\"%s-%s\"%s}'", methods[k],
                             models[m], methods[k], trees[t]);
                    json_t *got = outputs(models[m], flags[f], config, &root);
                    CHECK(json_equal(got, plain), "%s, %s, %s: other answers", models[m], flags[f], config);
                    json_decref(root);
                }
            json_decref(plain_root);
        }
}

/* ---- artifacts -------------------------------------------------------------------------- */

/* Copy a demo model to `dir`, with a neuron_config.json. */
static void copy_model(const char *dir, const char *config) {
    char command[1000];
    snprintf(command, sizeof command,
             "mkdir %s && cp -L %s/*.json %s/*.safetensors %s && printf '%%s' '%s' > %s/neuron_config.json",
             dir, models[0], models[0], dir, config, dir);
    assert_int_equal(system(command), 0);
}

/* An artifact proposes what the model's neuron_config.json or the flags of compile ask for; the answers are
 * the same. */
static void test_artifacts(void **state) {
    static const struct {
        const char *config, *flags, *method;
        int depth;
    } rows[] = {
        {"{\"speculation_length\": 4, \"enable_fused_speculation\": true, \"fused_spec_config\": "
         "{\"draft_model_path\": \"models/qwen3-demo\"}}",
         "", "draft_model", 3},
        {"{\"enable_eagle_speculation\": true, \"is_eagle3\": true, \"token_tree_config\": {\"0\": [\"1\", "
         "\"2\"], \"1\": [\"3\"]}, \"fused_spec_config\": {\"draft_model_path\": "
         "\"models/qwen3-demo-eagle3\"}}",
         "", "eagle3", 2},
        {"{\"is_eagle3\": true, \"speculation_length\": 4, \"fused_spec_config\": {\"draft_model_path\": "
         "\"models/qwen3-demo-eagle3\"}}",
         "--tensor-parallel-size 2", "eagle3", 3},
        {"{}", "--model-draft models/qwen3-demo --draft-max 6", "draft_model", 6},
        {"{}", "--tensor-parallel-size 2 --model-draft models/qwen3-demo --draft-max 2", "draft_model", 2},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char dir[200], artifact[200];
        json_t *root, *plain_root;
        snprintf(dir, sizeof dir, "%s/model%zu", check_temp_dir(), i);
        snprintf(artifact, sizeof artifact, "%s/artifact%zu", check_temp_dir(), i);
        copy_model(dir, rows[i].config);
        outcome o = glia("", "compile %s -o %s %s", dir, artifact, rows[i].flags);
        CHECK(o.status == 0, "row %zu: %s", i, o.err);
        done(&o);
        json_t *plain = outputs(artifact, "--greedy", "--spec-type none", &plain_root),
               *got = outputs(artifact, "--greedy", "", &root);
        assert_null(json_object_get(plain_root, "speculation"));
        const json_t *s = json_object_get(root, "speculation");
        const char *method = json_string_value(json_object_get(s, "method"));
        CHECK(method && !strcmp(method, rows[i].method), "row %zu: method %s", i, method ? method : "none");
        CHECK(json_array_size(json_object_get(s, "spec_decode_num_accepted_tokens_per_pos")) ==
                  (size_t)rows[i].depth,
              "row %zu: other depth", i);
        CHECK(json_equal(got, plain), "row %zu: other answers", i);
        json_decref(root);
        json_decref(plain_root);
    }
}

/* An artifact is a draft as its model is, whole or shared by ranks. Its formats are those of the artifact. */
static void test_artifact_as_draft(void **state) {
    static const char *const rows[][2] = {{"--quantization w4a8", ""},
                                          {"--dtype float32", ""},
                                          {"--quantization int8 --tensor-parallel-size 2",
                                           "--tensor-parallel-size 2 --draft-tensor-parallel-size 2"}};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char dir[200], flags[400];
        json_t *root, *plain_root;
        snprintf(dir, sizeof dir, "%s/draft%zu", check_temp_dir(), i);
        outcome o = glia("", "compile %s -o %s %s", models[0], dir, rows[i][0]);
        CHECK(o.status == 0, "%s: %s", rows[i][0], o.err);
        done(&o);
        snprintf(flags, sizeof flags, "--model-draft %s %s --trace-drafts %s/trace", dir, rows[i][1],
                 check_temp_dir());
        const char *ranks = i == 2 ? "--tensor-parallel-size 2" : "";
        json_t *plain = outputs(models[0], "--greedy", ranks, &plain_root),
               *got = outputs(models[0], "--greedy", flags, &root);
        const json_t *s = json_object_get(root, "speculation");
        const json_int_t drafted = json_integer_value(json_object_get(s, "spec_decode_num_draft_tokens")),
                         accepted = json_integer_value(json_object_get(s, "spec_decode_num_accepted_tokens"));
        CHECK(json_equal(got, plain), "%s: other answers", rows[i][0]);
        CHECK(2 * accepted > drafted, "%s: %d of %d draft tokens accepted", rows[i][0], (int)accepted,
              (int)drafted);
        json_decref(root);
        json_decref(plain_root);
    }
}

/* What neuron_config.json cannot say is an error of compile, which writes nothing. */
static void test_not_carried(void **state) {
    static const char *const rows[][2] = {
        {"{\"method\":\"ngram\"}", "cannot say \"ngram\""},
        {"{\"model\":\"models/qwen3-demo\",\"quantization\":\"int8\"}", "cannot say \"quantization\""}};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        char dir[200];
        snprintf(dir, sizeof dir, "%s/none%zu", check_temp_dir(), i);
        outcome o = glia("", "compile %s -o %s --speculative-config '%s'", models[0], dir, rows[i][0]);
        CHECK(o.status == 2 && strstr(o.err, rows[i][1]) && !glia_dir_exists(dir), "exit %d: %s", o.status,
              o.err);
        done(&o);
    }
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_published), cmocka_unit_test(test_demo_heads), cmocka_unit_test(test_artifacts),
        cmocka_unit_test(test_artifact_as_draft), cmocka_unit_test(test_not_carried)};
    check_begin(argc, argv);
    find_program();
    return check_run_group("heads_cli", tests);
}
