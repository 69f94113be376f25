/* drafts.c - see drafts.h. */
#include "engine/drafts.h"

#include <assert.h>

#include "base/arena.h"
#include "base/clock.h"

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

/* The most nodes of a proposal of `depth` levels. Trees that grow by scores get narrower with their depth. */
static int nodes_of(const glia_drafts *d, int depth) {
    const glia_tree_shape *shape = &d->model->config.tree;
    int nodes[GLIA_TREE_MAX] = {0}, n = 0;
    if (shape->kind == GLIA_TREE_CHAIN) return depth;
    if (shape->kind == GLIA_TREE_DYNAMIC)
        return (d->limits.drafts * depth + d->limits.depth - 1) / d->limits.depth;
    for (int i = 1; i < shape->n; i++) {
        nodes[i] = nodes[shape->parent[i]] + 1;
        n += nodes[i] <= depth;
    }
    return n;
}

/* What names the sequence to a draft: another number after each preemption, since its blocks are others. */
static uint64_t id_of(const glia_seq *seq) {
    return ((const glia_request *)seq)->id | (uint64_t)seq->n_preempted << 48;
}

static void ask(glia_drafts *d, glia_seq *seq, int depth, int n) {
    const glia_request *r = (const glia_request *)seq;
    glia_tree *tree = &d->tree[seq->slot];
    glia_tree_begin(tree, seq->tokens[seq->n_tokens - 1]);
    d->seq[n] = (glia_draft_seq){
        .slot = seq->slot,
        .id = id_of(seq),
        .tokens = seq->tokens,
        .n_tokens = seq->n_tokens,
        .table = seq->blocks.table,
        .depth = depth,
        .nodes = d->trace ? d->limits.drafts : nodes_of(d, depth),
        .stop = {(float)d->pays.least, d->pays.lead_chance},
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
        t->lead[n] = t->lead[i];
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
    /* The last row of a prompt may be wanted for its hidden state, or among rows that give scores. */
    if (seq->n_tokens == seq->n_prompt && (seq->scored || ((const glia_request *)seq)->params.embed))
        return 0;
    const int room = seq->n_tokens - seq->n_computed == 1 ? room_of(d, s, seq) : 0;
    return room > 0 ? room : 0;
}

void glia_drafts_begin(glia_drafts *d) {
    const glia_draft_method *method = d->model->config.method;
    glia_plan draft = {0};
    glia_pays_begin(&d->pays);
    if (method->plan_weights) method->plan_weights(d->model, &draft);
    d->pays.share = (double)draft.bytes / (double)(glia_weights_matrix_bytes(d->draft.weights) + 1);
    d->pays.at_once = method->at_once;
    d->pays.stops = method->leads && !d->trace && d->model->config.tree.kind == GLIA_TREE_CHAIN;
    for (int i = 1; i <= GLIA_PAYS_DEPTH; i++) d->pays.nodes[i] = nodes_of(d, least(i, d->limits.depth));
}

/* Tokens that the draft has not seen. A method that learns from the target's states has seen all. */
static int behind_of(const glia_drafts *d, const glia_seq *seq) {
    const glia_asked *asked = &d->asked[seq->slot];
    if (d->model->config.method->learn) return 0;
    return seq->n_tokens - (asked->id == id_of(seq) ? asked->n_tokens : seq->n_cached);
}

/* What is known of the coming proposal for the sequence; NULL: the draft would propose nothing. */
static glia_pays_seq *known_of(glia_drafts *d, const glia_seq *seq) {
    const glia_draft_method *method = d->model->config.method;
    const glia_draft_seq q = {.slot = seq->slot,
                              .id = id_of(seq),
                              .tokens = seq->tokens,
                              .n_tokens = seq->n_tokens,
                              .table = seq->blocks.table};
    glia_pays_seq *known = &d->known[seq->slot * GLIA_PAYS_GRADES];
    const int grade = d->grade[seq->slot] = method->grade ? method->grade(&d->draft, &q) : 0;
    if (known->id != q.id) glia_pays_begin_seq(&d->pays, known, q.id);
    return grade < 0 ? NULL : &known[grade];
}

/* Set the depth of d->ask [n] to what pays, one for each sequence that the draft can be asked for, in order.
 * Sets d->grade of each sequence. */
static void choose_depths(glia_drafts *d, const glia_scheduler *s) {
    int n = 0, generating = 0;
    for (int i = 0; i < s->n_running; i++) {
        const glia_seq *seq = s->running[i];
        const int room = depth_for(d, s, seq);
        glia_pays_seq *known = room ? known_of(d, seq) : NULL;
        generating += seq->n_tokens - seq->n_computed == 1;
        if (!known) {
            d->grade[seq->slot] = -1;
            continue;
        }
        d->ask[n++] = (glia_pays_ask){.known = known,
                                      .room = room,
                                      .behind = behind_of(d, seq),
                                      .left = seq->max_tokens - seq->n_tokens,
                                      .depth = room};
    }
    if (!d->trace) glia_pays_choose(&d->pays, d->ask, n, generating);
}

/* Levels that chains which end early took. */
static int levels_of(const glia_drafts *d, int n) {
    int levels = 1;
    for (int i = 0; i < n; i++) levels = d->seq[i].tree->n > levels + 1 ? d->seq[i].tree->n - 1 : levels;
    return levels;
}

/* Ask the draft, and measure what it costs. */
static glia_status ask_draft(glia_drafts *d, int n, glia_err *err) {
    int deepest = 0, behind = 0;
    for (int i = 0; i < n; i++) {
        glia_asked *asked = &d->asked[d->seq[i].slot];
        behind += glia_pays_asleep(d->ask[i].behind) ? d->ask[i].behind : 0;
        *asked = (glia_asked){d->seq[i].id, d->seq[i].n_tokens};
        deepest = d->seq[i].depth > deepest ? d->seq[i].depth : deepest;
    }
    const double start = glia_seconds();
    const glia_status status = d->model->config.method->propose(&d->draft, d->seq, n, err);
    if (d->pays.stops) deepest = levels_of(d, n);
    d->spent = glia_pays_proposal(&d->pays, n, deepest, behind, glia_seconds() - start);
    return status;
}

glia_status glia_drafts_propose(glia_drafts *d, glia_scheduler *s, glia_err *err) {
    int n = 0;
    if (!d->model || d->over) return GLIA_OK;
    d->spent = 0;
    choose_depths(d, s);
    for (int i = 0, k = 0; i < s->n_running; i++) {
        glia_seq *seq = s->running[i];
        glia_tree_begin(&d->tree[seq->slot], seq->tokens[seq->n_tokens - 1]);
        if (d->grade[seq->slot] < 0) continue;
        const glia_pays_ask chosen = d->ask[k++];
        if (!chosen.depth || !glia_scheduler_reserve(s, seq, seq->n_tokens + chosen.depth)) continue;
        d->ask[n] = chosen;
        ask(d, seq, chosen.depth, n++);
    }
    if (!n) return GLIA_OK;
    const glia_status status = ask_draft(d, n, err);
    for (int i = 0; !status && i < s->n_running; i++)
        if (s->running[i]->n_tokens - s->running[i]->n_computed == 1) take_tree(d, s->running[i]);
    return fail(d, status);
}

void glia_drafts_time(glia_drafts *d, const glia_segment *segment, int n, double seconds) {
    int rows = 0;
    bool prompts = false;
    if (!d->model) return;
    for (int i = 0; i < n; i++) {
        prompts |= !segment[i].tree && segment[i].n_rows > 1;
        rows += segment[i].n_rows;
    }
    if (prompts)
        glia_pays_prompt(&d->pays, rows, seconds);
    else
        glia_pays_step(&d->pays, rows, seconds);
    d->spent = prompts ? -1 : d->spent + seconds;
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
            .id = id_of(seq),
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
    int tokens = 0;
    for (int i = 0; i < n; i++) {
        const glia_segment *g = &segment[i];
        tokens += g->n_delivered;
        if (!g->tree) continue;
        const int accepted = least(g->n_delivered, g->n_drawn - 1);
        count(&d->counts, g->tree->n - 1, accepted);
        glia_pays_accept(&d->pays, &d->known[g->slot * GLIA_PAYS_GRADES + d->grade[g->slot]],
                         g->tree->depth[g->tree->n - 1], accepted);
        if (d->pays.stops) glia_pays_leads(&d->pays, g->tree->lead + 1, g->tree->n - 1, accepted);
        d->proposal[proposals++] = (glia_draft_proposal){g->id,           g->tree->n,     g->tree->token,
                                                         g->tree->parent, g->tree->score, accepted};
    }
    if (d->model && d->spent >= 0) glia_pays_settle(&d->pays, n, proposals > 0, tokens, d->spent);
    if (!proposals) return;
    glia_guard_leave();
    if (d->trace) d->trace(d->trace_user, d->round, d->proposal, proposals);
    glia_guard_enter();
    d->round++;
}
