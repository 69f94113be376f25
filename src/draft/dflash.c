/* dflash.c - DFlash and DSpark: a block of masked tokens, filled in one pass.
 *
 * The head's cache holds the target's states as context: one key and value for each
 * position and layer. A proposal runs the known token and masks behind it as one block
 * whose rows see the context and each other. Row r of DFlash proposes the token of its
 * own position, so row 0 is not used; row r of DSpark proposes the token after its
 * position; sample_from_anchor may say otherwise. DSpark picks the tokens in order: the
 * token before adds to the logits, and a chance of acceptance below the limit cuts the chain.
 * Source: z-lab/dflash, dflash/model.py; deepseek-ai/DeepSpec, modeling of Qwen3DSparkModel;
 * speculators 0.9.0, models/dflash and models/dspark. */
#include <math.h>
#include <string.h>

#include "draft/heads.h"

static glia_status read_dflash(glia_draft_model *m, glia_err *err) {
    return glia_heads_read(m, GLIA_HEAD_DFLASH, err);
}
static glia_status read_dspark(glia_draft_model *m, glia_err *err) {
    return glia_heads_read(m, GLIA_HEAD_DSPARK, err);
}

/* ---- learn --------------------------------------------------------------------------- */

static void run_learned(glia_head_state *s, glia_net_batch *b, const int *slot, int n_last) {
    (void)slot, (void)n_last;
    glia_net_context(&s->net, b);
}

static const glia_head_learning learning = {0, run_learned};

static glia_status learn(glia_draft *d, const glia_draft_seq *seq, int n, glia_err *err) {
    (void)err;
    glia_heads_learn(d->own, &learning, seq, n);
    return GLIA_OK;
}

/* ---- propose --------------------------------------------------------------------------- */

static bool from_anchor(const glia_head_state *s) { return s->model->head->config.from_anchor; }

/* Rows of a sequence's block. dflash 0.1.0 shrinks the block to the tokens that are still wanted. */
static int block_rows(const glia_head_state *s, const glia_draft_seq *q) {
    const int whole = s->draft->model->config.tokens + 1;
    if (from_anchor(s)) return s->model->head->config.block_size;
    return q->depth + 1 < whole ? q->depth + 1 : whole;
}

/* Run the blocks. first[i]: the row of logits of sequence i's first proposed token. */
static void run_blocks(glia_head_state *s, const glia_draft_seq *seq, int n, int *first) {
    const int skip = !from_anchor(s);
    int wanted = 0;
    for (int i = 0; i < n; i++) {
        const glia_draft_seq *q = &seq[i];
        const int rows = block_rows(s, q), at = q->n_tokens - 1;
        if (!s->grow[i].n_rows) continue;
        first[i] = wanted;
        for (int r = 0; r < rows; r++) {
            const int32_t token = r ? s->model->head->config.mask_token : q->tokens[at];
            const int row = glia_heads_add(s, (glia_head_row){token, q->slot, at + r, at + r, -1});
            s->last[row] = at + rows - 1;
            if (r >= skip) s->wanted[wanted++] = row;
        }
    }
    glia_net_batch b = glia_heads_batch(s);
    b.rows.parent = NULL;
    b.rows.last = s->last;
    b.wanted = s->wanted;
    b.n_wanted = wanted;
    b.logits = true;
    if (b.n) glia_net_block(&s->net, &b);
}

/* DSpark: the logit of the chance that the token of this row is accepted. `before`: the number of the token
 * before it in the last glia_net_markov(). */
static float chance_of(const glia_head_state *s, int row, int before) {
    const glia_head *h = s->model->head;
    const float *hidden = glia_net_hidden(&s->net, row), *weight = h->confidence;
    const size_t width = (size_t)h->config.block.hidden;
    float sum = h->confidence_bias ? *h->confidence_bias : 0;
    for (size_t i = 0; i < width; i++) sum += weight[i] * hidden[i];
    for (int i = 0; h->config.confidence_has_markov && i < h->config.markov_rank; i++)
        sum += weight[width + (size_t)i] * glia_net_markov_row(&s->net, before)[i];
    return sum;
}

/* Is the chance of this row's token below the limit? */
static bool is_cut(glia_head_state *s, int row, int before) {
    if (!s->model->head->config.confidence) return false;
    s->chance[row] = chance_of(s, row, before);
    return 1 / (1 + expf(-s->chance[row])) < s->draft->model->config.threshold;
}

/* The next token of every chain that goes on, at depth `depth`. Returns how many chains there are. */
static int next_tokens(glia_head_state *s, const glia_draft_seq *seq, int n, const int *first, int depth,
                       glia_status *status, glia_err *err) {
    int32_t *const before = s->token, *const row = s->state;
    int *const who = s->seq, asking = 0;
    for (int i = 0; i < n; i++) {
        const glia_grow *g = &s->grow[i];
        if (!g->n_rows) continue;
        before[asking] = depth ? g->node[g->row[0]].token : seq[i].tokens[seq[i].n_tokens - 1];
        row[asking] = first[i] + depth;
        who[asking++] = i;
    }
    if (!asking) return 0;
    if (s->model->head->config.markov_rank) glia_net_markov(&s->net, row, before, asking);
    for (int a = 0; a < asking; a++) {
        glia_grow *g = &s->grow[who[a]];
        glia_heads_draw(s, row[a], &seq[who[a]], g, g->row[0]);
        if (is_cut(s, row[a], a)) {
            g->n_rows = 0;
            continue;
        }
        *status = glia_heads_pick(s, row[a], 1, 1, err);
        if (*status) return 0;
        const glia_pick *pick = s->pick + (size_t)row[a] * (size_t)s->model->picks;
        glia_grow_next(g, &pick, s->n_picks + row[a]);
    }
    return asking;
}

static glia_status propose(glia_draft *d, glia_draft_seq *seq, int n, glia_err *err) {
    glia_head_state *s = d->own;
    glia_status status = GLIA_OK;
    int *const first = s->used;
    glia_heads_run_kept(s, &learning);
    glia_heads_begin(s, seq, n);
    run_blocks(s, seq, n, first);
    for (int depth = 0; !status && next_tokens(s, seq, n, first, depth, &status, err) > 0;) depth++;
    if (!status) glia_heads_finish(s, seq, n);
    return status;
}

#define BLOCK                                                                                                \
    .has_model = true, .plan_weights = glia_heads_plan_weights, .load = glia_heads_load,                     \
    .unload = glia_heads_unload, .needs = glia_heads_needs, .plan = glia_heads_plan,                         \
    .open = glia_heads_open, .close = glia_heads_close, .learn = learn, .propose = propose

const glia_draft_method glia_draft_dflash = {
    .name = "dflash", .at_once = true, .shrinks = true, .read = read_dflash, BLOCK};
const glia_draft_method glia_draft_dspark = {.name = "dspark", .at_once = true, .read = read_dspark, BLOCK};
