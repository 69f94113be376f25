/* engine.c - requests and the step loop: plan a step, take the step, draw, deliver.
 *
 * A step allocates nothing; the guard is lifted only around the user's callbacks. */
#include "engine/engine.h"

#include <assert.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "engine/engine_impl.h"

/* ---- memory --------------------------------------------------------------- */

void glia_engine_plan(const glia_model_config *c, const glia_parallel *p, const glia_engine_limits *l,
                      int threads, glia_comm_kind kind, glia_plan *plan) {
    const size_t area = glia_rank_area_bytes(c, p, l);
    glia_rank_plan(c, p, l, threads, plan);
    if (p->rank == 0) glia_leader_plan(c, p, l, plan);
    glia_plan_add(plan, "what other ranks read", 1, area);
    if (area) glia_plan_add(plan, "messages between ranks", 1, glia_comm_memory(kind, p->tp, area) - area);
}

/* Add what the draft allocates for rank number `local` of this process. */
static void plan_draft(const glia_engine_config *c, int local, glia_plan *plan) {
    const glia_draft_limits limits = glia_limit_draft(c->model, &c->weights[0]->parallel, &c->limits);
    if (!c->draft) return;
    const glia_draft_method *method = c->draft->config.method;
    if (method->plan && c->weights[local]->parallel.rank == 0) method->plan(c->draft, &limits, plan);
    if (glia_draft_shared(c->draft)) method->sharing->plan(c->draft, &limits, local, plan);
}

/* Count what the ranks of this process hold, and check it against what is available: mapped memory that is
 * not touched yet still counts as available, so a check of each mapping would let the sum exceed it. */
static glia_status plan_memory(glia_engine *e, glia_err *err) {
    const glia_engine_config *c = &e->config;
    bool overflow = false;
    for (int i = 0; i < c->n_ranks; i++) {
        glia_plan plan = {0};
        glia_engine_plan(c->model, &c->weights[i]->parallel, &c->limits, c->threads,
                         glia_comm_kind_of(c->world), &plan);
        plan_draft(c, i, &plan);
        overflow |= plan.overflow;
        e->stats.plan_bytes += plan.bytes;
        e->stats.weight_bytes += c->weights[i]->plan.bytes;
    }
    const size_t available = glia_memory_available();
    if (overflow || e->stats.plan_bytes <= available)
        return GLIA_OK; /* glia_plan_map() reports an overflow */
    return glia_fail(err, GLIA_ERR_NOMEM, "the engine needs %.2f GiB, this machine has %.2f GiB available",
                     (double)e->stats.plan_bytes / 0x1p30, (double)available / 0x1p30);
}

/* ---- opening and closing ---------------------------------------------------- */

static const glia_packed_adapter *find_adapter(void *user, int32_t number, int i) {
    return glia_adapters_find(user, number, i);
}

static glia_rank_config rank_config(const glia_engine *e, int i) {
    const glia_engine_config *c = &e->config;
    return (glia_rank_config){
        .weights = c->weights[i],
        .world = e->followers.n ? e->followers.world[i] : c->world,
        .limits = c->limits,
        .cpu_flags = c->cpu_flags,
        .threads = c->threads,
        .place = c->place + i,
        .places = c->places + c->n_ranks - 1,
        .adapter = find_adapter,
        .adapter_user = (void *)(uintptr_t)&e->adapters, /* it has a lock */
        .local = i,
        .draft = glia_draft_shared(c->draft) ? c->draft : NULL,
    };
}

/* Map every rank's area before any rank opens. */
static glia_status share_areas(glia_engine *e, glia_err *err) {
    const glia_engine_config *c = &e->config;
    const size_t bytes = glia_rank_area_bytes(c->model, &c->weights[0]->parallel, &c->limits);
    if (c->n_ranks > 1) return glia_followers_create(&e->followers, c->n_ranks, bytes, err);
    return c->world ? glia_comm_share(c->world, bytes, err) : GLIA_OK;
}

/* Where the draft writes what all ranks shall do, and the order to do it. */
static int32_t *draft_words(void *user) {
    glia_engine *e = user;
    return glia_order_draft(glia_rank_order(&e->rank));
}

static glia_status draft_order(void *user, size_t n, glia_err *err) {
    glia_engine *e = user;
    glia_order_draft_end(glia_rank_order(&e->rank), n);
    return glia_engine_order(e, err);
}

/* The draft runs on rank 0. */
static glia_status open_draft(glia_engine *e, glia_err *err) {
    const glia_engine_config *c = &e->config;
    glia_leader *l = &e->leader;
    if (!c->draft || e->rank.rank != 0) return GLIA_OK;
    l->drafts.draft = (glia_draft){
        .model = c->draft,
        .limits = glia_limit_draft(c->model, &c->weights[0]->parallel, &c->limits),
        .team = e->rank.team,
        .weights = c->weights[0],
        .target = e->rank.decoder,
        .sampler = e->rank.sampler,
        .epoch = l->blocks.epoch,
        .scored = c->trace != NULL,
        .rank = e->rank.draft.model ? &e->rank.draft : NULL,
        .words = draft_words,
        .order = draft_order,
        .user = e,
    };
    const glia_status status = c->draft->config.method->open(&l->drafts.draft, err);
    if (status) return status;
    l->drafts.model = c->draft;
    l->drafts.trace = c->trace;
    l->drafts.trace_user = c->trace_user;
    glia_drafts_begin(&l->drafts);
    return GLIA_OK;
}

static void close_draft(glia_engine *e) {
    glia_drafts *d = &e->leader.drafts;
    if (d->model) d->model->config.method->close(&d->draft);
    d->model = NULL;
}

static glia_status open_store(glia_engine *e, glia_err *err) {
    const glia_engine_config *c = &e->config;
    glia_store *store;
    if (!c->store_dir || e->rank.rank != 0) return GLIA_OK;
    if (e->rank.ranks > 1)
        return glia_fail(err, GLIA_ERR_UNSUPPORTED,
                         "prefix_cache_dir: the cache of several ranks cannot be kept yet; use one rank");
    if (c->draft && c->draft->config.method->needs)
        return glia_fail(err, GLIA_ERR_UNSUPPORTED,
                         "prefix_cache_dir: a draft of the method %s has to see every row of a prompt; use "
                         "one of the two",
                         c->draft->config.method->name);
    if (!c->limits.prefix_cache)
        return glia_fail(err, GLIA_ERR_ARGUMENT, "prefix_cache_dir needs the prefix cache, which is off");
    const glia_store_config config = {.dir = c->store_dir,
                                      .most_bytes = c->store_bytes,
                                      .fingerprint = c->fingerprint,
                                      .block_size = c->limits.block_size,
                                      .most_tokens = c->limits.sequence_length,
                                      .block_bytes = glia_decoder_block_bytes(e->rank.decoder)};
    const glia_status status = glia_store_open(&store, &config, err);
    if (!status) glia_leader_use_store(&e->leader, store);
    return status;
}

static glia_status open_ranks(glia_engine *e, glia_err *err) {
    const glia_engine_config *c = &e->config;
    glia_status status = plan_memory(e, err);
    if (!status && !glia_request_find_tokens(&e->rules))
        status = glia_fail_nomem(err, 0, "ids without a token");
    if (!status) status = share_areas(e, err);
    if (status && c->world) glia_comm_fail(c->world, err->msg);
    if (status) return status;
    for (int i = 1; i < c->n_ranks; i++) {
        const glia_rank_config config = rank_config(e, i);
        glia_followers_start(&e->followers, i, &config);
    }
    const glia_rank_config own = rank_config(e, 0);
    status = glia_leader_open(&e->leader, &e->rank, c->model, &c->weights[0]->parallel, &c->limits, err);
    e->leader.scheduler.pace.most_seconds = c->most_step_seconds;
    status = glia_rank_open(&e->rank, &own, status, err);
    if (!status) status = open_store(e, err);
    return status ? status : open_draft(e, err);
}

/* Bytes of the cache that one token takes on all ranks, copies of heads included. */
static uint64_t kv_bytes_per_token(const glia_engine_config *c) {
    const glia_parallel *p = &c->weights[0]->parallel;
    const glia_local local = glia_local_of(c->model, p);
    const glia_decoder_limits limits = {.kv_dtype = c->limits.kv_dtype, .block_size = c->limits.block_size};
    const uint64_t holders = (uint64_t)(p->tp / local.members);
    return glia_decoder_kv_bytes(c->model, p, &limits) * holders;
}

static void describe(glia_engine *e) {
    e->stats.batch_size = e->config.limits.batch;
    e->stats.sequence_length = e->config.limits.sequence_length;
    e->stats.kv_cache_dtype = e->config.limits.kv_dtype;
    e->stats.kv_bytes_per_token = kv_bytes_per_token(&e->config);
    e->stats.threads = e->config.threads;
    e->stats.kv_blocks = e->leader.blocks.n_blocks;
    e->stats.block_size = e->config.limits.block_size;
    e->stats.draft_method = e->config.draft ? e->config.draft->config.method->name : NULL;
    e->stats.draft_depth = e->config.limits.depth;
    e->stats.ranks = e->rank.ranks;
    e->stats.comm = e->rank.config.world ? glia_comm_name(e->rank.config.world) : "single";
    e->stats.rung = glia_cpu_rung(e->config.cpu_flags);
}

glia_status glia_engine_open(glia_engine **out, const glia_engine_config *config, glia_err *err) {
    glia_err why = {0}; /* ranks tell each other, even if the caller passes no err */
    *out = NULL;
    glia_engine *e = calloc(1, sizeof *e);
    glia_status status =
        e ? glia_inbox_open(&e->inbox, &why) : glia_fail_nomem(&why, sizeof *e, "the engine");
    if (status) {
        if (config->world) glia_comm_fail(config->world, why.msg);
        glia_comm_free(config->world);
        free(e);
        if (err) *err = why;
        return status;
    }
    glia_ahead_init(&e->ahead);
    e->config = *config;
    e->model = config->model;
    e->rules = (glia_request_rules){.vocab = (int)config->model->vocab,
                                    .sequence_length = config->limits.sequence_length,
                                    .tokenizer = config->tokenizer,
                                    .eos = config->eos,
                                    .n_eos = config->n_eos};
    e->score_rows = glia_limit_score_rows(e->model, &config->limits);
    e->adapters = (glia_adapters){.weights = config->weights,
                                  .n_ranks = config->n_ranks,
                                  .cpu_flags = config->cpu_flags,
                                  .limits = config->limits.adapters,
                                  .most = config->world ? INT_MAX : config->limits.adapters_in_memory,
                                  .base = config->base,
                                  .tokenizer = config->tokenizer};
    status = glia_adapters_open(&e->adapters, &why);
    if (!status) status = open_ranks(e, &why);
    if (status) {
        if (err) *err = why;
        glia_engine_free(e);
        return status;
    }
    describe(e);
    *out = e;
    return GLIA_OK;
}

static void close_ranks(glia_engine *e) {
    glia_comm *world = e->rank.config.world;
    if (world && !e->over && e->rank.rank == 0) {
        glia_order_begin(glia_rank_order(&e->rank), ORDER_END);
        glia_rank_lead(&e->rank, NULL);
    } else if (world && !e->over) {
        glia_comm_fail(world, "it follows no longer");
    }
    glia_followers_join(&e->followers);
    close_draft(e);
    glia_store_close(e->leader.store);
    glia_rank_close(&e->rank);
    glia_followers_close(&e->followers);
    glia_leader_close(&e->leader);
    glia_comm_free(e->config.world);
}

/* The request ends: let its adapter go. */
static void release_adapter(glia_engine *e, int32_t number) {
    if (number && glia_adapters_release(&e->adapters, number))
        glia_places_forget(&e->leader.scheduler.places, number);
}

static void remove_request(glia_engine *e, glia_request *r) {
    glia_scheduler_remove(&e->leader.scheduler, &r->seq);
    release_adapter(e, r->seq.blocks.salt);
    glia_inbox_remove(&e->inbox, r);
    glia_request_free(r);
}

/* Queue the requests that other threads have put in. */
static void take_requests(glia_engine *e) {
    glia_seq *next, *seq = (glia_seq *)glia_inbox_take(&e->inbox);
    for (; seq; seq = next) {
        next = seq->next;
        glia_scheduler_add(&e->leader.scheduler, seq);
    }
}

/* Any request of the scheduler; NULL: none is left. */
static glia_request *any_request(const glia_engine *e) {
    const glia_scheduler *s = &e->leader.scheduler;
    return (glia_request *)(s->n_running ? s->running[0] : s->first);
}

GLIA_API void glia_engine_free(glia_engine *e) {
    if (!e) return;
    assert(!e->stepping);
    take_requests(e);
    for (glia_request *r; (r = any_request(e)) != NULL;) remove_request(e, r);
    close_ranks(e);
    glia_ahead_close(&e->ahead);
    glia_adapters_close(&e->adapters);
    glia_inbox_free(&e->inbox);
    free(e->rules.absent);
    free(e);
}

GLIA_API void glia_engine_get_stats(const glia_engine *e, glia_engine_stats *s) {
    *s = e->stats;
    s->prompt_tokens += e->leader.prompt_tokens;
    s->cached_tokens += e->leader.cached_tokens;
    s->speculation = e->leader.drafts.counts;
    s->preemptions = e->leader.scheduler.n_preempted;
    s->running = e->leader.scheduler.n_running;
    s->waiting = (int)e->leader.scheduler.n_waiting;
    s->kv_blocks_used = s->kv_blocks - glia_blocks_unused(&e->leader.blocks);
    if (e->leader.store) {
        const glia_store_counts counts = glia_store_count(e->leader.store);
        s->stored_blocks = counts.stored;
        s->fetched_blocks = counts.fetched;
        s->dropped_blocks = counts.dropped;
    }
    if (!e->rank.config.world) return;
    const glia_comm_cost cost = glia_comm_costs(e->rank.config.world);
    s->comm_calls = cost.calls;
    s->comm_bytes = cost.bytes;
    s->comm_seconds = cost.seconds;
}

/* ---- events --------------------------------------------------------------- */

static void tell(glia_request *r, glia_event *event) {
    const glia_drawn *token = r->untold;
    event->request = r->id;
    event->cached_tokens = r->seq.n_cached;
    event->queue_seconds = r->began > 0 ? r->began - r->submitted : 0;
    event->token = -1;
    if (!event->text) event->text = "";
    if (token) { /* the first event after a draw carries its token */
        r->untold = NULL;
        event->token = token->token;
        event->position = r->seq.n_tokens - 1;
        event->logprob = token->logprob;
        const int ids = (int)r->params.n_logprob_token_ids, n = r->params.logprobs;
        event->n_top = ids ? ids : n > 0 ? n : 0;
        event->top_tokens = ids ? r->params.logprob_token_ids : token->top_tokens;
        event->top_logprobs = token->top_logprobs;
    }
    glia_guard_leave();
    if (r->on_event) r->on_event(r->user, event);
    glia_guard_enter();
}

/* Tell the log-probabilities of the prompt tokens behind the segment's rows. */
static void tell_prompt(glia_request *r, const glia_segment *g) {
    for (int i = 0; i < g->n_scored; i++) {
        const glia_drawn *token = &g->score[i];
        const glia_event event = {
            .request = r->id,
            .token = token->token,
            .position = g->from + i + 1,
            .text = "",
            .logprob = token->logprob,
            .n_top = r->params.prompt_logprobs - 1,
            .top_tokens = token->top_tokens,
            .top_logprobs = token->top_logprobs,
            .of_prompt = true,
            .cached_tokens = r->seq.n_cached,
            .queue_seconds = r->began - r->submitted,
        };
        if (event.position <= r->scored_to) continue; /* it was told before the request was preempted */
        r->scored_to = event.position;
        glia_guard_leave();
        if (r->on_event) r->on_event(r->user, &event);
        glia_guard_enter();
    }
}

static void tell_piece(void *user, glia_piece piece, const char *text, size_t len) {
    glia_event event = {.text = text, .text_len = len, .thinking = piece == GLIA_PIECE_THINKING};
    tell(user, &event);
}

/* Send the last event and free the request. */
static void end_request(glia_engine *e, glia_request *r, glia_finish finish) {
    glia_event event = {.finish = finish, .stop_reason = r->output.stopped_by};
    tell(r, &event);
    remove_request(e, r);
}

/* ---- requests ------------------------------------------------------------- */

/* Any thread. */
static glia_status leads(const glia_engine *e, glia_err *err) {
    if (e->rank.rank == 0) return GLIA_OK;
    return glia_fail(err, GLIA_ERR_ARGUMENT,
                     "this process is rank %d: rank 0 takes requests, the others glia_engine_follow() it",
                     e->rank.rank);
}

GLIA_API glia_status glia_engine_submit(glia_engine *e, const int32_t *ids, size_t n, const glia_sampling *s,
                                        glia_event_fn *on_event, void *user, uint64_t *id, glia_err *err) {
    glia_request *r = NULL;
    glia_status status = leads(e, err);
    if (id) *id = 0;
    if (!status) status = glia_request_create(&r, &e->rules, ids, n, s, err);
    if (status) return status;
    r->on_event = on_event;
    r->user = user;
    if (s->constraint) glia_ahead_start(&e->ahead);
    if (s->adapter)
        status = glia_adapters_hold(&e->adapters, s->adapter, ids, n, &r->seq.blocks.salt,
                                    &r->seq.blocks.begins, err);
    const int32_t adapter = r->seq.blocks.salt;
    if (!status) status = glia_inbox_put(&e->inbox, r, id, err);
    if (!status) return GLIA_OK;
    if (adapter) glia_adapters_release(&e->adapters, adapter);
    glia_request_free(r);
    return status;
}

glia_status glia_engine_name_adapter(glia_engine *e, const char *name, const char *path, glia_err *err) {
    return glia_adapters_load(&e->adapters, name, path, false, NULL, NULL, err);
}

GLIA_API glia_status glia_engine_load_adapter(glia_engine *e, const char *name, const char *path,
                                              bool replace, glia_err *err) {
    if (e->config.world)
        return glia_fail(
            err, GLIA_ERR_UNSUPPORTED,
            "adapter %.100s: an engine of several processes has the adapters that it was started "
            "with; name it in lora_modules",
            name);
    return glia_adapters_load(&e->adapters, name, path, replace, NULL, NULL, err);
}

GLIA_API glia_status glia_engine_drop_adapter(glia_engine *e, const char *name, glia_err *err) {
    return glia_adapters_drop(&e->adapters, name, err);
}

GLIA_API glia_status glia_engine_list_adapters(glia_engine *e, char **json, glia_err *err) {
    json_t *list = glia_adapters_list(&e->adapters);
    *json = list ? json_dumps(list, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(list);
    return *json ? GLIA_OK : glia_fail_nomem(err, 0, "the list of adapters");
}

GLIA_API void glia_request_abort(glia_engine *e, uint64_t id) { glia_inbox_abort(&e->inbox, id); }

GLIA_API bool glia_engine_wait(glia_engine *e, int timeout_ms) {
    assert(!e->stepping);
    return glia_inbox_wait(&e->inbox, timeout_ms);
}

GLIA_API void glia_engine_wake(glia_engine *e) { glia_inbox_wake(&e->inbox); }

static glia_request *find_aborted(const glia_engine *e) {
    const glia_scheduler *s = &e->leader.scheduler;
    for (int i = 0; i < s->n_running; i++)
        if (atomic_load(&((glia_request *)s->running[i])->aborted)) return (glia_request *)s->running[i];
    for (glia_seq *seq = s->first; seq; seq = seq->next)
        if (atomic_load(&((glia_request *)seq)->aborted)) return (glia_request *)seq;
    return NULL;
}

/* Emit the text that was held back, then end the request. */
static void abort_request(glia_engine *e, glia_request *r) {
    if (e->config.tokenizer) glia_output_push(&r->output, -1, false, true, tell_piece, r);
    end_request(e, r, GLIA_FINISH_ABORT);
}

/* ---- orders ----------------------------------------------------------------- */

glia_status glia_engine_leads(const glia_engine *e, glia_err *err) {
    return e->dead.status ? glia_fail(err, e->dead.status, "%s", e->dead.msg) : leads(e, err);
}

glia_status glia_engine_order(glia_engine *e, glia_err *err) {
    const glia_status status = glia_rank_lead(&e->rank, &e->dead);
    if (!status) return GLIA_OK;
    e->over = true;
    glia_inbox_close(&e->inbox, &e->dead);
    return glia_fail(err, status, "%s", e->dead.msg);
}

GLIA_API glia_status glia_engine_follow(glia_engine *e, glia_err *err) {
    if (e->rank.rank == 0)
        return glia_fail(err, GLIA_ERR_ARGUMENT, "this process is rank 0, which leads and does not follow");
    if (e->over) return glia_fail(err, GLIA_ERR_ARGUMENT, "the leader has ended");
    e->over = true;
    return glia_rank_follow(&e->rank, err);
}

/* ---- a step ----------------------------------------------------------------- */

/* Take the step that was planned, and draw. */
static glia_status take(glia_engine *e, glia_err *err) {
    const double start = glia_seconds();
    glia_leader_mask_ahead(&e->leader, &e->ahead);
    glia_status status = glia_engine_order(e, err);
    if (status) return status;
    const double seconds = glia_seconds() - start;
    glia_drafts_time(&e->leader.drafts, e->leader.segment, e->leader.n_segments, seconds);
    glia_scheduler_time(&e->leader.scheduler, seconds);
    e->stats.steps++;
    e->stats.rows += (uint64_t)e->leader.n_rows;
    glia_scheduler_advance(&e->leader.scheduler);
    glia_leader_store(&e->leader);
    glia_leader_score(&e->leader);
    while (!status && glia_leader_draw(&e->leader)) status = glia_engine_order(e, err);
    if (!status) glia_leader_learn(&e->leader);
    return status;
}

/* Append the drawn token to the request and send its event. Returns false if the request has ended. */
static bool deliver(glia_engine *e, glia_request *r, const glia_drawn *drawn) {
    glia_seq *seq = &r->seq;
    seq->n_tokens++; /* drawing wrote the token */
    r->untold = drawn;
    e->stats.output_tokens++;
    const bool ending = glia_request_ends(r, drawn->token), full = seq->n_tokens == seq->max_tokens;
    bool stopped = false;
    if (e->config.tokenizer) {
        const bool visible = !ending || r->output.include_stop;
        const bool may_stop = seq->n_tokens - seq->n_prompt > r->params.min_tokens;
        stopped = glia_output_push(&r->output, visible ? drawn->token : -1, may_stop, ending || full,
                                   tell_piece, r);
    }
    if (r->untold) tell(r, &(glia_event){0});
    if (!ending && !stopped && !full) return true;
    end_request(e, r, ending || stopped ? GLIA_FINISH_STOP : GLIA_FINISH_LENGTH);
    return false;
}

/* Append what the constraint or the budget of thinking forces behind the tokens that were drawn: the next
 * step computes it like a prompt. */
static void deliver_forced(glia_engine *e, glia_request *r) {
    glia_drawn forced = {0};
    while ((forced.token = glia_leader_force(r)) >= 0)
        if (!deliver(e, r, &forced) || atomic_load(&r->aborted)) return;
}

/* Send the hidden state and end the request. */
static glia_status deliver_hidden(glia_engine *e, glia_request *r, int row, glia_err *err) {
    const float *hidden = glia_decoder_hidden(e->rank.decoder, row);
    const int n = (int)e->model->hidden, position = r->seq.n_tokens - 1;
    for (int i = 0; i < n; i++) {
        if (isfinite(hidden[i])) continue;
        abort_request(e, r);
        return glia_fail(
            err, GLIA_ERR_FORMAT,
            "the hidden state of position %d is not all numbers: the weights hold infinite or NaN "
            "values, or overflow",
            position);
    }
    glia_event event = {.finish = GLIA_FINISH_STOP, .hidden = hidden, .n_hidden = n};
    tell(r, &event);
    remove_request(e, r);
    return GLIA_OK;
}

/* Deliver the drawn tokens of one request. Those after its end are dropped. */
static glia_status deliver_all_of(glia_engine *e, glia_segment *g, glia_err *err) {
    glia_request *r = g->request;
    tell_prompt(r, g);
    if (g->hidden >= 0) return deliver_hidden(e, r, g->hidden, err);
    for (int i = 0; i < g->n_drawn; i++) {
        if (g->drawn[i].token < 0) {
            const int position = r->seq.n_tokens - 1;
            const glia_err failed = r->failed;
            abort_request(e, r);
            if (failed.status) return glia_fail(err, failed.status, "%s", failed.msg);
            return glia_fail(err, GLIA_ERR_FORMAT,
                             "the logits after position %d are not all numbers: the weights hold infinite or "
                             "NaN values, or overflow",
                             position);
        }
        g->n_delivered++;
        if (!deliver(e, r, &g->drawn[i]) || atomic_load(&r->aborted)) return GLIA_OK;
        if (i + 1 < g->n_drawn) glia_leader_accept(&e->leader, g, i);
    }
    if (g->n_drawn && glia_request_follows(r)) deliver_forced(e, r);
    return GLIA_OK;
}

static glia_status deliver_all(glia_engine *e, glia_err *err) {
    glia_leader *l = &e->leader;
    glia_status status = GLIA_OK;
    for (int i = 0; i < l->n_segments; i++) {
        const glia_status one = deliver_all_of(e, &l->segment[i], err);
        if (one) status = one;
    }
    glia_drafts_count(&l->drafts, l->segment, l->n_segments);
    return status;
}

/* Report a failure of the draft once. The answers do not depend on it. */
static glia_status draft_failure(glia_engine *e, glia_err *err) {
    const glia_err why = e->leader.draft_failed;
    e->leader.draft_failed.status = GLIA_OK;
    return why.status ? glia_fail(err, why.status, "%s; speculation has ended", why.msg) : GLIA_OK;
}

static glia_status step(glia_engine *e, glia_err *err) {
    const bool aborts = glia_inbox_take_aborts(&e->inbox); /* a later abort is found in the next step */
    take_requests(e);
    if (aborts)
        for (glia_request *r; (r = find_aborted(e)) != NULL;) abort_request(e, r);
    glia_status status = glia_leader_plan_step(&e->leader) ? take(e, err) : GLIA_OK;
    if (!status) status = deliver_all(e, err);
    return status ? status : draft_failure(e, err);
}

/* No step can follow: end every request. */
static void abort_all(glia_engine *e) {
    take_requests(e);
    for (glia_request *r; (r = any_request(e)) != NULL;) abort_request(e, r);
}

GLIA_API glia_status glia_engine_step(glia_engine *e, size_t *left, glia_err *err) {
    assert(!e->stepping); /* not from a callback */
    e->stepping = true;
    glia_guard_enter();
    glia_status status = glia_engine_leads(e, err);
    if (!status) status = step(e, err);
    if (e->dead.status) abort_all(e); /* the step failed, or before it a score or a measurement */
    glia_guard_leave();
    e->stepping = false;
    *left = glia_inbox_count(&e->inbox);
    return status;
}
