/* leader.c - see leader.h. */
#include "engine/leader.h"

#include <assert.h>
#include <string.h>

#include "base/clock.h"

/* ---- memory --------------------------------------------------------------- */

/* Where the regions of the plan are. */
typedef struct {
    int tables, blocks, running, taken, runs, uses, segments, drawn, moves, trees, asked, states, proposals,
        known, grades, asked_last, chosen, scores;
} regions;

static regions plan_regions(const glia_model_config *c, const glia_parallel *p, const glia_engine_limits *l,
                            glia_plan *plan) {
    const glia_blocks_shape shape = glia_limit_cache(c, p, l);
    const size_t batch = (size_t)l->batch, speculates = l->drafts > 0;
    regions r;
    r.tables = glia_plan_add(plan, "block tables of the scheduler", (batch + 1) * glia_limit_blocks(l),
                             sizeof(int32_t));
    r.blocks = glia_plan_add(plan, "block manager", 1, glia_blocks_bytes(&shape));
    r.running = glia_plan_add(plan, "running sequences", batch, sizeof(glia_seq *));
    r.taken = glia_plan_add(plan, "slots taken", batch, 1);
    r.runs = glia_plan_add(plan, "runs of rows", 3 * batch + glia_limit_draws(l), sizeof(glia_run));
    r.uses = glia_plan_add(plan, "uses of logits", glia_limit_logits(c, l), sizeof(glia_logits_use));
    r.segments = glia_plan_add(plan, "rows of sequences", batch, sizeof(glia_segment));
    r.drawn = glia_plan_add(plan, "drawn tokens", glia_limit_draws(l), sizeof(glia_drawn));
    r.scores = glia_plan_add(plan, "scored tokens", (size_t)glia_limit_score_rows(c, l), sizeof(glia_drawn));
    r.moves = glia_plan_add(plan, "keys and values to copy", glia_limit_moves(l), sizeof(glia_kv_move));
    r.trees = glia_plan_add(plan, "draft: trees", speculates * batch, sizeof(glia_tree));
    r.asked = glia_plan_add(plan, "draft: sequences", speculates * batch, sizeof(glia_draft_seq));
    r.proposals = glia_plan_add(plan, "draft: proposals", speculates * batch, sizeof(glia_draft_proposal));
    r.known = glia_plan_add(plan, "draft: what it brought", speculates * batch * GLIA_PAYS_GRADES,
                            sizeof(glia_pays_seq));
    r.grades = glia_plan_add(plan, "draft: grades", speculates * batch, sizeof(int));
    r.asked_last = glia_plan_add(plan, "draft: asked last", speculates * batch, sizeof(glia_asked));
    r.chosen = glia_plan_add(plan, "draft: depths", speculates * batch, sizeof(glia_pays_ask));
    r.states = glia_plan_add(plan, "draft: states", speculates * glia_limit_rows(l), sizeof(int32_t));
    return r;
}

void glia_leader_plan(const glia_model_config *c, const glia_parallel *p, const glia_engine_limits *l,
                      glia_plan *plan) {
    plan_regions(c, p, l, plan);
}

/* The multiplications of a row with one position that it attends to, relative to those with the weights. */
static double position_work(const glia_model_config *c) {
    const double heads = (double)(c->heads * c->head_dim), kv = (double)(c->kv_heads * c->head_dim);
    const double hidden = (double)c->hidden;
    return 2 * heads / (hidden * (2 * heads + 2 * kv + 3 * (double)c->ffn));
}

glia_status glia_leader_open(glia_leader *l, glia_rank *rank, const glia_model_config *c,
                             const glia_parallel *p, const glia_engine_limits *limits, glia_err *err) {
    const glia_blocks_shape shape = glia_limit_cache(c, p, limits);
    *l = (glia_leader){.rank = rank, .limits = *limits};
    if (p->rank != 0) return GLIA_OK;
    const regions at = plan_regions(c, p, limits, &l->plan);
    const glia_status status = glia_plan_map(&l->plan, "the scheduler's tables", err);
    if (status) return status;
    glia_blocks_init(&l->blocks, glia_plan_at(&l->plan, at.blocks), &shape, limits->prefix_cache);
    l->run = glia_plan_at(&l->plan, at.runs);
    l->use = glia_plan_at(&l->plan, at.uses);
    l->segment = glia_plan_at(&l->plan, at.segments);
    l->drawn = glia_plan_at(&l->plan, at.drawn);
    l->score = glia_plan_at(&l->plan, at.scores);
    l->move = glia_plan_at(&l->plan, at.moves);
    l->drafts = (glia_drafts){.limits = *limits,
                              .tree = glia_plan_at(&l->plan, at.trees),
                              .seq = glia_plan_at(&l->plan, at.asked),
                              .proposal = glia_plan_at(&l->plan, at.proposals),
                              .known = glia_plan_at(&l->plan, at.known),
                              .grade = glia_plan_at(&l->plan, at.grades),
                              .asked = glia_plan_at(&l->plan, at.asked_last),
                              .ask = glia_plan_at(&l->plan, at.chosen),
                              .state = glia_plan_at(&l->plan, at.states)};
    l->scheduler = (glia_scheduler){
        .blocks = &l->blocks,
        .batch = limits->batch,
        .chunk = limits->chunk,
        .scored = glia_limit_score_rows(c, limits),
        .pace = {.position = position_work(c)},
        .positions = limits->sequence_length,
        .ahead = limits->depth,
        .table = glia_plan_at(&l->plan, at.tables),
        .max_blocks = (int)glia_limit_blocks(limits),
        .running = glia_plan_at(&l->plan, at.running),
        .taken = glia_plan_at(&l->plan, at.taken),
        .places = {.n = limits->adapters.places,
                   .by_uses = limits->adapters_by_uses,
                   .decay = limits->adapters_decay},
    };
    return GLIA_OK;
}

void glia_leader_close(glia_leader *l) { glia_plan_unmap(&l->plan); }

/* ---- the order of a step ---------------------------------------------------- */

static glia_request *request_of(glia_seq *seq) { return (glia_request *)seq; }

/* What the draft wants of every row. */
static unsigned kept_of(const glia_leader *l) {
    const glia_draft_needs *n = &l->limits.needs;
    return (n->hidden ? GLIA_WANT_HIDDEN : 0) | (n->n_residual_layers ? GLIA_WANT_RESIDUAL : 0);
}

/* Add a run, cut where its adapter begins to act. */
static void add_run(glia_leader *l, int begins, glia_run run) {
    const int before = run.adapter ? begins - run.position : 0;
    if (before > 0) {
        glia_run plain = run;
        plain.adapter = 0;
        if (before < run.n) {
            plain.n = before;
            if (run.last) plain.want = 0;
        }
        l->run[l->n_runs++] = plain;
        run.n -= plain.n;
        run.position += plain.n;
        run.slot += plain.n;
        run.token += plain.n;
    }
    if (run.n) l->run[l->n_runs++] = run;
}

/* The runs of rows without drafts. `every` is wanted of every row but the last one, `last` of that. */
static void add_plain(glia_leader *l, const glia_seq *seq, unsigned every, unsigned last) {
    glia_run run = {
        .seq = seq->slot,
        .position = seq->n_computed,
        .slot = seq->n_computed,
        .n = seq->rows,
        .adapter = seq->adapter,
        .want = every,
        .token = seq->tokens + seq->n_computed,
    };
    if (every && last != every && run.n > 1) {
        run.n--;
        add_run(l, seq->blocks.begins, run);
        run.position += run.n;
        run.slot += run.n;
        run.token += run.n;
        run.n = 1;
    }
    run.want = last;
    run.last = !every;
    add_run(l, seq->blocks.begins, run);
}

/* The first slot of a sequence's drafted tree. */
static int tree_slot(const glia_leader *l) {
    return glia_blocks_for(l->limits.sequence_length, l->limits.block_size) * l->limits.block_size;
}

/* The runs of a drafted tree, whose first row is row `first` of the batch. Nodes of a run are a chain. */
static void add_tree(glia_leader *l, const glia_seq *seq, const glia_tree *t, int first, unsigned want) {
    const int chain = glia_drafts_chain(t);
    for (int i = 0, n; i < t->n; i += n) {
        const int position = seq->n_computed + t->depth[i];
        for (n = 1; i + n < t->n && t->parent[i + n] == i + n - 1; n++) {
        }
        add_run(l, seq->blocks.begins,
                (glia_run){
                    .seq = seq->slot,
                    .position = position,
                    .slot = i < chain ? position : tree_slot(l) + i - 1,
                    .n = n,
                    .tree = i >= chain,
                    .parent = first + t->parent[i],
                    .adapter = seq->adapter,
                    .want = want | GLIA_WANT_LOGITS,
                    .token = t->token + i,
                });
    }
}

/* Expect draws from the segment's rows of logits. */
static void expect_draws(glia_leader *l, glia_segment *g, int n) {
    g->logits = l->n_logits;
    g->n_logits = n;
    g->node = n ? 0 : -1;
    g->drawn = &l->drawn[l->n_draws];
    l->n_draws += n;
    for (int i = 0; i < n; i++) {
        const glia_draw d = glia_request_draw(g->request, g->tree ? g->tree->depth[i] : 0);
        const bool whole = l->rank->ranks == 1 || g->request->grammar;
        l->use[l->n_logits++] = (glia_logits_use){
            .best = whole ? 0 : glia_draw_best(&d, l->rank->shard),
            .divisor = glia_draw_divisor(&d),
        };
    }
}

/* Expect the log-probabilities of prompt tokens from n rows of logits. */
static void expect_scores(glia_leader *l, glia_segment *g, int n) {
    g->scored = l->n_logits;
    g->n_scored = n;
    g->score = &l->score[l->n_scores];
    l->n_scores += n;
    for (int i = 0; i < n; i++) l->use[l->n_logits++] = (glia_logits_use){.best = 0, .divisor = 1};
}

/* Expect the hidden state of the segment's last row. Returns what that row must give. */
static unsigned expect_hidden(glia_leader *l, glia_segment *g) {
    g->hidden = l->limits.needs.hidden ? g->row + g->n_rows - 1 : l->n_hidden++;
    return GLIA_WANT_HIDDEN;
}

static void add_segment(glia_leader *l, glia_seq *seq, int row) {
    glia_segment *g = &l->segment[l->n_segments++];
    *g = (glia_segment){
        .request = request_of(seq),
        .id = request_of(seq)->id,
        .slot = seq->slot,
        .row = row,
        .n_rows = seq->rows,
        .from = seq->n_computed,
        .tree = seq->n_drafts ? &l->drafts.tree[seq->slot] : NULL,
        .hidden = -1,
    };
    const int scores = glia_seq_scores(seq), draws = glia_seq_draws(seq);
    const bool embeds = g->request->params.embed;
    const unsigned every = kept_of(l) | (scores ? GLIA_WANT_LOGITS : 0);
    if (g->tree)
        add_tree(l, seq, g->tree, row, kept_of(l));
    else
        add_plain(l, seq, every,
                  !draws ? every : kept_of(l) | (embeds ? expect_hidden(l, g) : GLIA_WANT_LOGITS));
    expect_scores(l, g, scores);
    expect_draws(l, g, embeds ? 0 : draws);
}

static void count_first_rows(glia_leader *l, glia_seq *seq) {
    if (seq->n_computed != seq->n_cached || seq->n_preempted) return;
    if (request_of(seq)->began <= 0) request_of(seq)->began = glia_seconds();
    l->prompt_tokens += (uint64_t)seq->n_prompt;
    l->cached_tokens += (uint64_t)seq->n_cached;
}

static void order_table(const glia_leader *l, int32_t *words, int seq, const glia_block_list *list) {
    const int first = seq * l->rank->max_blocks;
    glia_order_table(words, l->rank->table + first, first, list->table, list->n);
}

/* Order the adapters that sequences need and that are in no place yet. */
static void order_adapters(glia_places *p, int32_t *words) {
    for (int i = 0; i < p->n; i++) {
        if (p->place[i].fresh) glia_order_put(words, i, p->place[i].adapter);
        p->place[i].fresh = false;
    }
}

/* Begin the order of a step. */
static int32_t *begin_step(glia_leader *l) {
    int32_t *words = glia_rank_order(l->rank);
    glia_order_begin(words, ORDER_STEP);
    glia_order_moves(words, l->move, l->n_moves);
    order_adapters(&l->scheduler.places, words);
    l->n_moves = l->n_segments = l->n_logits = l->n_runs = l->n_draws = l->n_scores = l->n_hidden = 0;
    return words;
}

int glia_leader_plan_step(glia_leader *l) {
    glia_scheduler *s = &l->scheduler;
    glia_drafts_propose(&l->drafts, s, &l->draft_failed);
    const int rows = glia_scheduler_plan(s);
    l->n_segments = 0;
    l->n_rows = rows;
    if (!rows) return 0;
    int32_t *words = begin_step(l);
    for (int i = 0; i < s->n_running; i++) {
        order_table(l, words, s->running[i]->slot, &s->running[i]->blocks);
        count_first_rows(l, s->running[i]);
    }
    for (int adapter = 0, row = 0; adapter <= s->places.n; adapter++) /* rows of an adapter side by side */
        for (int i = 0; i < s->n_running; i++) {
            glia_seq *seq = s->running[i];
            if (seq->adapter != adapter) continue;
            if (seq->rows) add_segment(l, seq, row);
            row += seq->rows;
        }
    glia_order_batch(words, l->run, l->n_runs);
    glia_order_use(words, l->use, l->n_logits);
    return rows;
}

void glia_leader_plan_score(glia_leader *l, const glia_block_list *list, int adapter, int begins,
                            const int32_t *token, int at, int n) {
    const int seq = l->limits.batch; /* behind those of the running sequences */
    const glia_run run = {.seq = seq,
                          .position = at,
                          .slot = at,
                          .n = n,
                          .adapter = adapter,
                          .want = GLIA_WANT_LOGITS,
                          .token = token};
    int32_t *words = begin_step(l);
    for (int i = 0; i < n; i++) l->use[i] = (glia_logits_use){.best = 0, .divisor = 1};
    order_table(l, words, seq, list);
    add_run(l, begins, run);
    glia_order_batch(words, l->run, l->n_runs);
    glia_order_use(words, l->use, n);
}

/* ---- the store of prefixes ---------------------------------------------------------- */

/* The key behind the block that follows the chained ones. */
static glia_store_key next_key(const glia_leader *l, const glia_seq *seq) {
    glia_store_key key = {{seq->chain[0], seq->chain[1]}};
    if (seq->n_chained == 0) key = glia_store_root(l->store, seq->blocks.tenant);
    return glia_store_next(l->store, key, seq->tokens + seq->n_chained * l->limits.block_size);
}

static void chain(glia_seq *seq, glia_store_key key) {
    memcpy(seq->chain, key.word, sizeof key.word);
    seq->n_chained++;
}

/* Chain the first n blocks, and store those that are not stored. */
static void chain_to(const glia_leader *l, glia_seq *seq, int n) {
    while (seq->n_chained < n) {
        const glia_store_key key = next_key(l, seq);
        char *buffer = glia_store_has(l->store, key) ? NULL : glia_store_buffer(l->store);
        if (buffer) {
            glia_decoder_get_block(l->rank->decoder, seq->blocks.table[seq->n_chained], buffer);
            glia_store_put(l->store, key, seq->blocks.tenant, seq->tokens,
                           (seq->n_chained + 1) * l->limits.block_size);
        }
        chain(seq, key);
    }
}

/* A glia_fetch_fn. The number of an adapter does not outlive the process, so its blocks are not stored. */
static bool fetch(void *user, glia_seq *seq) {
    const glia_leader *l = user;
    const int size = l->limits.block_size, n = seq->n_computed / size;
    if (seq->blocks.salt || seq->n_chained > n) return false; /* more are chained after a preemption */
    chain_to(l, seq, n);
    const glia_store_key key = next_key(l, seq);
    const char *block = glia_store_get(l->store, key, seq->blocks.tenant, seq->tokens, (n + 1) * size);
    if (!block) return false;
    glia_decoder_put_block(l->rank->decoder, seq->blocks.table[n], block);
    chain(seq, key);
    return true;
}

void glia_leader_use_store(glia_leader *l, glia_store *store) {
    l->store = store;
    l->scheduler.fetch = fetch;
    l->scheduler.fetch_user = l;
}

void glia_leader_store(glia_leader *l) {
    const glia_scheduler *s = &l->scheduler;
    for (int i = 0; l->store && i < s->n_running; i++)
        if (!s->running[i]->blocks.salt) chain_to(l, s->running[i], s->running[i]->blocks.known);
}

/* ---- draws ------------------------------------------------------------------ */

/* What a constraint needs grows with the text; a step allocates nothing else. */
static int32_t constrain(glia_request *r, glia_draw *d) {
    const int depth = glia_guard_depth;
    glia_guard_depth = 0;
    const int32_t token = glia_request_constrain(r, d);
    glia_guard_depth = depth;
    return token;
}

/* The places of a tree's nodes, all of which the constraint allows. */
static void want_tree(glia_ahead *ahead, glia_request *r, const glia_tree *t) {
    uint32_t place[GLIA_TREE_MAX];
    for (int i = 0; i < t->n; i++) {
        place[i] =
            i ? glia_guide_after(&r->guide, place[t->parent[i]], t->token[i]) : glia_guide_place(&r->guide);
        if (i && place[i]) glia_ahead_want(ahead, r->grammar, place[i]);
    }
}

void glia_leader_mask_ahead(const glia_leader *l, glia_ahead *ahead) {
    const int depth = glia_guard_depth;
    glia_guard_depth = 0; /* the automaton of a constraint grows */
    for (int i = 0; i < l->n_segments; i++) {
        const glia_segment *g = &l->segment[i];
        glia_request *r = g->request;
        if (!r->grammar || !g->n_logits || r->next_forced < r->n_forced) continue;
        glia_ahead_want(ahead, r->grammar, glia_guide_place(&r->guide));
        if (g->tree) want_tree(ahead, r, g->tree);
    }
    glia_guard_depth = depth;
}

static void follow(glia_request *r, int32_t token) {
    const int depth = glia_guard_depth;
    glia_guard_depth = 0;
    glia_request_follow(r, token);
    glia_guard_depth = depth;
}

/* Draw from the row of the segment's next node. Returns GLIA_DRAW_WHOLE if the whole row is needed first. */
static int32_t draw(const glia_leader *l, const glia_segment *g, glia_drawn *to, glia_sampler *sampler) {
    const glia_rank *rank = l->rank;
    glia_request *r = g->request;
    const int i = g->logits + g->node;
    glia_draw d = glia_request_draw(r, g->n_drawn);
    const int32_t ends = glia_thought_forced(&r->thought);
    if (ends >= 0 && r->params.logprobs < 0) return ends;
    if (r->grammar && ends < 0) {
        const int32_t forced = constrain(r, &d);
        if (forced != -1) return forced < 0 ? -1 : forced;
    }
    if (ends < 0 && l->use[i].best && !g->whole)
        return glia_sample_shards(sampler, glia_rank_tops(rank, i), rank->found_bytes, rank->ranks, &d);
    const float *logits = glia_rank_logits(rank, i);
    const int32_t token = ends >= 0 ? ends : glia_sample(sampler, logits, &d);
    if (token < 0 || r->params.logprobs < 0) return token;
    const int vocab = (int)rank->config.weights->config->vocab;
    glia_logprobs(logits, vocab, token, &to->logprob, r->params.logprobs, to->top_tokens, to->top_logprobs);
    glia_logprobs_of(logits, vocab, r->params.logprob_token_ids, (int)r->params.n_logprob_token_ids,
                     to->top_logprobs);
    return token;
}

/* Draw from the nodes of a segment, until no node has the token that was drawn. */
static void draw_path(const glia_leader *l, glia_segment *g, glia_sampler *sampler) {
    glia_seq *seq = &g->request->seq;
    while (g->node >= 0) {
        glia_drawn *to = &g->drawn[g->n_drawn];
        to->node = g->node;
        to->token = draw(l, g, to, sampler);
        if (to->token == GLIA_DRAW_WHOLE) return;
        const int at = seq->n_tokens + g->n_drawn++;
        g->whole = false;
        g->node = g->tree && to->token >= 0 ? glia_tree_child(g->tree, g->node, to->token) : -1;
        if (to->token >= 0) seq->tokens[at] = to->token;
        if (to->token >= 0 && glia_request_follows(g->request)) follow(g->request, to->token);
        if (at + 1 == seq->max_tokens) g->node = -1;
    }
}

static void draw_share(void *arg, int thread) {
    const glia_leader *l = arg;
    size_t from, to;
    glia_guard_enter();
    glia_share((size_t)l->n_segments, thread, l->rank->config.threads, &from, &to);
    for (size_t i = from; i < to; i++) draw_path(l, &l->segment[i], &l->rank->sampler[thread]);
    glia_guard_leave();
}

bool glia_leader_draw(glia_leader *l) {
    int32_t *words = NULL;
    if (l->n_segments == 1)
        draw_path(l, &l->segment[0], &l->rank->sampler[0]);
    else if (l->n_segments)
        glia_team_run(l->rank->team, draw_share, l);
    for (int i = 0; i < l->n_segments; i++) { /* a rank had to leave out equals that matter */
        glia_segment *g = &l->segment[i];
        if (g->node < 0) continue;
        if (!words) {
            words = glia_rank_order(l->rank);
            glia_order_begin(words, ORDER_LOGITS);
        }
        glia_order_row(words, g->logits + g->node);
        g->whole = true;
    }
    return words != NULL;
}

static void score(const glia_leader *l, const glia_segment *g, int i) {
    const glia_request *r = g->request;
    glia_drawn *to = &g->score[i];
    to->token = r->seq.tokens[g->from + i + 1];
    glia_logprobs(glia_rank_logits(l->rank, g->scored + i), (int)l->rank->config.weights->config->vocab,
                  to->token, &to->logprob, r->params.prompt_logprobs - 1, to->top_tokens, to->top_logprobs);
}

static void score_share(void *arg, int thread) {
    const glia_leader *l = arg;
    size_t from, to, at = 0;
    glia_guard_enter();
    glia_share((size_t)l->n_scores, thread, l->rank->config.threads, &from, &to);
    for (int i = 0; i < l->n_segments; i++)
        for (int k = 0; k < l->segment[i].n_scored; k++, at++)
            if (at >= from && at < to) score(l, &l->segment[i], k);
    glia_guard_leave();
}

void glia_leader_score(glia_leader *l) {
    if (l->n_scores) glia_team_run(l->rank->team, score_share, l);
}

void glia_leader_learn(glia_leader *l) {
    glia_drafts_learn(&l->drafts, l->segment, l->n_segments, &l->draft_failed);
}

void glia_leader_accept(glia_leader *l, const glia_segment *g, int i) {
    glia_seq *seq = &g->request->seq;
    const int node = g->drawn[i + 1].node, to = seq->n_computed, size = l->limits.block_size;
    if (node >= glia_drafts_chain(g->tree)) {
        const int from = tree_slot(l) + node - 1;
        const int32_t *table = l->rank->table + seq->slot * l->rank->max_blocks;
        l->move[l->n_moves++] =
            (glia_kv_move){seq->blocks.table[to / size], to % size, table[from / size], from % size};
    }
    glia_scheduler_accept(&l->scheduler, seq);
}

int32_t glia_leader_force(glia_request *r) {
    const int32_t token = glia_request_forced(r);
    if (token < 0) return -1;
    r->seq.tokens[r->seq.n_tokens] = token;
    follow(r, token);
    return token;
}
