/* check_schedule.c - the same bits whatever the schedule (DESIGN 1.1).
 *
 * The reference: each sequence alone, token by token, on one thread. It is compared
 * with random schedules: chunks of any length, any mixture of sequences in a step,
 * trees of drafts, scattered blocks, blocks shared by equal prefixes, other block
 * sizes, one to three threads. Every logit of every row must have the same bits. The
 * models are small random ones with all configurable features, and the demo models,
 * on every rung of this machine, with both dtypes of weights and cache, and with int8
 * weights with float and int8 rows. --long runs more schedules. */
#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/file.h"
#include "kernel/kernels.h"
#include "model/weights.h"

enum { SEQS = 3, ROWS = 48, TREE = 8 };

typedef struct {
    glia_weights *w;
    glia_dtype kv_dtype;
    glia_quantization scheme;
    glia_quantization_type type;
    unsigned cpu_flags;
    int vocab, length[SEQS], shared; /* the first `shared` tokens of all sequences are equal */
    int32_t *tokens[SEQS];
    float *want[SEQS]; /* [length, vocab] */
    char name[96];
} subject;

/* A decoder and the block tables of its sequences. */
typedef struct {
    const subject *s;
    glia_team *team;
    glia_decoder *d;
    int block_size, max_blocks, n_blocks;
    int32_t *table; /* [SEQS + 1, max_blocks]; the last row is a scratch sequence */
    int computed[SEQS];
} bench_run;

static int more = 1, longest_run = 1100; /* factor of schedules (--long); positions of a sequence */

static int least(int a, int b) { return a < b ? a : b; }

static int largest(const int *x, int n) {
    int found = x[0];
    for (int i = 1; i < n; i++) found = x[i] > found ? x[i] : found;
    return found;
}

static bench_run start(const subject *s, int threads, int block_size, int rows, bool scatter) {
    bench_run r = {.s = s, .block_size = block_size};
    const int positions = largest(s->length, SEQS) + TREE;
    r.max_blocks = (positions + block_size - 1) / block_size;
    r.n_blocks = (SEQS + 1) * r.max_blocks;
    r.table = calloc((size_t)r.n_blocks, sizeof *r.table);
    for (int i = 0; i < r.n_blocks; i++) { /* Fisher-Yates shuffle */
        const int j = scatter ? (int)(check_u32() % (uint32_t)(i + 1)) : i;
        r.table[i] = r.table[j];
        r.table[j] = i;
    }
    const glia_decoder_limits limits = {.kv_dtype = s->kv_dtype,
                                        .max_rows = rows,
                                        .max_logits = rows,
                                        .block_size = block_size,
                                        .n_blocks = r.n_blocks,
                                        .sequence_length = positions,
                                        .quantize_rows = s->scheme == GLIA_QUANTIZATION_W8A8,
                                        .rotate = true};
    glia_err err = {0};
    if (glia_team_create(&r.team, threads, &err) ||
        glia_decoder_create(&r.d, s->w, &limits, s->cpu_flags, r.team, NULL, 0, &err))
        fail_msg("%s", err.msg);
    return r;
}

static void finish(bench_run *r) {
    glia_decoder_free(r->d);
    glia_team_free(r->team);
    free(r->table);
}

/* The rows of one step, as they are put together. */
typedef struct {
    int n, n_logits;
    bool trees;
    int32_t token[ROWS], seq[ROWS], position[ROWS], slot[ROWS], parent[ROWS], logit_row[ROWS];
} rows;

static void add_row(rows *b, int seq, int32_t token, int position, int slot, int parent) {
    b->token[b->n] = token;
    b->seq[b->n] = seq;
    b->position[b->n] = position;
    b->slot[b->n] = slot;
    b->parent[b->n++] = parent;
}

static void step(const bench_run *r, rows *b) {
    const glia_batch batch = {.n_rows = b->n,
                              .token = b->token,
                              .seq = b->seq,
                              .position = b->position,
                              .slot = b->slot,
                              .parent = b->trees ? b->parent : NULL,
                              .n_seqs = SEQS + 1,
                              .max_blocks = r->max_blocks,
                              .block_table = r->table,
                              .n_logits = b->n_logits,
                              .logit_row = b->logit_row};
    glia_guard_enter();
    glia_decoder_step(r->d, &batch);
    glia_guard_leave();
}

/* Run one token alone. Returns its logits. */
static const float *single(const bench_run *r, int seq, int32_t token, int position) {
    rows b = {0};
    add_row(&b, seq, token, position, position, -1);
    b.n_logits = 1;
    step(r, &b);
    return glia_decoder_logits(r->d, 0);
}

static void compare(const subject *s, const float *got, const float *want, int seq, int position,
                    const char *what) {
    int at = 0;
    while (at < s->vocab && !memcmp(got + at, want + at, sizeof *got)) at++;
    CHECK(at == s->vocab, "%s: %s, sequence %d position %d: logit %d is %.9g, want %.9g", s->name, what, seq,
          position, at, (double)got[at], (double)want[at]);
}

/* ---- trees ---------------------------------------------------------------- */

typedef struct {
    int n, base, seq, first_row;
    int parent[TREE]; /* node index */
    int depth[TREE];
    int32_t token[TREE];
    bool right[TREE]; /* the node is on the sequence's own path */
} tree;

static tree grow_tree(const bench_run *r, int seq, int first_row) {
    tree t = {.n = 1, .base = r->computed[seq], .seq = seq, .first_row = first_row};
    t.token[0] = r->s->tokens[seq][t.base];
    t.right[0] = true;
    t.parent[0] = -1;
    int tip = 0; /* of the right path */
    const int nodes = 2 + (int)(check_u32() % (TREE - 1));
    for (; t.n < nodes; t.n++) {
        const int next = t.base + t.depth[tip] + 1;
        t.right[t.n] = next < r->s->length[seq] && check_u32() % 2;
        t.parent[t.n] = t.right[t.n] ? tip : (int)(check_u32() % (uint32_t)t.n);
        t.depth[t.n] = t.depth[t.parent[t.n]] + 1;
        t.token[t.n] =
            t.right[t.n] ? r->s->tokens[seq][next] : (int32_t)(check_u32() % (uint32_t)r->s->vocab);
        if (t.right[t.n]) tip = t.n;
    }
    return t;
}

static void add_tree(rows *b, const tree *t) {
    b->trees = true;
    for (int i = 0; i < t->n; i++)
        add_row(b, t->seq, t->token[i], t->base + t->depth[i], t->base + i,
                i ? t->first_row + t->parent[i] : -1);
}

/* The logits of a node, from its branch run token by token in the reference's scratch
 * sequence. */
static const float *branch(bench_run *ref, const tree *t, int node) {
    int path[TREE], n = 0;
    int32_t *own = ref->table + (size_t)t->seq * (size_t)ref->max_blocks;
    int32_t *scratch = ref->table + (size_t)SEQS * (size_t)ref->max_blocks;
    const int size = ref->block_size, whole = t->base / size;
    int32_t *saved = malloc((size_t)ref->max_blocks * sizeof *saved);
    memcpy(saved, scratch, (size_t)ref->max_blocks * sizeof *saved);
    memcpy(scratch, own, (size_t)whole * sizeof *own);
    for (int i = 0; i < t->base % size; i++) glia_decoder_copy_kv(ref->d, scratch[whole], i, own[whole], i);
    for (; node >= 0; node = t->parent[node]) path[n++] = node;
    const float *logits = NULL;
    for (int i = 0; i < n; i++) logits = single(ref, SEQS, t->token[path[n - 1 - i]], t->base + i);
    memcpy(scratch, saved, (size_t)ref->max_blocks * sizeof *saved);
    free(saved);
    return logits;
}

/* Accept the right path: its keys and values move to their own positions. */
static void accept(bench_run *r, const tree *t) {
    const int32_t *table = r->table + (size_t)t->seq * (size_t)r->max_blocks;
    for (int i = 0; i < t->n; i++) {
        if (!t->right[i]) continue;
        const int to = t->base + t->depth[i], from = t->base + i;
        if (to != from)
            glia_decoder_copy_kv(r->d, table[to / r->block_size], to % r->block_size,
                                 table[from / r->block_size], from % r->block_size);
        r->computed[t->seq] = to + 1;
    }
}

/* ---- schedules ------------------------------------------------------------ */

/* A prefix-cache hit: share the blocks of an equal prefix of another sequence. */
static void share_prefix(bench_run *r, int seq) {
    const int other = (seq + 1 + (int)(check_u32() % (SEQS - 1))) % SEQS;
    int common = r->computed[other] < r->s->shared ? r->computed[other] : r->s->shared;
    if (common > r->s->length[seq] - 1) common = r->s->length[seq] - 1;
    const int blocks = common / r->block_size;
    memcpy(r->table + seq * r->max_blocks, r->table + other * r->max_blocks,
           (size_t)blocks * sizeof(int32_t));
    r->computed[seq] = blocks * r->block_size;
}

static void random_step(bench_run *r, bench_run *ref, int most_rows) {
    rows b = {0};
    tree trees[SEQS];
    int n_trees = 0;
    const int first = (int)(check_u32() % SEQS);
    for (int k = 0; k < SEQS; k++) {
        const int seq = (first + k) % SEQS, room = most_rows - b.n;
        if (r->computed[seq] == r->s->length[seq] || room == 0 || (b.n && check_u32() % 4 == 0)) continue;
        if (r->computed[seq] == 0 && check_u32() % 2) share_prefix(r, seq);
        const int left = r->s->length[seq] - r->computed[seq];
        if (room >= TREE && check_u32() % 4 == 0) {
            trees[n_trees] = grow_tree(r, seq, b.n);
            add_tree(&b, &trees[n_trees++]);
            continue;
        }
        int n = 1 + (int)(check_u32() % (uint32_t)room);
        for (n = n < left ? n : left; n > 0; n--) {
            const int at = r->computed[seq]++;
            add_row(&b, seq, r->s->tokens[seq][at], at, at, -1);
        }
    }
    if (b.n == 0) return;
    for (int i = 0; i < b.n; i++)
        if (check_u32() % 8) b.logit_row[b.n_logits++] = i;
    step(r, &b);
    for (int i = 0; i < b.n_logits; i++) {
        const int row = b.logit_row[i], seq = b.seq[row], position = b.position[row];
        const tree *t = NULL;
        for (int k = 0; k < n_trees; k++)
            if (row >= trees[k].first_row && row < trees[k].first_row + trees[k].n) t = &trees[k];
        if (t && !t->right[row - t->first_row])
            compare(r->s, glia_decoder_logits(r->d, i), branch(ref, t, row - t->first_row), seq, position,
                    "a wrong branch");
        else
            compare(r->s, glia_decoder_logits(r->d, i),
                    r->s->want[seq] + (size_t)position * (size_t)r->s->vocab, seq, position,
                    t ? "a tree" : "a row");
    }
    for (int k = 0; k < n_trees; k++) accept(r, &trees[k]);
}

static void random_schedule(const subject *s, bench_run *ref, int turn) {
    static const int sizes[] = {64, 32, 128, 96};
    const int most_rows = turn % 2 ? 1 + (int)(check_u32() % ROWS) : ROWS;
    bench_run r = start(s, 1 + turn % 3, sizes[turn % 4], most_rows, true);
    bool left = true;
    while (left) {
        random_step(&r, ref, most_rows);
        left = false;
        for (int i = 0; i < SEQS; i++) left |= r.computed[i] < s->length[i];
    }
    finish(&r);
}

static void check_subject(subject *s, int longest, int schedules) {
    s->vocab = (int)s->w->config->vocab;
    s->shared = longest / 2;
    for (int i = 0; i < SEQS; i++) {
        s->length[i] = i == 0 ? longest : longest / 3 + (int)(check_u32() % (uint32_t)(longest / 2));
        s->tokens[i] = malloc((size_t)s->length[i] * sizeof *s->tokens[i]);
        s->want[i] = malloc((size_t)s->length[i] * (size_t)s->vocab * sizeof *s->want[i]);
        for (int k = 0; k < s->length[i]; k++)
            s->tokens[i][k] =
                i && k < s->shared ? s->tokens[0][k] : (int32_t)(check_u32() % (uint32_t)s->vocab);
    }
    bench_run ref = start(s, 1, 64, 1, false);
    for (int i = 0; i < SEQS; i++)
        for (int k = 0; k < s->length[i]; k++)
            memcpy(s->want[i] + (size_t)k * (size_t)s->vocab, single(&ref, i, s->tokens[i][k], k),
                   (size_t)s->vocab * sizeof(float));
    for (int turn = 0; turn < schedules; turn++) random_schedule(s, &ref, turn);
    finish(&ref);
    for (int i = 0; i < SEQS; i++) {
        free(s->tokens[i]);
        free(s->want[i]);
    }
}

/* ---- models --------------------------------------------------------------- */

static void load(subject *s, const glia_model_config *config, const char *dir, glia_dtype dtype) {
    glia_team *team;
    glia_quantize quantize;
    glia_err err = {0};
    if (glia_team_create(&team, 1, &err)) fail_msg("%s", err.msg);
    if (glia_quantize_resolve(
            &quantize,
            &(glia_quantize_choice){.scheme = s->scheme,
                                    .type = s->type,
                                    .keep = s->scheme == GLIA_QUANTIZATION_W8A8 ? "layers.1.mlp" : NULL},
            config, &err))
        fail_msg("%s", err.msg);
    const glia_weights_options options = {.dtype = dtype,
                                          .quantize = &quantize,
                                          .dummy = !dir,
                                          .seed = 7,
                                          .cpu_flags = s->cpu_flags,
                                          .team = team};
    const glia_status status = glia_weights_load(&s->w, dir, config, &options, &err);
    glia_quantize_free(&quantize);
    glia_team_free(team);
    if (status) fail_msg("%s", err.msg);
}

/* Check all number formats at one rung. */
static void check_model(const glia_model_config *config, const char *dir, const char *rung, int longest,
                        int schedules) {
    static const struct {
        const char *name;
        glia_dtype weights, cache;
        glia_quantization scheme;
        bool whole; /* sequences of full length */
        glia_quantization_type type;
    } formats[] = {
        {"weights f32, cache f32", GLIA_DTYPE_F32, GLIA_DTYPE_F32, GLIA_QUANTIZATION_NONE, true, 0},
        {"weights f32, cache bf16", GLIA_DTYPE_F32, GLIA_DTYPE_BF16, GLIA_QUANTIZATION_NONE, false, 0},
        {"weights bf16, cache f32", GLIA_DTYPE_BF16, GLIA_DTYPE_F32, GLIA_QUANTIZATION_NONE, false, 0},
        {"weights bf16, cache bf16", GLIA_DTYPE_BF16, GLIA_DTYPE_BF16, GLIA_QUANTIZATION_NONE, true, 0},
        {"weights f32, cache int8", GLIA_DTYPE_F32, GLIA_DTYPE_I8, GLIA_QUANTIZATION_NONE, false, 0},
        {"weights bf16, cache int8", GLIA_DTYPE_BF16, GLIA_DTYPE_I8, GLIA_QUANTIZATION_NONE, false, 0},
        {"int8 over bf16", GLIA_DTYPE_BF16, GLIA_DTYPE_BF16, GLIA_QUANTIZATION_INT8, false, 0},
        {"int8 over f32", GLIA_DTYPE_F32, GLIA_DTYPE_F32, GLIA_QUANTIZATION_INT8, false, 0},
        {"w8a8 over bf16", GLIA_DTYPE_BF16, GLIA_DTYPE_BF16, GLIA_QUANTIZATION_W8A8, false, 0},
        {"w8a8 over f32", GLIA_DTYPE_F32, GLIA_DTYPE_F32, GLIA_QUANTIZATION_W8A8, false, 0},
        {"int8 over bf16, not rotated", GLIA_DTYPE_BF16, GLIA_DTYPE_BF16, GLIA_QUANTIZATION_INT8, false,
         GLIA_QUANTIZATION_PER_CHANNEL_SYMMETRIC},
        {"w8a8 over bf16, not rotated", GLIA_DTYPE_BF16, GLIA_DTYPE_BF16, GLIA_QUANTIZATION_W8A8, false,
         GLIA_QUANTIZATION_PER_CHANNEL_SYMMETRIC},
    };
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        subject s = {.kv_dtype = formats[i].cache,
                     .scheme = formats[i].scheme,
                     .type = formats[i].type,
                     .cpu_flags = glia_cpu_flags()};
        glia_err err;
        if (glia_cpu_mask(&s.cpu_flags, rung, &err)) fail_msg("%s", err.msg);
        snprintf(s.name, sizeof s.name, "%s, %s, %s", dir ? dir : config->architecture, rung,
                 formats[i].name);
        load(&s, config, dir, formats[i].weights);
        const double t = check_seconds();
        const int most = s.scheme ? 130 : 200;
        check_subject(&s, least(longest, formats[i].whole ? longest_run : least(longest_run, most)),
                      schedules);
        printf("%-64s %5.1f s\n", s.name, check_seconds() - t);
        glia_weights_free(s.w);
    }
}

static const char *const configs[] = {
    "{\"architectures\":[\"Qwen3ForCausalLM\"],\"model_type\":\"qwen3\",\"vocab_size\":131,"
    "\"hidden_size\":72,\"intermediate_size\":100,\"num_hidden_layers\":4,\"num_attention_heads\":10,"
    "\"num_key_value_heads\":2,\"head_dim\":24,\"max_position_embeddings\":4096,\"rms_norm_eps\":1e-6,"
    "\"rope_theta\":10000.0,\"tie_word_embeddings\":false,\"attention_bias\":true,"
    "\"use_sliding_window\":true,\"sliding_window\":37,\"max_window_layers\":2,\"hidden_act\":\"silu\"}",
    "{\"architectures\":[\"SmolLM3ForCausalLM\"],\"model_type\":\"smollm3\",\"vocab_size\":97,"
    "\"hidden_size\":48,\"intermediate_size\":90,\"num_hidden_layers\":4,\"num_attention_heads\":3,"
    "\"num_key_value_heads\":1,\"max_position_embeddings\":4096,\"rms_norm_eps\":1e-6,"
    "\"rope_theta\":10000.0,\"tie_word_embeddings\":true,\"no_rope_layer_interval\":4,"
    "\"hidden_act\":\"silu\"}",
};
/* Models with biases of K, which an int8 cache treats on its own; one has a layer without RoPE. */
static const char *const biased[] = {"tests/golden/forward/qwen2", "tests/golden/forward/llama-untied-bias",
                                     "tests/golden/forward/smollm3-bias-window-types"};
static const char *const demos[] = {"models/qwen3-demo", "models/smollm3-demo"};

static const char *rungs[GLIA_RUNGS];
static int n_rungs;

static void test_random_models(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof configs / sizeof *configs; i++) {
        glia_model_config config;
        glia_err err = {0};
        if (glia_model_config_parse(&config, configs[i], strlen(configs[i]), "config", NULL, NULL, &err))
            fail_msg("%s", err.msg);
        for (int k = 0; k < n_rungs; k++)
            check_model(&config, NULL, rungs[k], i == 0 && k == n_rungs - 1 ? 1100 : 200, 4 * more);
        glia_model_config_free(&config);
    }
}

static void test_biased_models(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof biased / sizeof *biased; i++) {
        glia_model_config config;
        glia_err err = {0};
        if (glia_model_config_load(&config, biased[i], NULL, NULL, &err)) fail_msg("%s", err.msg);
        for (int k = 0; k < n_rungs; k++) check_model(&config, biased[i], rungs[k], 150, 2 * more);
        glia_model_config_free(&config);
    }
}

static void test_demo_models(void **state) {
    (void)state;
    int found = 0;
    for (size_t i = 0; i < sizeof demos / sizeof *demos; i++) {
        glia_model_config config;
        glia_err err = {0};
        if (!glia_dir_exists(demos[i])) continue;
        found++;
        if (glia_model_config_load(&config, demos[i], NULL, NULL, &err)) fail_msg("%s", err.msg);
        for (int k = 0; k < n_rungs; k++) check_model(&config, demos[i], rungs[k], k ? 150 : 80, 2 * more);
        glia_model_config_free(&config);
    }
    if (!found) check_skip("no demo model is here");
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_models),
        cmocka_unit_test(test_biased_models),
        cmocka_unit_test(test_demo_models),
    };
    check_begin(argc, argv);
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    longest_run = 90; /* sanitizers have an eighth of the speed, and the plain build compares the bits */
#endif
    for (int i = 1; i < argc; i++)
        if (!strcmp(argv[i], "--long")) more = 10;
    for (int i = 0; i < GLIA_RUNGS; i++) { /* each rung whose table differs from the one below */
        unsigned flags = glia_cpu_flags();
        glia_kernels k;
        const char *name = glia_rungs[i].name;
        if (glia_cpu_mask(&flags, name, NULL)) continue;
        glia_kernels_init(&k, flags);
        if (!strcmp(k.rung, name)) rungs[n_rungs++] = name;
    }
#ifdef __SANITIZE_THREAD__
    rungs[0] = rungs[n_rungs - 1]; /* still slower, and synchronisation is the same on every rung */
    n_rungs = 1;
#endif
    return check_run_group("schedule", tests);
}
