/* check_heads.c - trained draft heads against their published implementations.
 *
 * ../shared/data/drafts has tiny heads in every published format, and what the published
 * code computed with them: draft logits, trees, accepted paths. The target's states come
 * from Glia's own decoder in float32, as everything here. Tolerances are those of the
 * README there: 2e-4 for logits, 1e-4 of the length of a vector; tokens are equal unless
 * a margin is under 1e-3. */
#include "check.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/file.h"
#include "draft/heads.h"

enum { LENGTH = 256, BLOCK = 32, BLOCKS = LENGTH / BLOCK + 4, WANTED = 80, DRAWS = 512, EMIT = 64 };
#define DATA "../shared/data/drafts/"
static const double close_logits = 2e-4, close_state = 1e-4, close_margin = 1e-3;

/* ---- a target, a head, and a sequence -------------------------------------------------- */

typedef struct {
    char dir[200];
    glia_model_config config;
    glia_weights *weights;
    glia_team *team;
    glia_decoder *decoder;
    glia_draft_model model;
    glia_draft draft;
    glia_sampler sampler[2];
    void *scratch;
    int32_t table[BLOCKS];
    int32_t tokens[LENGTH];
    int n; /* known tokens */
    glia_sampling greedy;
} play;

static json_t *load_json(const char *dir, const char *name) {
    char path[300];
    json_error_t e;
    snprintf(path, sizeof path, DATA "%s/%s", dir, name);
    json_t *j = json_load_file(path, 0, &e);
    if (!j) fail_msg("%s: %s", path, e.text);
    return j;
}

static int integer(const json_t *list, size_t i) { return (int)json_integer_value(json_array_get(list, i)); }

static void open_target(play *p, const char *dir) {
    glia_err err = {0};
    snprintf(p->dir, sizeof p->dir, DATA "%s", dir);
    if (glia_model_config_load(&p->config, p->dir, NULL, NULL, &err)) fail_msg("%s", err.msg);
    if (glia_team_create(&p->team, 2, &err)) fail_msg("%s", err.msg);
    const glia_weights_options o = {.dtype = GLIA_DTYPE_F32, .cpu_flags = glia_cpu_flags(), .team = p->team};
    if (glia_weights_load(&p->weights, p->dir, &p->config, &o, &err)) fail_msg("%s", err.msg);
}

static void open_decoder(play *p, const glia_draft_needs *needs) {
    glia_err err = {0};
    glia_decoder_limits l = {.kv_dtype = GLIA_DTYPE_F32,
                             .max_rows = WANTED,
                             .max_logits = WANTED,
                             .block_size = BLOCK,
                             .n_blocks = BLOCKS,
                             .sequence_length = LENGTH,
                             .max_hidden = WANTED,
                             .max_residual = WANTED,
                             .n_residual_layers = needs->n_residual_layers};
    memcpy(l.residual_layer, needs->residual_layer, sizeof l.residual_layer);
    if (glia_decoder_create(&p->decoder, p->weights, &l, glia_cpu_flags(), p->team, NULL, 0, &err))
        fail_msg("%s", err.msg);
    for (int i = 0; i < BLOCKS; i++) p->table[i] = i;
}

static void open_play(play *p, const char *target, const char *dir, const char *method,
                      const glia_tree_shape *tree, int tokens) {
    static char path[300];
    glia_err err = {0};
    *p = (play){.greedy = {.top_p = 1, .typical_p = 1, .temperature = 1, .repetition_penalty = 1}};
    open_target(p, target);
    snprintf(path, sizeof path, "%s%s", *dir == '/' ? "" : DATA, dir);
    p->model = (glia_draft_model){
        .config = {.method = glia_draft_method_find(method), .dir = path, .tokens = tokens},
        .target_dir = p->dir,
        .target = &p->config,
        .target_dtype = GLIA_DTYPE_F32,
        .cpu_flags = glia_cpu_flags(),
        .threads = 2};
    if (tree) p->model.config.tree = *tree;
    const glia_draft_method *m = p->model.config.method;
    assert_non_null(m);
    if (m->read(&p->model, &err)) fail_msg("%s", err.msg);
    if (m->load(&p->model, p->weights, p->team, &err)) fail_msg("%s", err.msg);
    const glia_draft_needs needs = m->needs(&p->model);
    open_decoder(p, &needs);
    p->scratch = calloc(2, glia_sampler_bytes((int)p->config.vocab));
    for (int i = 0; i < 2; i++)
        glia_sampler_init(&p->sampler[i],
                          (char *)p->scratch + (size_t)i * glia_sampler_bytes((int)p->config.vocab),
                          (int)p->config.vocab);
    p->draft = (glia_draft){.model = &p->model,
                            .limits = {.batch = 2,
                                       .sequence_length = LENGTH,
                                       .nodes = GLIA_TREE_MAX - 1,
                                       .chunk = 16,
                                       .block_size = BLOCK,
                                       .n_blocks = BLOCKS,
                                       .kv_dtype = GLIA_DTYPE_F32},
                            .team = p->team,
                            .weights = p->weights,
                            .target = p->decoder,
                            .sampler = p->sampler,
                            .scored = true};
    if (m->open(&p->draft, &err)) fail_msg("%s", err.msg);
}

static void close_play(play *p) {
    p->model.config.method->close(&p->draft);
    p->model.config.method->unload(&p->model);
    glia_decoder_free(p->decoder);
    glia_weights_free(p->weights);
    glia_team_free(p->team);
    glia_model_config_free(&p->config);
    free(p->scratch);
}

static const glia_head_state *state_of(const play *p) { return p->draft.own; }

/* ---- steps of the target ------------------------------------------------------------------ */

/* Run the known token and the tree below it (or, before the first token, tokens [from, to) alone). */
static void run_rows(play *p, const int32_t *token, const int32_t *position, const int32_t *slot,
                     const int32_t *parent, int n) {
    static const int32_t zeros[WANTED];
    int32_t all[WANTED];
    assert_true(n <= WANTED);
    for (int i = 0; i < n; i++) all[i] = i;
    const glia_batch b = {.n_rows = n,
                          .token = token,
                          .seq = zeros,
                          .position = position,
                          .slot = slot,
                          .parent = parent,
                          .n_seqs = 1,
                          .max_blocks = BLOCKS,
                          .block_table = p->table,
                          .n_logits = n,
                          .n_hidden = n,
                          .n_residual = n,
                          .logit_row = all,
                          .hidden_row = all,
                          .residual_row = all};
    glia_decoder_step(p->decoder, &b);
}

static int argmax(const float *x, size_t n) {
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (x[i] > x[best]) best = i;
    return (int)best;
}

static int drawn(const play *p, int row) {
    return argmax(glia_decoder_logits(p->decoder, row), (size_t)p->config.vocab);
}

static void learn(play *p, int from, int to, const int32_t *state) {
    const glia_draft_seq s = {.slot = 1,
                              .id = 7,
                              .tokens = p->tokens,
                              .n_tokens = p->n,
                              .table = p->table,
                              .from = from,
                              .to = to,
                              .state = state};
    glia_err err = {0};
    if (p->model.config.method->learn(&p->draft, &s, 1, &err)) fail_msg("%s", err.msg);
}

/* Compute tokens [0, n) in chunks and learn them; tokens[n] follows. `next` < 0: it is drawn. */
static void prefill(play *p, int n, int next) {
    int32_t place[WANTED], state[WANTED];
    for (int from = 0; from < n;) {
        const int to = n - from > 33 ? from + 33 : n;
        for (int i = from; i < to; i++) place[i - from] = i, state[i - from] = i - from;
        run_rows(p, p->tokens + from, place, place, NULL, to - from);
        p->n = to == n ? n + 1 : n;
        if (to == n) p->tokens[n] = next < 0 ? drawn(p, to - from - 1) : next;
        learn(p, from, to, state);
        from = to;
    }
}

static void propose(play *p, glia_tree *t, int depth, int nodes) {
    glia_draft_seq s = {.slot = 1,
                        .id = 7,
                        .tokens = p->tokens,
                        .n_tokens = p->n,
                        .table = p->table,
                        .depth = depth,
                        .nodes = nodes,
                        .draw = {.params = &p->greedy, .tokens = p->tokens, .n_tokens = (size_t)p->n},
                        .tree = t};
    glia_err err = {0};
    glia_tree_begin(t, p->tokens[p->n - 1]);
    if (p->model.config.method->propose(&p->draft, &s, 1, &err)) fail_msg("%s", err.msg);
}

/* Verify the tree: path[] gets the accepted nodes from the root on. Returns how many tokens were accepted. */
static int verify(play *p, const glia_tree *t, int *path) {
    int32_t position[WANTED], slot[WANTED], parent[WANTED], state[WANTED];
    const int at = p->n - 1;
    int accepted = 0;
    for (int i = 0; i < t->n; i++) {
        position[i] = at + t->depth[i];
        slot[i] = at + i;
        parent[i] = t->parent[i];
    }
    run_rows(p, t->token, position, slot, parent, t->n);
    path[0] = 0;
    for (int node = 0;;) {
        const int token = drawn(p, node), child = glia_tree_child(t, node, token);
        p->tokens[p->n++] = token;
        if (child < 0) break;
        path[++accepted] = node = child;
    }
    for (int i = 0; i <= accepted; i++) {
        const int from = at + path[i], to = at + i;
        state[i] = path[i];
        if (from != to)
            glia_decoder_copy_kv(p->decoder, p->table[to / BLOCK], to % BLOCK, p->table[from / BLOCK],
                                 from % BLOCK);
    }
    learn(p, at, at + accepted + 1, state);
    return accepted;
}

static void take_prompt(play *p, const json_t *golden) {
    const json_t *prompt = json_object_get(golden, "prompt");
    for (size_t i = 0; i < json_array_size(prompt); i++) p->tokens[i] = integer(prompt, i);
    p->n = (int)json_array_size(prompt);
}

/* ---- comparisons --------------------------------------------------------------------------- */

/* eagle1-bias has no norm that keeps a chain's states small: at its fourth step the published float32 figures
 * are up to 4e-4 from float64's, and Glia's 2e-5. */
static double tolerance(const char *what) { return strncmp(what, "eagle1-bias", 11) ? close_logits : 5e-4; }

static void check_top(const play *p, const float *logits, const json_t *ids, const json_t *want,
                      const char *what) {
    const glia_head *h = state_of(p)->model->head;
    for (size_t i = 0; i < json_array_size(ids); i++) {
        int at = integer(ids, i);
        for (int k = 0; h->map && k < h->config.draft_vocab; k++)
            if (h->map[k] == integer(ids, i)) at = k;
        const double x = json_number_value(json_array_get(want, i));
        CHECK(fabs((double)logits[at] - x) <= tolerance(what), "%s: logit of %d is %.7g, want %.7g", what,
              integer(ids, i), (double)logits[at], x);
    }
}

static void check_state(const float *x, const json_t *want, const char *what) {
    const json_t *first = json_object_get(want, "first8");
    const double length = json_number_value(json_object_get(want, "l2"));
    double sum = 0, square = 0;
    for (int i = 0; i < (int)json_integer_value(json_object_get(want, "n")); i++)
        sum += (double)x[i], square += (double)x[i] * (double)x[i];
    for (size_t i = 0; i < json_array_size(first); i++) {
        const double y = json_number_value(json_array_get(first, i));
        CHECK(fabs((double)x[i] - y) <= close_state * length, "%s: [%zu] is %.7g, want %.7g", what, i,
              (double)x[i], y);
    }
    const double n = json_number_value(json_object_get(want, "n"));
    CHECK(fabs(sum - json_number_value(json_object_get(want, "sum"))) <= close_state * length * sqrt(n),
          "%s: sum %g", what, sum);
    CHECK(fabs(sqrt(square) - length) <= close_state * length, "%s: length %g, want %g", what, sqrt(square),
          length);
}

/* ---- EAGLE ---------------------------------------------------------------------------------- */

typedef struct {
    const char *dir, *method;
} head_case;
static const head_case eagles[] = {
    {"eagle3-a", "eagle3"},   {"eagle3-a-trained", "eagle3"}, {"eagle3-a-smollm3", "eagle3"},
    {"eagle3-b", "eagle3"},   {"eagle3-b-trained", "eagle3"}, {"eagle1", "eagle"},
    {"eagle1-bias", "eagle"}, {"eagle1-trained", "eagle"},
};

/* One chain: the head's own steps, with the tokens that the published code took. */
static void check_chain(play *p, const json_t *golden, const json_t *chain, const char *dir) {
    const json_t *steps = json_object_get(chain, "steps"), *step,
                 *greedy = json_object_get(golden, "greedy64");
    const int at = (int)json_integer_value(json_object_get(chain, "P"));
    glia_head_state *s = (glia_head_state *)p->draft.own;
    char what[100];
    size_t i;
    take_prompt(p, golden);
    for (size_t k = 0; k < json_array_size(greedy); k++) p->tokens[p->n + (int)k] = integer(greedy, k);
    assert_int_equal(p->tokens[at], json_integer_value(json_object_get(chain, "known_token")));
    glia_tree ignored;
    prefill(p, at, p->tokens[at]);
    propose(p, &ignored, 1, 1); /* runs the rows that are kept */
    glia_net_table(&s->net, 1, p->table, at);
    const float *root = s->root + s->model->head->config.block.hidden;
    glia_heads_clear(s);
    json_array_foreach(steps, i, step) {
        snprintf(what, sizeof what, "%s, P %d, step %zu", dir, at, i);
        if (i == 0) {
            glia_net_head(&s->net, &root, 1);
        } else {
            const int32_t token = integer(json_object_get(chain, "tokens"), i - 1);
            s->input[0] = glia_net_hidden(&s->net, 0);
            s->wanted[0] = 0;
            glia_heads_add(s, (glia_head_row){token, 1, at + (int)i - 1, glia_net_slot(&s->net, (int)i - 1),
                                              (int)i - 2});
            glia_net_batch b = glia_heads_batch(s);
            b.wanted = s->wanted;
            b.n_wanted = 1;
            b.logits = true;
            glia_net_eagle(&s->net, &b);
        }
        check_top(p, glia_net_logits(&s->net, 0), json_object_get(step, "top8_target_ids"),
                  json_object_get(step, "top8_logits"), what);
        check_state(glia_net_hidden(&s->net, 0), json_object_get(step, "recurrent_hidden"), what);
    }
}

static void test_chains(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof eagles / sizeof *eagles; i++) {
        json_t *golden = load_json(eagles[i].dir, "golden.json");
        const json_t *chains = json_object_get(golden, "chains"), *chain;
        size_t k;
        play p;
        open_play(&p, json_string_value(json_object_get(golden, "target")), eagles[i].dir, eagles[i].method,
                  NULL, 4);
        json_array_foreach(chains, k, chain) check_chain(&p, golden, chain, eagles[i].dir);
        close_play(&p);
        json_decref(golden);
    }
}

/* Is the choice that a round rests on closer than the tolerance? */
static bool uncertain(const json_t *round) {
    const json_t *gap = json_object_get(round, "cut_gap");
    return json_is_number(gap) && json_number_value(gap) < close_margin;
}

static void check_tree(const glia_tree *t, const json_t *round, const char *what) {
    const json_t *nodes = json_object_get(round, "nodes"), *node;
    size_t i;
    CHECK((size_t)t->n == json_array_size(nodes), "%s: %d nodes, want %zu", what, t->n,
          json_array_size(nodes));
    json_array_foreach(nodes, i, node) {
        CHECK(t->token[i] == integer(node, 0) && t->parent[i] == integer(node, 1),
              "%s: node %zu is %d after %d, want %d after %d", what, i, t->token[i], t->parent[i],
              integer(node, 0), integer(node, 1));
        const double score = i ? json_number_value(json_array_get(node, 2)) : 0;
        CHECK(fabs((double)t->score[i] - score) <= close_logits * (1 + t->depth[i]),
              "%s: score of node %zu is %g, want %g", what, i, (double)t->score[i], score);
    }
}

/* Play rounds until 64 tokens are there. rounds: nodes and accepted paths, or NULL; accepted: counts. */
static void play_rounds(play *p, const json_t *golden, const json_t *rounds, const json_t *accepted,
                        int nodes, const char *dir) {
    const json_t *greedy = json_object_get(golden, "greedy64");
    glia_tree t;
    int path[GLIA_TREE_MAX];
    char what[100];
    take_prompt(p, golden);
    const int first = p->n;
    prefill(p, p->n, -1);
    for (size_t r = 0; r < json_array_size(accepted) && p->n < first + EMIT; r++) {
        const json_t *round = json_array_get(rounds, r);
        snprintf(what, sizeof what, "%s, round %zu", dir, r);
        propose(p, &t, 64, nodes);
        if (round && !uncertain(round)) check_tree(&t, round, what);
        const int n = verify(p, &t, path);
        CHECK(n == integer(accepted, r) || (round && uncertain(round)), "%s: %d accepted, want %d", what, n,
              integer(accepted, r));
        const json_t *way = json_object_get(round, "accepted_nodes");
        for (int i = 0; i <= n && json_is_array(way) && !uncertain(round); i++)
            CHECK(path[i] == integer(way, (size_t)i), "%s: node %d of the path", what, i);
    }
    for (int i = first; i < p->n && i < first + EMIT; i++)
        CHECK(p->tokens[i] == integer(greedy, (size_t)(i - first)), "%s: token %d is %d, want %d", dir,
              i - first, p->tokens[i], integer(greedy, (size_t)(i - first)));
}

static void test_trees(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof eagles / sizeof *eagles; i++) {
        json_t *golden = load_json(eagles[i].dir, "golden.json");
        const json_t *set = json_object_get(golden, "tree_settings");
        const char *target = json_string_value(json_object_get(golden, "target"));
        play p;
        if (set) {
            const glia_tree_shape tree = {.kind = GLIA_TREE_DYNAMIC,
                                          .total =
                                              (int)json_integer_value(json_object_get(set, "total_token")),
                                          .depth = (int)json_integer_value(json_object_get(set, "depth")),
                                          .top_k = (int)json_integer_value(json_object_get(set, "top_k"))};
            const glia_tree_shape standard = {
                .kind = GLIA_TREE_DYNAMIC, .total = 60, .depth = 7, .top_k = 10};
            open_play(&p, target, eagles[i].dir, eagles[i].method, &tree, 0);
            play_rounds(&p, golden, json_object_get(golden, "rounds"),
                        json_object_get(golden, "accepted_per_round"), GLIA_TREE_MAX - 1, eagles[i].dir);
            close_play(&p);
            open_play(&p, target, eagles[i].dir, eagles[i].method, &standard, 0);
            play_rounds(&p, golden, NULL,
                        json_object_get(golden, "default_tree_total60_depth7_topk10_accepted_per_round"),
                        GLIA_TREE_MAX - 1, eagles[i].dir);
            close_play(&p);
        }
        open_play(&p, target, eagles[i].dir, eagles[i].method, NULL, 4);
        play_rounds(&p, golden, NULL, json_object_get(golden, "chain4_accepted_per_round"), GLIA_TREE_MAX - 1,
                    eagles[i].dir);
        close_play(&p);
        json_decref(golden);
    }
}

/* ---- vLLM's chains ---------------------------------------------------------------------------- */

static const head_case vllm[] = {
    {"eagle3-a", "eagle3"}, {"eagle3-b", "eagle3"},    {"eagle3-b-trained", "eagle3"},
    {"eagle1", "eagle"},    {"medusa-vllm", "medusa"}, {"medusa-vllm-map", "medusa"},
};

/* Row of logits of the first token of a chain; the next is `step` rows later. */
static void check_vllm(play *p, const json_t *golden, const char *dir) {
    const json_t *proposals = json_object_get(golden, "proposals"),
                 *accepted = json_object_get(golden, "accepted_per_round");
    const bool medusa = p->model.config.method == &glia_draft_medusa;
    glia_tree t;
    int path[GLIA_TREE_MAX];
    char what[100];
    take_prompt(p, golden);
    const int first = p->n;
    prefill(p, p->n, -1);
    for (size_t r = 0; r < json_array_size(accepted); r++) {
        const json_t *one = json_array_get(proposals, r), *drafts = json_object_get(one, "drafts");
        const int depth = (int)json_array_size(drafts);
        propose(p, &t, depth, depth);
        snprintf(what, sizeof what, "%s, vLLM's round %zu", dir, r);
        CHECK(t.n == depth + 1, "%s: %d nodes", what, t.n);
        for (int i = 1; i < t.n; i++) {
            const json_t *top =
                json_array_get(json_array_get(json_object_get(one, "top8_target_ids"), (size_t)i - 1), 0);
            const json_t *logits = json_object_get(top, "logits");
            const double margin =
                json_number_value(json_array_get(logits, 0)) - json_number_value(json_array_get(logits, 1));
            if (margin < close_margin) break;
            CHECK(t.token[i] == integer(drafts, (size_t)i - 1), "%s: draft %d is %d, want %d", what, i,
                  t.token[i], integer(drafts, (size_t)i - 1));
            if (medusa)
                check_top(p, glia_net_logits(&state_of(p)->net, i - 1), json_object_get(top, "ids"), logits,
                          what);
        }
        const int n = verify(p, &t, path), want = integer(accepted, r);
        const bool over = p->n > first + EMIT && n > want; /* vLLM stops at 64 tokens */
        CHECK(n == want || over, "%s: %d accepted, want %d", what, n, want);
    }
}

static void test_vllm(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof vllm / sizeof *vllm; i++) {
        json_t *golden = load_json(vllm[i].dir, "golden_vllm.json");
        play p;
        const int depth = (int)json_array_size(
            json_object_get(json_array_get(json_object_get(golden, "proposals"), 0), "drafts"));
        open_play(&p, json_string_value(json_object_get(golden, "target")), vllm[i].dir, vllm[i].method, NULL,
                  depth);
        check_vllm(&p, golden, vllm[i].dir);
        close_play(&p);
        json_decref(golden);
    }
}

/* ---- Medusa ------------------------------------------------------------------------------------- */

static const char *const medusas[] = {"medusa-orig", "medusa-orig-llama-trained", "medusa-orig-trained",
                                      "medusa-orig-qwen3-2layers", "medusa-orig-smollm3-trained"};

/* A shape as the published code orders it: by depth, then by the choices. */
static void take_choices(glia_tree_shape *s, const json_t *golden) {
    const json_t *parents = json_object_get(json_object_get(golden, "buffers"), "parents"),
                 *list = json_object_get(golden, "choices");
    *s = (glia_tree_shape){.kind = GLIA_TREE_STATIC, .n = (int)json_array_size(parents)};
    for (int i = 0; i < s->n; i++) s->parent[i] = (int16_t)integer(parents, (size_t)i);
    for (int i = 1; i < s->n;
         i++) { /* the i-th child of a node in order has the next choice that the list has */
        const json_t *indices = json_object_get(json_object_get(golden, "buffers"), "tree_indices");
        s->choice[i] = (int16_t)((integer(indices, (size_t)i) - 1) % 10);
    }
    assert_int_equal(json_array_size(list) + 1, s->n);
}

static void check_heads_at(play *p, const json_t *golden, const char *dir) {
    const json_t *greedy = json_object_get(golden, "greedy64"), *at;
    const char *key;
    char what[100];
    take_prompt(p, golden);
    for (size_t k = 0; k < json_array_size(greedy); k++) p->tokens[p->n + (int)k] = integer(greedy, k);
    json_object_foreach(json_object_get(golden, "heads_at"), key, at) {
        const int n = (int)strtol(key, NULL, 10) + 1;
        const json_t *heads = json_object_get(at, "heads"), *head;
        glia_tree t;
        size_t h;
        prefill(p, n, p->tokens[n]);
        propose(p, &t, (int)json_array_size(heads), GLIA_TREE_MAX - 1);
        json_array_foreach(heads, h, head) {
            snprintf(what, sizeof what, "%s, head %zu at %s", dir, h, key);
            check_top(p, glia_net_logits(&state_of(p)->net, (int)h), json_object_get(head, "ids"),
                      json_object_get(head, "logits"), what);
        }
    }
}

/* Are the logits of a node's token and of another token closer than the tolerance? */
static bool near_tie(const play *p, const glia_tree *t, int node, int token) {
    const float *x = glia_net_logits(&state_of(p)->net, t->depth[node] - 1);
    return fabs((double)x[t->token[node]] - (double)x[token]) < close_margin;
}

static void check_medusa_rounds(play *p, const json_t *golden, const char *dir) {
    const json_t *rounds = json_object_get(golden, "rounds"),
                 *lengths = json_object_get(golden, "accept_length_per_round");
    glia_tree t;
    int path[GLIA_TREE_MAX];
    take_prompt(p, golden);
    prefill(p, p->n, -1);
    for (size_t r = 0; r < json_array_size(lengths); r++) {
        const json_t *tokens = json_object_get(json_array_get(rounds, r), "tree_tokens");
        propose(p, &t, 64, GLIA_TREE_MAX - 1);
        for (size_t i = 0; i < json_array_size(tokens); i++)
            CHECK((int)i < t.n &&
                      (t.token[i] == integer(tokens, i) || near_tie(p, &t, (int)i, integer(tokens, i))),
                  "%s, round %zu: node %zu is %d, want %d", dir, r, i, t.token[i], integer(tokens, i));
        const int n = verify(p, &t, path);
        CHECK(n == integer(lengths, r), "%s, round %zu: %d accepted, want %d", dir, r, n,
              integer(lengths, r));
    }
}

static void test_medusa(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof medusas / sizeof *medusas; i++) {
        json_t *golden = load_json(medusas[i], "golden.json");
        glia_tree_shape shape;
        play p;
        take_choices(&shape, golden);
        open_play(&p, json_string_value(json_object_get(golden, "target")), medusas[i], "medusa", NULL, 0);
        assert_int_equal(p.model.config.tokens, 5);
        check_heads_at(&p, golden, medusas[i]);
        close_play(&p);
        open_play(&p, json_string_value(json_object_get(golden, "target")), medusas[i], "medusa", &shape, 0);
        check_medusa_rounds(&p, golden, medusas[i]);
        close_play(&p);
        json_decref(golden);
    }
}

/* ---- DFlash, DSpark --------------------------------------------------------------------------- */

/* The published rows are the first two, and the last of a block; DFlash's also have the eighth. */
static void check_rows(const play *p, const json_t *rows, const char *what) {
    const size_t n = json_array_size(rows), last = (size_t)state_of(p)->model->head->config.tokens - 1;
    const size_t at[] = {0, 1, n == 4 ? 7 : last, last};
    for (size_t i = 0; i < n; i++)
        check_top(p, glia_net_logits(&state_of(p)->net, (int)at[i]),
                  json_object_get(json_array_get(rows, i), "ids"),
                  json_object_get(json_array_get(rows, i), "logits"), what);
}

static void check_block(const play *p, const glia_tree *t, const json_t *round, const char *what) {
    const json_t *drafts = json_object_get(round, "drafts"), *hidden = json_object_get(round, "hidden_rows"),
                 *row, *chances = json_object_get(round, "confidence_logits");
    const json_t *margin = json_object_get(round, "row_top1_margin_min");
    const char *key;
    if (!margin) margin = json_object_get(round, "top1_margin_min");
    for (int i = 1; i < t->n && !(margin && json_number_value(margin) < close_margin); i++)
        CHECK(t->token[i] == integer(drafts, (size_t)i - 1), "%s: draft %d is %d, want %d", what, i,
              t->token[i], integer(drafts, (size_t)i - 1));
    check_rows(p, json_object_get(round, "rows_top8"), what);
    check_rows(p, json_object_get(round, "rows_markov_top8"), what);
    json_object_foreach((json_t *)(uintptr_t)hidden, key, row)
        check_state(glia_net_hidden(&state_of(p)->net, (int)strtol(key, NULL, 10)), row, what);
    for (size_t i = 0; i < json_array_size(chances) && (int)i + 1 < t->n; i++) {
        const double x = (double)state_of(p)->chance[i];
        CHECK(fabs(x - json_number_value(json_array_get(chances, i))) <= close_logits,
              "%s: confidence %zu is %g, want %g", what, i, x, json_number_value(json_array_get(chances, i)));
    }
}

/* Play rounds as the published loop does: `more` tokens than the accepted ones come from a round. */
static void check_blocks(play *p, const json_t *golden, const json_t *accepted, int bonus, bool compare,
                         const char *dir) {
    const json_t *rounds = json_object_get(golden, "rounds");
    glia_tree t;
    int path[GLIA_TREE_MAX];
    char what[100];
    take_prompt(p, golden);
    const int first = p->n;
    prefill(p, p->n, -1);
    for (size_t r = 0; r < json_array_size(accepted); r++) {
        const int wanted = first + EMIT - p->n;
        snprintf(what, sizeof what, "%s, round %zu", dir, r);
        glia_tree_begin(&t, p->tokens[p->n - 1]);
        propose(p, &t, wanted, GLIA_TREE_MAX - 1);
        if (compare) check_block(p, &t, json_array_get(rounds, r), what);
        const int n = verify(p, &t, path), want = integer(accepted, r) - bonus;
        CHECK(n == want || (n >= wanted - 1 && want >= wanted - 1), "%s: %d accepted, want %d", what, n,
              want);
    }
}

static void test_blocks(void **state) {
    static const head_case cases[] = {{"dflash", "dflash"},
                                      {"dflash-trained", "dflash"},
                                      {"dspark", "dspark"},
                                      {"dspark-trained", "dspark"}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *golden = load_json(cases[i].dir, "golden.json");
        const json_t *produced = json_object_get(golden, "produced_per_round"),
                     *cut = json_object_get(golden, "threshold_0.5");
        play p;
        open_play(&p, json_string_value(json_object_get(golden, "target")), cases[i].dir, cases[i].method,
                  NULL, 0);
        check_blocks(&p, golden, produced ? produced : json_object_get(golden, "accepted_per_round"),
                     produced != NULL, true, cases[i].dir);
        if (cut) {
            p.model.config.threshold = 0.5f;
            check_blocks(&p, golden, json_object_get(cut, "accepted_per_round"), 0, false, cases[i].dir);
        }
        close_play(&p);
        json_decref(golden);
    }
}

/* ---- EAGLE-3.1 ----------------------------------------------------------------------------------- */

enum { TENSORS = 40 };

/* A norm's weight by the formula of tools/gen_eagle31_goldens.py, in float32. */
static void add_norm(glia_tensor_spec *spec, const void **data, size_t *n, const char *name, int width,
                     int at) {
    static float numbers[4][192];
    for (int i = 0; i < width; i++) numbers[at][i] = 0.5f + (float)((i + at) % 7) / 8;
    spec[*n] = (glia_tensor_spec){name, GLIA_TENSOR_F32, 1, {width}};
    data[(*n)++] = numbers[at];
}

/* A copy of eagle3-b-trained with other keys and the norms that they ask for. */
static const char *make_variant(const json_t *keys) {
    static const char *const fc_norm[] = {"fc_norm.0.weight", "fc_norm.1.weight", "fc_norm.2.weight"};
    const char *dir = check_temp_dir();
    glia_safetensors st;
    glia_safetensors_writer *w;
    glia_tensor_spec spec[TENSORS];
    const void *data[TENSORS];
    size_t n = 0;
    char path[300];
    if (glia_safetensors_open(&st, DATA "eagle3-b-trained/model.safetensors", NULL)) fail_msg("no head");
    for (; n < st.n; n++) {
        const glia_tensor_view *t = &st.tensor[n];
        spec[n] = (glia_tensor_spec){.name = t->name, .dtype = t->dtype, .n_dims = t->n_dims};
        memcpy(spec[n].shape, t->shape, sizeof t->shape);
        data[n] = t->data;
    }
    for (int i = 0; i < 3 && json_is_true(json_object_get(keys, "fc_norm")); i++)
        add_norm(spec, data, &n, fc_norm[i], 64, i);
    if (json_is_true(json_object_get(keys, "norm_before_fc")))
        add_norm(spec, data, &n, "input_norm.weight", 192, 3);
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    assert_int_equal(glia_safetensors_create(&w, path, spec, n, NULL), GLIA_OK);
    for (size_t i = 0; i < n; i++) {
        size_t bytes;
        glia_tensor_bytes(spec[i].dtype, spec[i].shape, spec[i].n_dims, &bytes);
        assert_int_equal(glia_safetensors_append(w, data[i], bytes, NULL), GLIA_OK);
    }
    assert_int_equal(glia_safetensors_finish(w, NULL), GLIA_OK);
    glia_safetensors_close(&st);
    json_t *config = load_json("eagle3-b-trained", "config.json");
    json_object_update(config, (json_t *)(uintptr_t)keys);
    char *text = json_dumps(config, 0);
    check_write_file(dir, "config.json", text, strlen(text));
    free(text);
    json_decref(config);
    return dir;
}

/* fc_norm, norm_before_fc and norm_output, which no published tiny head has. */
static void test_eagle31(void **state) {
    (void)state;
    json_t *variants = json_load_file("tests/golden/eagle31.json", 0, NULL),
           *golden = load_json("eagle3-b-trained", "golden.json");
    const json_t *variant;
    size_t i;
    assert_non_null(variants);
    json_array_foreach(json_object_get(variants, "variants"), i, variant) {
        const json_t *drafts = json_object_get(variant, "drafts");
        play p;
        glia_tree t;
        open_play(&p, "targets/qwen3-trained", make_variant(json_object_get(variant, "keys")), "eagle3", NULL,
                  4);
        take_prompt(&p, golden);
        prefill(&p, p.n, -1);
        propose(&p, &t, 4, 4);
        for (int k = 1; k < t.n; k++) {
            const json_t *want = json_array_get(drafts, (size_t)k - 1);
            CHECK(t.token[k] == integer(want, 0), "variant %zu: draft %d is %d, want %d", i, k, t.token[k],
                  integer(want, 0));
            CHECK(fabs((double)t.score[k] - json_number_value(json_array_get(want, 1))) <= close_logits,
                  "variant %zu: score of draft %d is %g", i, k, (double)t.score[k]);
        }
        close_play(&p);
    }
    json_decref(variants);
    json_decref(golden);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chains), cmocka_unit_test(test_trees),  cmocka_unit_test(test_vllm),
        cmocka_unit_test(test_medusa), cmocka_unit_test(test_blocks), cmocka_unit_test(test_eagle31),
    };
    check_begin(argc, argv);
    if (!glia_dir_exists(DATA)) {
        puts("SKIPPED: " DATA " is not here");
        return 0;
    }
    return check_run_group("heads", tests);
}
