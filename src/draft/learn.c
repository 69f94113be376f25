/* learn.c - what EAGLE, DFlash and DSpark heads learn from the target's states.
 *
 * A step without drafts gives one row of a sequence. A head that ran it at once would read all
 * its weights for it. So a few rows of states are kept for each sequence, and run together: when
 * a proposal needs them, when there are too many, or when the sequence has left the batch. */
#include <string.h>

#include "draft/heads.h"

size_t glia_heads_kept_floats(const glia_head_config *c) {
    return (size_t)(c->n_features ? c->n_features : 1) * (size_t)c->target_hidden;
}

/* ---- running rows ----------------------------------------------------------------- */

typedef struct {
    glia_head_state *s;
    const glia_head_learning *how;
    int n_last;
} call;

static void run(call *c) {
    glia_head_state *s = c->s;
    glia_net_batch b = glia_heads_batch(s);
    b.state = s->state;
    b.kept = s->input;
    b.rows.parent = NULL;
    if (b.n) c->how->run(s, &b, s->last, c->n_last);
    glia_heads_clear(s);
    c->n_last = 0;
}

/* Add the row of position p of the sequence in `slot`; `state` or `kept` has the target's states. */
static void add(call *c, int slot, int32_t token, int p, int32_t state, const float *kept, bool last) {
    glia_head_state *s = c->s;
    const int row = glia_heads_add(s, (glia_head_row){token, slot, p, p, -1});
    s->state[row] = state;
    s->input[row] = kept;
    if (last) {
        s->wanted[c->n_last] = row;
        s->last[c->n_last++] = slot;
    }
    if (row + 1 == s->net.max_rows) run(c);
}

/* ---- kept rows -------------------------------------------------------------------- */

static float *kept_row(const glia_head_state *s, int slot, int i) {
    return s->kept_states +
           ((size_t)slot * GLIA_HEAD_KEPT + (size_t)i) * glia_heads_kept_floats(&s->model->head->config);
}

/* Add the kept rows of a slot. `last`: no other row of the sequence follows. */
static void add_kept(call *c, int slot, bool last) {
    glia_head_state *s = c->s;
    glia_head_kept *k = &s->kept[slot];
    for (int i = 0; i < k->n; i++)
        add(c, slot, k->token[i], k->from + i, 0, kept_row(s, slot, i), last && i + 1 == k->n);
    if (last && k->n) s->root_at[slot] = k->from + k->n + 1;
    if (last && k->n) s->root_id[slot] = k->id;
    k->n = 0;
}

void glia_heads_run_kept(glia_head_state *s, const glia_head_learning *how) {
    call c = {s, how, 0};
    glia_heads_clear(s);
    for (int slot = 0; slot < s->draft->limits.batch; slot++) add_kept(&c, slot, true);
    run(&c);
}

/* Does a slot hold rows of a sequence that is not among seq [n]? Its blocks may be others' from now on. */
static bool has_gone(const glia_head_state *s, const glia_draft_seq *seq, int n) {
    for (int slot = 0; slot < s->draft->limits.batch; slot++) {
        int i = 0;
        while (i < n && (seq[i].slot != slot || seq[i].id != s->kept[slot].id)) i++;
        if (i == n && s->kept[slot].n) return true;
    }
    return false;
}

static void keep(glia_head_state *s, const glia_draft_seq *q, int ahead) {
    const glia_head_config *c = &s->model->head->config;
    const size_t width = (size_t)c->target_hidden;
    glia_head_kept *k = &s->kept[q->slot];
    if (!k->n) *k = (glia_head_kept){.id = q->id, .from = q->from};
    for (int p = q->from; p < q->to; p++, k->n++) {
        const int32_t state = q->state[p - q->from];
        float *to = kept_row(s, q->slot, k->n);
        k->token[k->n] = q->tokens[p + ahead];
        for (int i = 0; i < c->n_features; i++)
            memcpy(to + (size_t)i * width, glia_decoder_residual(s->draft->target, i, state),
                   width * sizeof *to);
        if (!c->n_features) memcpy(to, glia_decoder_hidden(s->draft->target, state), width * sizeof *to);
    }
}

/* ---- a step ------------------------------------------------------------------------- */

void glia_heads_learn(glia_head_state *s, const glia_head_learning *how, const glia_draft_seq *seq, int n) {
    call c = {s, how, 0};
    if (has_gone(s, seq, n)) glia_heads_run_kept(s, how);
    glia_heads_clear(s);
    for (int i = 0; i < n; i++) {
        const glia_draft_seq *q = &seq[i];
        glia_head_kept *k = &s->kept[q->slot];
        if (q->to <= q->from) continue;
        glia_net_table(&s->net, q->slot, q->table, q->to);
        if (k->n && k->from + k->n != q->from) add_kept(&c, q->slot, true);
        if (k->n + q->to - q->from <= GLIA_HEAD_KEPT) {
            keep(s, q, how->ahead);
            continue;
        }
        add_kept(&c, q->slot, false);
        for (int p = q->from; p < q->to; p++)
            add(&c, q->slot, q->tokens[p + how->ahead], p, q->state[p - q->from], NULL, p + 1 == q->to);
        s->root_id[q->slot] = q->id;
        s->root_at[q->slot] = q->to + 1;
    }
    run(&c);
}
