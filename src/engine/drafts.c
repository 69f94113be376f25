/* drafts.c - see drafts.h. */
#include "engine/drafts.h"

#include <assert.h>

#include "base/clock.h"

#include "base/arena.h"

static int least(int a, int b) { return a < b ? a : b; }

int glia_drafts_chain(const glia_tree *t) {
    int n = 1;
    while (n < t->n && t->parent[n] == n - 1) n++;
    return n;
}

/* The most tokens of a path that this sequence can use. */
static int room_of(const glia_drafts *d, const glia_scheduler *s, const glia_seq *seq) {
    const int traced = d->model->config.method->shrinks ? seq->max_tokens : glia_scheduler_reach(s, seq);
    const int own = d->trace ? traced : seq->max_tokens - 1;
    return least(d->limits.depth, least(own, d->limits.sequence_length) - seq->n_tokens);
}

static void ask(glia_drafts *d, glia_scheduler *s, glia_seq *seq, int depth, int n) {
    const glia_request *r = (const glia_request *)seq;
    glia_tree *tree = &d->tree[seq->slot];
    glia_scheduler_reserve(s, seq, seq->n_tokens + depth);
    glia_tree_begin(tree, seq->tokens[seq->n_tokens - 1]);
    d->seq[n] = (glia_draft_seq){
        .slot = seq->slot,
        .id = r->id,
        .tokens = seq->tokens,
        .n_tokens = seq->n_tokens,
        .table = seq->blocks.table,
        .depth = depth,
        .nodes = d->limits.drafts,
        .draw = glia_request_draw(r, 0),
        .tree = tree,
    };
}

static glia_status fail(glia_drafts *d, glia_status status) {
    d->over |= status != GLIA_OK;
    return status;
}

/* Leave out of the tree what the request's constraint does not allow. */
static void cut(glia_tree *t, glia_request *r) {
    uint32_t place[GLIA_TREE_MAX];
    int16_t kept[GLIA_TREE_MAX] = {0};
    int n = 1;
    place[0] = glia_guide_place(&r->guide);
    for (int i = 1; i < t->n; i++) {
        const int parent = kept[t->parent[i]], at = r->next_forced + t->depth[i] - 1;
        const bool may = parent >= 0 && (at >= r->n_forced || r->forced[at] == t->token[i]);
        const uint32_t next = may ? glia_guide_after(&r->guide, place[parent], t->token[i]) : 0;
        kept[i] = -1;
        if (!next) continue;
        place[n] = next;
        t->token[n] = t->token[i];
        t->parent[n] = (int16_t)parent;
        t->depth[n] = t->depth[i];
        t->score[n] = t->score[i];
        kept[i] = (int16_t)n++;
    }
    t->n = n;
}

static void take_tree(const glia_drafts *d, glia_seq *seq) {
    glia_tree *t = &d->tree[seq->slot];
    const int depth = glia_guard_depth;
    glia_guard_depth = 0; /* the automaton of a constraint grows */
    if (((glia_request *)seq)->grammar) cut(t, (glia_request *)seq);
    glia_guard_depth = depth;
    seq->n_drafts = t->n - 1;
    seq->n_away = t->n - glia_drafts_chain(t);
    assert(seq->n_drafts <= d->limits.drafts);
}

/* Can the sequence use drafts in the coming step, and how deep? */
static int depth_for(const glia_drafts *d, const glia_scheduler *s, const glia_seq *seq) {
    const int room = seq->n_tokens - seq->n_computed == 1 ? room_of(d, s, seq) : 0;
    return room > 0 ? room : 0;
}

/* The depth that pays for the sequences that can use drafts. */
static int choose_depth(glia_drafts *d, const glia_scheduler *s) {
    const glia_pays_seq *seq[GLIA_PAYS_ROWS];
    const bool chain = d->limits.drafts == d->limits.depth;
    const double rows = (double)d->limits.drafts / d->limits.depth;
    int n = 0, most = 0;
    if (d->trace) return d->limits.depth;
    for (int i = 0; i < s->n_running && n < GLIA_PAYS_ROWS; i++) {
        const glia_seq *one = s->running[i];
        const uint64_t id = ((const glia_request *)one)->id;
        const int room = depth_for(d, s, one);
        if (!room) continue;
        if (d->known[one->slot].id != id) glia_pays_begin_seq(&d->pays, &d->known[one->slot], id);
        seq[n++] = &d->known[one->slot];
        most = room > most ? room : most;
    }
    return glia_pays_choose(&d->pays, seq, n, chain ? 1 : most, most, rows);
}

/* Ask the draft, and measure what it costs, unless it has to catch up with a sequence first. */
static glia_status ask_draft(glia_drafts *d, int n, glia_err *err) {
    int deepest = 0;
    bool caught_up = true;
    for (int i = 0; i < n; i++) {
        uint64_t *asked = &d->asked[d->seq[i].slot];
        caught_up &= *asked == d->seq[i].id;
        *asked = d->seq[i].id;
        deepest = d->seq[i].depth > deepest ? d->seq[i].depth : deepest;
    }
    const double start = glia_seconds();
    const glia_status status = d->model->config.method->propose(&d->draft, d->seq, n, err);
    if (caught_up) glia_pays_level(&d->pays, deepest, glia_seconds() - start);
    return status;
}

glia_status glia_drafts_propose(glia_drafts *d, glia_scheduler *s, glia_err *err) {
    int n = 0;
    if (!d->model || d->over) return GLIA_OK;
    const int most = choose_depth(d, s);
    for (int i = 0; i < s->n_running; i++) {
        glia_seq *seq = s->running[i];
        const int depth = least(depth_for(d, s, seq), most);
        glia_tree_begin(&d->tree[seq->slot], seq->tokens[seq->n_tokens - 1]);
        if (depth > 0)
            ask(d, s, seq, depth, n++);
        else
            d->asked[seq->slot] = 0;
    }
    if (!n) return GLIA_OK;
    const glia_status status = ask_draft(d, n, err);
    for (int i = 0; !status && i < s->n_running; i++)
        if (s->running[i]->n_tokens - s->running[i]->n_computed == 1) take_tree(d, s->running[i]);
    return fail(d, status);
}

void glia_drafts_time(glia_drafts *d, const glia_segment *segment, int n, double seconds) {
    int rows = 0;
    for (int i = 0; i < n; i++) {
        if (!segment[i].tree && segment[i].n_rows > 1) return; /* rows of a prompt */
        rows += segment[i].n_rows;
    }
    glia_pays_step(&d->pays, rows, seconds);
}

/* The numbers of the wanted rows along the path that was drawn. */
static int path_states(const glia_segment *g, int32_t *state) {
    int n = 0;
    for (int i = 0; i < g->n_rows && !g->tree; i++) state[n++] = g->row + i;
    for (int i = 0; i < g->n_drawn && g->tree; i++) state[n++] = g->row + g->drawn[i].node;
    return n;
}

glia_status glia_drafts_learn(glia_drafts *d, const glia_segment *segment, int n, glia_err *err) {
    int32_t *state = d->state;
    if (!d->model || d->over || !d->model->config.method->learn) return GLIA_OK;
    for (int i = 0; i < n; i++) {
        const glia_segment *g = &segment[i];
        const glia_seq *seq = &g->request->seq;
        const int rows = path_states(g, state);
        d->seq[i] = (glia_draft_seq){
            .slot = seq->slot,
            .id = g->request->id,
            .tokens = seq->tokens,
            .n_tokens = seq->n_tokens + g->n_drawn,
            .table = seq->blocks.table,
            .from = g->from,
            .to = g->from + rows,
            .state = state,
        };
        state += rows;
    }
    return fail(d, d->model->config.method->learn(&d->draft, d->seq, n, err));
}

static void count(glia_draft_counts *c, int nodes, int accepted) {
    c->drafts++;
    c->draft_tokens += (uint64_t)nodes;
    c->accepted_tokens += (uint64_t)accepted;
    for (int i = 0; i < accepted && i < GLIA_DRAFT_POSITIONS; i++) c->accepted_at[i]++;
}

void glia_drafts_count(glia_drafts *d, const glia_segment *segment, int n) {
    size_t proposals = 0;
    for (int i = 0; i < n; i++) {
        const glia_segment *g = &segment[i];
        if (!g->tree) continue;
        const int accepted = least(g->n_delivered, g->n_drawn - 1);
        count(&d->counts, g->tree->n - 1, accepted);
        glia_pays_accept(&d->pays, &d->known[g->slot], g->tree->depth[g->tree->n - 1], accepted);
        d->proposal[proposals++] = (glia_draft_proposal){g->id,           g->tree->n,     g->tree->token,
                                                         g->tree->parent, g->tree->score, accepted};
    }
    if (!proposals) return;
    glia_guard_leave();
    if (d->trace) d->trace(d->trace_user, d->round, d->proposal, proposals);
    glia_guard_enter();
    d->round++;
}
