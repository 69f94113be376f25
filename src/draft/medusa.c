/* medusa.c - Medusa: each head proposes the token of one position, from one state of the target.
 *
 * Head h reads the normed hidden state of position p and proposes the token at p + 2 + h. So
 * all rows of a level have the same tokens, and one call serves the whole tree.
 * Source: FasterDecoding/Medusa, medusa_model.py and utils.py; vLLM, medusa.py. */
#include <string.h>

#include "draft/heads.h"

static glia_status read_medusa(glia_draft_model *m, glia_err *err) {
    return glia_heads_read(m, GLIA_HEAD_MEDUSA, err);
}

/* Keep the hidden state of each sequence's last row. */
static glia_status learn(glia_draft *d, const glia_draft_seq *seq, int n, glia_err *err) {
    glia_head_state *s = d->own;
    const size_t hidden = (size_t)s->model->head->config.block.hidden;
    (void)err;
    for (int i = 0; i < n; i++) {
        const glia_draft_seq *q = &seq[i];
        if (q->to <= q->from) continue;
        memcpy(s->root + (size_t)q->slot * hidden,
               glia_decoder_hidden(d->target, q->state[q->to - 1 - q->from]), hidden * sizeof(float));
        s->root_id[q->slot] = q->id;
        s->root_at[q->slot] = q->to + 1;
    }
    return GLIA_OK;
}

/* Row of logits of head `depth` for the r-th of `asking` sequences. */
static int row_of(int depth, int r, int asking) { return depth * asking + r; }

/* Set the draw of a head's row, also of a tree that is complete: rows are picked for all sequences at once.
 * The path is that of the likeliest tokens, since the tree has many. */
static void set_draws(glia_head_state *s, const glia_draft_seq *seq, int row, int depth, int asking) {
    int32_t *path = s->path + (size_t)row * GLIA_TREE_MAX;
    s->draw[row] = seq->draw;
    s->draw[row].path = path;
    s->draw[row].n_path = (size_t)depth;
    for (int k = depth, r = row - asking; k > 0; k--, r -= asking)
        path[k - 1] = s->pick[(size_t)r * (size_t)s->model->picks].token;
}

/* Grow one level of all trees with the tokens of head `depth`. Returns whether a tree goes on. */
static bool grow_level(glia_head_state *s, int n, int depth, int asking, const int *number) {
    bool more = false;
    for (int i = 0; i < n; i++) {
        glia_grow *g = &s->grow[i];
        if (!g->n_rows) continue;
        const int row = row_of(depth, number[i], asking);
        int counts[GLIA_TREE_MAX];
        const glia_pick *picks[GLIA_TREE_MAX];
        for (int k = 0; k < g->n_rows; k++) {
            counts[k] = s->n_picks[row];
            picks[k] = s->pick + (size_t)row * (size_t)s->model->picks;
        }
        glia_grow_next(g, picks, counts);
        more |= g->n_rows > 0;
    }
    return more;
}

static glia_status propose(glia_draft *d, glia_draft_seq *seq, int n, glia_err *err) {
    glia_head_state *s = d->own;
    const size_t hidden = (size_t)s->model->head->config.block.hidden;
    int *const number = s->last, asking = 0;
    glia_status status = GLIA_OK;
    glia_heads_begin(s, seq, n);
    for (int i = 0; i < n; i++) {
        number[i] = s->grow[i].n_rows ? asking : -1;
        if (number[i] >= 0) s->input[asking++] = s->root + (size_t)seq[i].slot * hidden;
    }
    if (!asking) return GLIA_OK;
    glia_net_medusa(&s->net, &(glia_net_batch){.n = asking, .input = s->input});
    bool more = true;
    for (int depth = 0; depth < s->model->head->config.heads && more && !status; depth++) {
        for (int i = 0; i < n; i++)
            if (number[i] >= 0) set_draws(s, &seq[i], row_of(depth, number[i], asking), depth, asking);
        status = glia_heads_pick(s, row_of(depth, 0, asking), asking, s->model->picks, err);
        if (!status) more = grow_level(s, n, depth, asking, number);
    }
    if (!status) glia_heads_finish(s, seq, n);
    return status;
}

const glia_draft_method glia_draft_medusa = {
    .name = "medusa",
    .has_model = true,
    .at_once = true,
    .read = read_medusa,
    .plan_weights = glia_heads_plan_weights,
    .load = glia_heads_load,
    .unload = glia_heads_unload,
    .needs = glia_heads_needs,
    .plan = glia_heads_plan,
    .open = glia_heads_open,
    .close = glia_heads_close,
    .learn = learn,
    .propose = propose,
};
