/* eagle.c - EAGLE-1, -2 and -3: a head that is run once for each level of the tree.
 *
 * Row j of the head's cache is the pair of token j + 1 and the target's state of position
 * j. Rows of a tree are pairs of a proposed token and the hidden state of the row that
 * proposed it; they are dropped, and accepted tokens are run again with the target's
 * states. Source: SafeAILab/EAGLE, cnets.py and cnets1.py. */
#include <string.h>

#include "draft/heads.h"

/* ---- learn --------------------------------------------------------------------------- */

/* Keep the hidden states of the wanted rows. */
static void run_learned(glia_head_state *s, glia_net_batch *b, const int *slot, int n_last) {
    const size_t hidden = (size_t)s->model->head->config.block.hidden;
    b->wanted = s->wanted;
    b->n_wanted = n_last;
    glia_net_eagle(&s->net, b);
    for (int i = 0; i < n_last; i++)
        memcpy(s->root + (size_t)slot[i] * hidden, glia_net_hidden(&s->net, i), hidden * sizeof(float));
}

static const glia_head_learning learning = {1, run_learned};

static glia_status learn(glia_draft *d, const glia_draft_seq *seq, int n, glia_err *err) {
    (void)err;
    glia_heads_learn(d->own, &learning, seq, n);
    return GLIA_OK;
}

/* ---- propose --------------------------------------------------------------------------- */

/* Give each tree the tokens that follow its rows, and let it choose the rows of the next level. */
static void grow_level(glia_head_state *s, int n) {
    int row = 0;
    for (int i = 0; i < n; i++) {
        glia_grow *g = &s->grow[i];
        const int first = row, end = row + g->n_rows;
        if (first == end) continue;
        for (; row < end; row++) s->ask[row] = s->pick + (size_t)row * (size_t)s->model->picks;
        glia_grow_next(g, s->ask + first, s->n_picks + first);
    }
}

/* Run the last learned rows of the sequences through the head of logits. Returns how many. */
static int run_roots(glia_head_state *s, const glia_draft_seq *seq, int n) {
    const size_t hidden = (size_t)s->model->head->config.block.hidden;
    int rows = 0;
    for (int i = 0; i < n; i++) {
        if (!s->grow[i].n_rows) continue;
        s->input[rows] = s->root + (size_t)seq[i].slot * hidden;
        glia_heads_draw(s, rows++, &seq[i], &s->grow[i], -1);
    }
    if (rows) glia_net_head(&s->net, s->input, rows);
    return rows;
}

/* Run the rows of the trees' next level. Returns how many. */
static int run_level(glia_head_state *s, const glia_draft_seq *seq, int n, int before) {
    const size_t hidden = (size_t)s->model->head->config.block.hidden;
    const int first = s->n_past - before; /* the first row of the level before */
    for (int i = 0; i < n; i++) {
        glia_grow *g = &s->grow[i];
        const int slot = seq[i].slot, at = seq[i].n_tokens - 1;
        for (int k = 0; k < g->n_rows; k++) {
            glia_candidate_node *c = &g->node[g->row[k]];
            const int parent = c->parent < 0 ? -1 : g->node[c->parent].row;
            const glia_head_row row = {c->token, slot, at + c->depth - 1,
                                       glia_net_slot(&s->net, s->used[slot]++), parent};
            const int r = glia_heads_add(s, row);
            c->row = s->n_past + r;
            s->input[r] =
                parent < 0 ? s->root + (size_t)slot * hidden : glia_net_hidden(&s->net, parent - first);
            s->wanted[r] = r;
            glia_heads_draw(s, r, &seq[i], g, g->row[k]);
        }
    }
    glia_net_batch b = glia_heads_batch(s);
    b.wanted = s->wanted;
    b.n_wanted = b.n;
    b.logits = true;
    if (b.n) glia_net_eagle(&s->net, &b);
    return b.n;
}

static glia_status propose(glia_draft *d, glia_draft_seq *seq, int n, glia_err *err) {
    glia_head_state *s = d->own;
    glia_status status = GLIA_OK;
    int run = 0;
    glia_heads_run_kept(s, &learning);
    glia_heads_begin(s, seq, n);
    for (int rows = run_roots(s, seq, n); rows > 0; rows = run) {
        status = glia_heads_pick(s, 0, rows, s->model->picks, err);
        if (status) break;
        grow_level(s, n);
        run = run_level(s, seq, n, run);
    }
    if (!status) glia_heads_finish(s, seq, n);
    return status;
}

static glia_status read_eagle(glia_draft_model *m, glia_err *err) {
    return glia_heads_read(m, GLIA_HEAD_EAGLE, err);
}
static glia_status read_eagle3(glia_draft_model *m, glia_err *err) {
    return glia_heads_read(m, GLIA_HEAD_EAGLE3, err);
}

#define EAGLE                                                                                                \
    .has_model = true, .plan_weights = glia_heads_plan_weights, .load = glia_heads_load,                     \
    .unload = glia_heads_unload, .needs = glia_heads_needs, .plan = glia_heads_plan,                         \
    .open = glia_heads_open, .close = glia_heads_close, .learn = learn, .propose = propose

const glia_draft_method glia_draft_eagle = {.name = "eagle", .leads = true, .read = read_eagle, EAGLE};
const glia_draft_method glia_draft_eagle3 = {.name = "eagle3", .leads = true, .read = read_eagle3, EAGLE};
