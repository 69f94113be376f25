/* engine.c - the step loop: fill a batch, run it, draw, tell.
 *
 * Between entry and exit of a step nothing is allocated; the guard is lifted
 * only around the user's callbacks. */
#include "engine/engine.h"

#include <assert.h>
#include <stdlib.h>

#include "base/cpu.h"
#include "engine/engine_impl.h"

/* Regions of the leader's plan, in order. */
enum { REGION_TABLES, REGION_BLOCKS, REGION_QUEUES };

/* ---- memory --------------------------------------------------------------- */

static int max_blocks(const glia_engine_limits *l) {
    return glia_blocks_for(l->sequence_length, l->block_size);
}

static void plan_leader(const glia_blocks_shape *shape, const glia_engine_limits *l, glia_plan *plan) {
    const size_t batch = (size_t)l->batch, blocks = (size_t)max_blocks(l);
    glia_plan_add(plan, "block tables of the scheduler", (batch + 1) * blocks, sizeof(int32_t));
    glia_plan_add(plan, "block manager", 1, glia_blocks_bytes(shape));
    glia_plan_add(plan, "queues", batch, sizeof(glia_seq *) + sizeof(glia_request *) + 1);
}

void glia_engine_plan(const glia_model_config *c, const glia_parallel *p, const glia_engine_limits *l,
                      int threads, glia_comm_kind kind, glia_plan *plan) {
    const glia_blocks_shape shape = glia_rank_blocks(c, p, l);
    const size_t area = glia_rank_area_bytes(c, p, l);
    glia_rank_plan(c, p, l, threads, plan);
    if (p->rank == 0) plan_leader(&shape, l, plan);
    glia_plan_add(plan, "what other ranks read", 1, area);
    if (area) glia_plan_add(plan, "messages between ranks", 1, glia_comm_memory(kind, p->tp, area) - area);
}

glia_status glia_engine_plan_leader(glia_engine *e, glia_err *err) {
    const glia_engine_limits *l = &e->config.limits;
    const glia_parallel *p = &e->config.weights[0]->parallel;
    const glia_blocks_shape shape = glia_rank_blocks(e->config.model, p, l);
    if (p->rank != 0) return GLIA_OK;
    plan_leader(&shape, l, &e->plan);
    const glia_status status = glia_plan_map(&e->plan, "the scheduler's tables", err);
    if (status) return status;
    glia_blocks_init(&e->blocks, glia_plan_at(&e->plan, REGION_BLOCKS), &shape, l->prefix_cache);
    glia_seq **running = glia_plan_at(&e->plan, REGION_QUEUES);
    e->ready = (glia_request **)(running + l->batch);
    e->scheduler = (glia_scheduler){
        .blocks = &e->blocks,
        .batch = l->batch,
        .chunk = l->chunk,
        .table = glia_plan_at(&e->plan, REGION_TABLES),
        .max_blocks = max_blocks(l),
        .running = running,
        .taken = (unsigned char *)(e->ready + l->batch),
    };
    return GLIA_OK;
}

/* What the ranks of this process hold. */
static void count_memory(glia_engine *e) {
    const glia_engine_config *c = &e->config;
    const glia_comm_kind kind = glia_comm_kind_of(c->world);
    e->stats.plan_bytes = e->plan.bytes;
    for (int i = 0; i < c->n_ranks; i++) {
        glia_plan plan = {0};
        const glia_parallel *p = &c->weights[i]->parallel;
        glia_rank_plan(c->model, p, &c->limits, c->threads, &plan);
        const size_t area = glia_rank_area_bytes(c->model, p, &c->limits);
        e->stats.plan_bytes += plan.bytes + (area ? glia_comm_memory(kind, p->tp, area) : 0);
        e->stats.weight_bytes += c->weights[i]->plan.bytes;
    }
}

glia_status glia_engine_open(glia_engine **out, const glia_engine_config *config, glia_err *err) {
    glia_err why = {0}; /* ranks tell each other, whether the caller asks or not */
    *out = NULL;
    glia_engine *e = calloc(1, sizeof *e);
    if (!e) return glia_fail_nomem(err, sizeof *e, "the engine");
    e->config = *config;
    e->model = config->model;
    e->score_rows = glia_rank_score_rows(e->model, &config->limits);
    const glia_status status = glia_crew_open(e, &why);
    if (status) {
        if (err) *err = why;
        glia_engine_free(e);
        return status;
    }
    count_memory(e);
    e->stats.threads = config->threads;
    e->stats.ranks = e->rank.ranks;
    e->stats.comm = e->rank.config.world ? glia_comm_name(e->rank.config.world) : "single";
    glia_kernels k;
    glia_kernels_init(&k, config->cpu_flags);
    e->stats.rung = k.rung;
    *out = e;
    return GLIA_OK;
}

static void remove_request(glia_engine *e, glia_request *r) {
    glia_scheduler_remove(&e->scheduler, &r->seq);
    glia_request_free(r);
    e->n_requests--;
}

GLIA_API void glia_engine_free(glia_engine *e) {
    if (!e) return;
    assert(!e->stepping);
    while (e->scheduler.n_running) remove_request(e, (glia_request *)e->scheduler.running[0]);
    while (e->scheduler.first) remove_request(e, (glia_request *)e->scheduler.first);
    glia_crew_close(e);
    glia_plan_unmap(&e->plan);
    free(e);
}

GLIA_API void glia_engine_get_stats(const glia_engine *e, glia_engine_stats *s) {
    *s = e->stats;
    if (!e->rank.config.world) return;
    const glia_comm_cost cost = glia_comm_costs(e->rank.config.world);
    s->comm_calls = cost.calls;
    s->comm_bytes = cost.bytes;
    s->comm_seconds = cost.seconds;
}

/* ---- events --------------------------------------------------------------- */

static void tell(glia_request *r, glia_event *event) {
    event->request = r;
    event->token = -1;
    if (!event->text) event->text = "";
    if (!r->token_told) { /* the first event of a step carries its token */
        r->token_told = true;
        event->token = r->token;
        event->position = r->seq.n_tokens - 1;
        event->logprob = r->logprob;
        event->n_top = r->params.logprobs > 0 ? r->params.logprobs : 0;
        event->top_tokens = r->top_tokens;
        event->top_logprobs = r->top_logprobs;
    }
    glia_guard_leave();
    if (r->on_event) r->on_event(r->user, event);
    glia_guard_enter();
}

static void tell_piece(void *user, glia_piece piece, const char *text, size_t len) {
    glia_event event = {.text = text, .text_len = len, .thinking = piece == GLIA_PIECE_THINKING};
    tell(user, &event);
}

/* The last event; the request is gone after. */
static void end_request(glia_engine *e, glia_request *r, glia_finish finish) {
    glia_event event = {.finish = finish, .stop_reason = r->output.stopped_by};
    r->token_told = true;
    tell(r, &event);
    remove_request(e, r);
}

/* ---- requests ------------------------------------------------------------- */

GLIA_API glia_status glia_engine_submit(glia_engine *e, const int32_t *ids, size_t n, const glia_sampling *s,
                                        glia_event_fn *on_event, void *user, glia_request **out,
                                        glia_err *err) {
    glia_request *r = NULL;
    glia_status status = glia_engine_leads(e, err);
    if (!status) status = glia_request_create(&r, &e->config, ids, n, s, err);
    if (out) *out = r;
    if (status) return status;
    r->on_event = on_event;
    r->user = user;
    glia_scheduler_add(&e->scheduler, &r->seq);
    e->n_requests++;
    return GLIA_OK;
}

static glia_request *find_aborted(const glia_engine *e) {
    for (int i = 0; i < e->scheduler.n_running; i++)
        if (atomic_load(&((glia_request *)e->scheduler.running[i])->aborted))
            return (glia_request *)e->scheduler.running[i];
    for (glia_seq *s = e->scheduler.first; s; s = s->next)
        if (atomic_load(&((glia_request *)s)->aborted)) return (glia_request *)s;
    return NULL;
}

/* Text that was held back may be seen now. */
static void abort_request(glia_engine *e, glia_request *r) {
    r->token_told = true;
    if (e->config.tokenizer) glia_output_push(&r->output, -1, false, true, tell_piece, r);
    end_request(e, r, GLIA_FINISH_ABORT);
}

/* ---- a step --------------------------------------------------------------- */

glia_status glia_engine_leads(const glia_engine *e, glia_err *err) {
    if (e->dead.status) return glia_fail(err, e->dead.status, "%s", e->dead.msg);
    if (e->rank.rank == 0) return GLIA_OK;
    return glia_fail(err, GLIA_ERR_ARGUMENT,
                     "this process is rank %d: rank 0 takes requests, the others glia_engine_follow() it",
                     e->rank.rank);
}

glia_status glia_engine_forward(glia_engine *e, glia_err *err) {
    const glia_status status = glia_rank_lead(&e->rank, &e->dead);
    if (!status) return GLIA_OK;
    e->over = true;
    return glia_fail(err, status, "%s", e->dead.msg);
}

GLIA_API glia_status glia_engine_follow(glia_engine *e, glia_err *err) {
    if (e->rank.rank == 0)
        return glia_fail(err, GLIA_ERR_ARGUMENT, "this process is rank 0, which leads and does not follow");
    if (e->over) return glia_fail(err, GLIA_ERR_ARGUMENT, "the leader has ended");
    e->over = true;
    return glia_rank_follow(&e->rank, err);
}

static glia_draw draw_of(const glia_request *r) {
    const bool early = r->seq.n_tokens - r->seq.n_prompt < r->params.min_tokens;
    return (glia_draw){
        .params = &r->params,
        .tokens = r->seq.tokens,
        .n_prompt = (size_t)r->seq.n_prompt,
        .n_tokens = (size_t)r->seq.n_tokens,
        .forbidden = r->endings,
        .n_forbidden = early ? r->n_endings : 0,
    };
}

static glia_seq_rows rows_of(const glia_engine *e, const glia_seq *seq) {
    glia_seq_rows p = {.seq = seq->slot, .at = seq->n_computed, .n = seq->rows};
    if (!glia_seq_wants_logits(seq)) return p;
    const glia_draw d = draw_of((const glia_request *)seq);
    p.logits = LOGITS_LAST;
    p.best = e->rank.ranks > 1 ? glia_draw_best(&d, e->rank.part) : 0;
    p.divisor = glia_draw_divisor(&d);
    return p;
}

/* Order the rows of all running sequences; `ready` gets those that will have logits. Returns how many rows.
 */
static int fill(glia_engine *e) {
    const int rows = glia_scheduler_plan(&e->scheduler);
    glia_seq *const *running = e->scheduler.running;
    const int n = e->scheduler.n_running;
    e->n_ready = 0;
    if (!rows) return 0;
    glia_order_begin(&e->rank, ORDER_STEP);
    for (int i = 0; i < n; i++)
        glia_order_table(&e->rank, running[i]->slot, running[i]->blocks.table, running[i]->blocks.n);
    for (int i = 0; i < n; i++) {
        glia_seq *seq = running[i];
        if (seq->n_computed == seq->n_cached) { /* its first rows */
            e->stats.prompt_tokens += (uint64_t)seq->n_prompt;
            e->stats.cached_tokens += (uint64_t)seq->n_cached;
        }
        const glia_seq_rows of = rows_of(e, seq);
        glia_order_rows(&e->rank, &of);
        if (of.logits) e->ready[e->n_ready++] = (glia_request *)seq;
    }
    for (int i = 0; i < n; i++)
        glia_order_tokens(&e->rank, running[i]->tokens + running[i]->n_computed, running[i]->rows);
    return rows;
}

static void draw(glia_engine *e, int i, glia_sampler *sampler) {
    glia_request *r = e->ready[i];
    const glia_rank *rank = &e->rank;
    const glia_draw d = draw_of(r);
    r->token_told = false;
    if (rank->best[i]) {
        r->token = glia_sample_parts(sampler, glia_rank_parts(rank, i), rank->found_bytes, rank->ranks, &d);
        return;
    }
    const float *logits = glia_rank_logits(rank, i);
    r->token = glia_sample(sampler, logits, &d);
    if (r->token < 0 || r->params.logprobs < 0) return;
    const int vocab = (int)e->model->vocab;
    glia_logprobs(logits, vocab, r->token, &r->logprob, r->params.logprobs, r->top_tokens, r->top_logprobs);
}

static void draw_share(void *arg, int thread) {
    glia_engine *e = arg;
    size_t from, to;
    glia_guard_enter();
    glia_share((size_t)e->n_ready, thread, e->config.threads, &from, &to);
    for (size_t i = from; i < to; i++) draw(e, (int)i, &e->rank.sampler[thread]);
    glia_guard_leave();
}

/* Draw again where ranks had to leave out equals that matter. */
static glia_status draw_whole(glia_engine *e, glia_err *err) {
    glia_rank *rank = &e->rank;
    glia_status status = GLIA_OK;
    int32_t n = 0;
    for (int32_t i = 0; i < e->n_ready; i++) {
        if (e->ready[i]->token != GLIA_DRAW_WHOLE) continue;
        if (n++ == 0) glia_order_begin(rank, ORDER_LOGITS);
        glia_order_tokens(rank, &i, 1);
        rank->best[i] = 0;
    }
    if (n) status = glia_engine_forward(e, err);
    for (int i = 0; i < e->n_ready && !status; i++)
        if (e->ready[i]->token == GLIA_DRAW_WHOLE) draw(e, i, &rank->sampler[0]);
    return status;
}

/* Take the step that was filled, and draw. */
static glia_status take(glia_engine *e, glia_err *err) {
    const glia_status status = glia_engine_forward(e, err);
    if (status) return status;
    e->stats.steps++;
    glia_scheduler_advance(&e->scheduler);
    if (e->n_ready == 1)
        draw(e, 0, &e->rank.sampler[0]);
    else if (e->n_ready)
        glia_team_run(e->rank.team, draw_share, e);
    return draw_whole(e, err);
}

static bool ends(const glia_request *r) {
    for (size_t i = r->params.ignore_eos ? r->n_eos : 0; i < r->n_endings; i++)
        if (r->token == r->endings[i]) return true;
    return false;
}

/* The drawn token becomes part of the request, and its user hears of it. */
static void deliver(glia_engine *e, glia_request *r) {
    glia_seq *seq = &r->seq;
    seq->tokens[seq->n_tokens++] = r->token;
    e->stats.output_tokens++;
    const bool ending = ends(r), full = seq->n_tokens == seq->max_tokens;
    bool stopped = false;
    if (e->config.tokenizer) {
        const bool visible = !ending || r->output.include_stop;
        const bool may_stop = seq->n_tokens - seq->n_prompt > r->params.min_tokens;
        stopped =
            glia_output_push(&r->output, visible ? r->token : -1, may_stop, ending || full, tell_piece, r);
    }
    if (!r->token_told) tell(r, &(glia_event){0});
    if (ending || stopped)
        end_request(e, r, GLIA_FINISH_STOP);
    else if (full)
        end_request(e, r, GLIA_FINISH_LENGTH);
}

/* No step can follow: every request ends. */
static void abort_all(glia_engine *e) {
    while (e->scheduler.n_running) abort_request(e, (glia_request *)e->scheduler.running[0]);
    while (e->scheduler.first) abort_request(e, (glia_request *)e->scheduler.first);
}

static glia_status deliver_all(glia_engine *e, glia_err *err) {
    glia_status status = GLIA_OK;
    for (int i = 0; i < e->n_ready; i++) {
        glia_request *r = e->ready[i];
        if (r->token >= 0) {
            deliver(e, r);
            continue;
        }
        status = glia_fail(err, GLIA_ERR_FORMAT,
                           "the logits after position %d are not all numbers: the weights hold infinite or "
                           "NaN values, or overflow",
                           r->seq.n_tokens - 1);
        abort_request(e, r);
    }
    return status;
}

GLIA_API glia_status glia_engine_step(glia_engine *e, size_t *left, glia_err *err) {
    assert(!e->stepping); /* not from a callback */
    *left = e->n_requests;
    glia_status status = glia_engine_leads(e, err);
    if (status) return status;
    e->stepping = true;
    glia_guard_enter();
    for (glia_request *r; (r = find_aborted(e)) != NULL;) abort_request(e, r);
    if (fill(e)) status = take(e, err);
    if (status)
        abort_all(e);
    else
        status = deliver_all(e, err);
    glia_guard_leave();
    e->stepping = false;
    *left = e->n_requests;
    return status;
}
