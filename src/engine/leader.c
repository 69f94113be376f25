/* leader.c - see leader.h. */
#include "engine/leader.h"

#include <assert.h>

/* ---- memory --------------------------------------------------------------- */

/* Where the regions of the plan are. */
typedef struct {
    int tables, blocks, running, taken, runs, uses, drawn;
} regions;

static regions plan_regions(const glia_model_config *c, const glia_parallel *p, const glia_engine_limits *l,
                            glia_plan *plan) {
    const glia_blocks_shape shape = glia_limit_cache(c, p, l);
    const size_t batch = (size_t)l->batch;
    regions r;
    r.tables = glia_plan_add(plan, "block tables of the scheduler", (batch + 1) * glia_limit_blocks(l),
                             sizeof(int32_t));
    r.blocks = glia_plan_add(plan, "block manager", 1, glia_blocks_bytes(&shape));
    r.running = glia_plan_add(plan, "running sequences", batch, sizeof(glia_seq *));
    r.taken = glia_plan_add(plan, "slots taken", batch, 1);
    r.runs = glia_plan_add(plan, "runs of rows", batch, sizeof(glia_run));
    r.uses = glia_plan_add(plan, "uses of logits", glia_limit_logits(c, l), sizeof(glia_logits_use));
    r.drawn = glia_plan_add(plan, "drawn tokens", glia_limit_draws(l), sizeof(glia_drawn));
    return r;
}

void glia_leader_plan(const glia_model_config *c, const glia_parallel *p, const glia_engine_limits *l,
                      glia_plan *plan) {
    plan_regions(c, p, l, plan);
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
    l->drawn = glia_plan_at(&l->plan, at.drawn);
    l->scheduler = (glia_scheduler){
        .blocks = &l->blocks,
        .batch = limits->batch,
        .chunk = limits->chunk,
        .table = glia_plan_at(&l->plan, at.tables),
        .max_blocks = (int)glia_limit_blocks(limits),
        .running = glia_plan_at(&l->plan, at.running),
        .taken = glia_plan_at(&l->plan, at.taken),
    };
    return GLIA_OK;
}

void glia_leader_close(glia_leader *l) { glia_plan_unmap(&l->plan); }

/* ---- the order of a step ---------------------------------------------------- */

static glia_request *request_of(glia_seq *seq) { return (glia_request *)seq; }

/* Put drafts behind the tokens of every sequence that generates. */
static void propose(glia_leader *l) {
    for (int i = 0; l->draft && i < l->scheduler.n_running; i++) {
        glia_seq *seq = l->scheduler.running[i];
        const int room = seq->max_tokens - 1 - seq->n_tokens; /* the last token is never an input */
        const int most = room < l->limits.drafts ? room : l->limits.drafts;
        if (seq->n_tokens - seq->n_computed != 1 || most <= 0) continue;
        seq->n_drafts = l->draft(l->draft_user, seq, seq->tokens + seq->n_tokens, most);
        assert(seq->n_drafts >= 0 && seq->n_drafts <= most);
    }
}

static glia_run run_of(const glia_seq *seq) {
    return (glia_run){
        .seq = seq->slot,
        .position = seq->n_computed,
        .slot = seq->n_computed,
        .n = seq->rows,
        .adapter = seq->blocks.salt,
        .want = glia_seq_draws(seq) ? GLIA_WANT_LOGITS : 0,
        .last = !seq->n_drafts,
        .token = seq->tokens + seq->n_computed,
    };
}

/* Expect a token from each of the sequence's rows that draw. */
static void expect_draws(glia_leader *l, glia_seq *seq) {
    glia_request *r = request_of(seq);
    const int n = glia_seq_draws(seq);
    for (int i = 0; i < n; i++) {
        const glia_draw d = glia_request_draw(r, i);
        l->use[l->n_drawn] = (glia_logits_use){
            .best = l->rank->ranks > 1 ? glia_draw_best(&d, l->rank->shard) : 0,
            .divisor = glia_draw_divisor(&d),
        };
        glia_drawn *drawn = &l->drawn[l->n_drawn++];
        drawn->request = r;
        drawn->ahead = i;
        drawn->token = GLIA_DRAW_WHOLE; /* not drawn yet */
        drawn->whole = false;
    }
}

static void count_first_rows(glia_leader *l, const glia_seq *seq) {
    if (seq->n_computed != seq->n_cached) return;
    l->prompt_tokens += (uint64_t)seq->n_prompt;
    l->cached_tokens += (uint64_t)seq->n_cached;
}

static void order_table(const glia_leader *l, int32_t *words, int seq, const glia_block_list *list) {
    const int first = seq * l->rank->max_blocks;
    glia_order_table(words, l->rank->table + first, first, list->table, list->n);
}

int glia_leader_plan_step(glia_leader *l) {
    glia_scheduler *s = &l->scheduler;
    propose(l);
    const int rows = glia_scheduler_plan(s);
    l->n_drawn = 0;
    if (!rows) return 0;
    int32_t *words = glia_rank_order(l->rank);
    glia_order_begin(words, ORDER_STEP);
    for (int i = 0; i < s->n_running; i++) {
        order_table(l, words, s->running[i]->slot, &s->running[i]->blocks);
        l->run[i] = run_of(s->running[i]);
        count_first_rows(l, s->running[i]);
        expect_draws(l, s->running[i]);
    }
    glia_order_batch(words, l->run, s->n_running);
    glia_order_use(words, l->use, l->n_drawn);
    return rows;
}

void glia_leader_plan_score(glia_leader *l, const glia_block_list *list, const int32_t *token, int at,
                            int n) {
    const int seq = l->limits.batch; /* behind those of the running sequences */
    const glia_run run = {
        .seq = seq, .position = at, .slot = at, .n = n, .want = GLIA_WANT_LOGITS, .token = token};
    int32_t *words = glia_rank_order(l->rank);
    for (int i = 0; i < n; i++) l->use[i] = (glia_logits_use){.best = 0, .divisor = 1};
    glia_order_begin(words, ORDER_STEP);
    order_table(l, words, seq, list);
    glia_order_batch(words, &run, 1);
    glia_order_use(words, l->use, n);
}

/* ---- draws ------------------------------------------------------------------ */

static void draw(const glia_leader *l, int i, glia_sampler *sampler) {
    const glia_rank *rank = l->rank;
    glia_drawn *drawn = &l->drawn[i];
    const glia_request *r = drawn->request;
    if (drawn->token != GLIA_DRAW_WHOLE) return;
    const glia_draw d = glia_request_draw(r, drawn->ahead);
    if (l->use[i].best && !drawn->whole) {
        drawn->token =
            glia_sample_shards(sampler, glia_rank_tops(rank, i), rank->found_bytes, rank->ranks, &d);
        return;
    }
    const float *logits = glia_rank_logits(rank, i);
    drawn->token = glia_sample(sampler, logits, &d);
    if (drawn->token < 0 || r->params.logprobs < 0) return;
    const int vocab = (int)rank->config.weights->config->vocab;
    glia_logprobs(logits, vocab, drawn->token, &drawn->logprob, r->params.logprobs, drawn->top_tokens,
                  drawn->top_logprobs);
}

static void draw_share(void *arg, int thread) {
    const glia_leader *l = arg;
    size_t from, to;
    glia_guard_enter();
    glia_share((size_t)l->n_drawn, thread, l->rank->config.threads, &from, &to);
    for (size_t i = from; i < to; i++) draw(l, (int)i, &l->rank->sampler[thread]);
    glia_guard_leave();
}

bool glia_leader_draw(glia_leader *l) {
    int32_t *words = NULL;
    if (l->n_drawn == 1)
        draw(l, 0, &l->rank->sampler[0]);
    else if (l->n_drawn)
        glia_team_run(l->rank->team, draw_share, l);
    for (int32_t i = 0; i < l->n_drawn; i++) { /* a rank had to leave out equals that matter */
        if (l->drawn[i].token != GLIA_DRAW_WHOLE) continue;
        if (!words) {
            words = glia_rank_order(l->rank);
            glia_order_begin(words, ORDER_LOGITS);
        }
        glia_order_row(words, i);
        l->drawn[i].whole = true;
    }
    return words != NULL;
}
