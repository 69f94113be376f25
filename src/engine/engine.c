/* engine.c - the step loop: fill a batch, run it, draw, tell.
 *
 * Between entry and exit of a step nothing is allocated; the guard is lifted
 * only around the user's callbacks. */
#include "engine/engine.h"

#include <assert.h>
#include <stdlib.h>

#include "base/cpu.h"
#include "engine/engine_impl.h"

enum { SCORE_LOGIT_BYTES = 64 << 20 }; /* of logits at once in glia_engine_score() */

/* Regions of the engine's own plan, in order. */
enum { REGION_ROWS, REGION_TABLES, REGION_BLOCKS, REGION_QUEUES, REGION_SAMPLING };

/* ---- memory --------------------------------------------------------------- */

static int max_rows(const glia_engine_limits *l) { return l->chunk + l->batch; }

static int max_blocks(const glia_engine_limits *l) {
    return glia_blocks_for(l->sequence_length, l->block_size);
}

static int score_rows(const glia_model_config *c, const glia_engine_limits *l) {
    const int64_t fit = SCORE_LOGIT_BYTES / (c->vocab * (int64_t)sizeof(float));
    return fit < 1 ? 1 : fit < l->chunk ? (int)fit : l->chunk;
}

static glia_decoder_limits decoder_limits(const glia_model_config *c, const glia_engine_limits *l) {
    const int scored = score_rows(c, l);
    return (glia_decoder_limits){
        .kv_dtype = l->kv_dtype,
        .max_rows = max_rows(l),
        .max_logits = scored > l->batch ? scored : l->batch,
        .block_size = l->block_size,
        .n_blocks = l->batch * max_blocks(l),
        .sequence_length = l->sequence_length,
        .quantize_rows = l->quantize_rows,
    };
}

static void plan_own(const glia_model_config *c, const glia_engine_limits *l, int threads, glia_plan *plan) {
    const size_t batch = (size_t)l->batch, blocks = (size_t)max_blocks(l);
    glia_plan_add(plan, "rows of a step", (size_t)max_rows(l), 5 * sizeof(int32_t));
    glia_plan_add(plan, "block tables", (batch + 1) * blocks, sizeof(int32_t));
    glia_plan_add(plan, "block manager", 1, glia_blocks_bytes(l->batch * max_blocks(l), l->block_size));
    glia_plan_add(plan, "queues", batch, sizeof(glia_seq *) + sizeof(glia_request *) + 1);
    glia_plan_add(plan, "sampling", (size_t)threads, glia_sampler_bytes((int)c->vocab));
}

void glia_engine_plan(const glia_model_config *c, const glia_parallel *p, const glia_engine_limits *l,
                      int threads, glia_plan *plan) {
    const glia_decoder_limits limits = decoder_limits(c, l);
    glia_decoder_plan(c, p, &limits, threads, plan);
    plan_own(c, l, threads, plan);
}

static void bind(glia_engine *e) {
    const glia_engine_limits *l = &e->config.limits;
    const int rows = max_rows(l);
    e->token = glia_plan_at(&e->plan, REGION_ROWS);
    e->seq = e->token + rows;
    e->position = e->seq + rows;
    e->slot = e->position + rows;
    e->logit_row = e->slot + rows;
    glia_blocks_init(&e->blocks, glia_plan_at(&e->plan, REGION_BLOCKS), l->batch * max_blocks(l),
                     l->block_size, l->prefix_cache);
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
    const int vocab = (int)e->model->vocab;
    char *memory = glia_plan_at(&e->plan, REGION_SAMPLING);
    for (int i = 0; i < e->config.threads; i++)
        glia_sampler_init(&e->sampler[i], memory + (size_t)i * glia_sampler_bytes(vocab), vocab);
}

glia_status glia_engine_open(glia_engine **out, const glia_engine_config *config, glia_err *err) {
    *out = NULL;
    glia_engine *e = calloc(1, sizeof *e);
    if (!e) return glia_fail_nomem(err, sizeof *e, "the engine");
    e->config = *config;
    e->model = config->weights->config;
    e->score_rows = score_rows(e->model, &config->limits);
    e->sampler = calloc((size_t)config->threads, sizeof *e->sampler);
    glia_status status = e->sampler ? GLIA_OK : glia_fail_nomem(err, sizeof *e->sampler, "the samplers");
    const glia_decoder_limits limits = decoder_limits(e->model, &config->limits);
    plan_own(e->model, &config->limits, config->threads, &e->plan);
    if (!status) status = glia_team_create(&e->team, config->threads, err);
    if (!status)
        status =
            glia_decoder_create(&e->decoder, config->weights, &limits, config->cpu_flags, e->team, NULL, err);
    if (!status) status = glia_plan_map(&e->plan, "the engine's tables and sampling", err);
    if (status) {
        glia_engine_free(e);
        return status;
    }
    bind(e);
    e->stats.plan_bytes = glia_decoder_memory(e->decoder)->bytes + e->plan.bytes;
    e->stats.weight_bytes = config->weights->plan.bytes;
    e->stats.threads = config->threads;
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
    glia_decoder_free(e->decoder);
    glia_team_free(e->team);
    glia_plan_unmap(&e->plan);
    free(e->sampler);
    free(e);
}

GLIA_API void glia_engine_get_stats(const glia_engine *e, glia_engine_stats *s) { *s = e->stats; }

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
    glia_request *r;
    const glia_status status = glia_request_create(&r, &e->config, ids, n, s, err);
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

void glia_engine_add_rows(glia_engine *e, int row, int seq, const int32_t *tokens, int at, int n) {
    for (int i = 0; i < n; i++, row++) {
        e->token[row] = tokens[at + i];
        e->seq[row] = seq;
        e->position[row] = e->slot[row] = at + i;
    }
}

void glia_engine_forward(glia_engine *e, int n_rows, int n_logits) {
    const glia_batch batch = {
        .n_rows = n_rows,
        .token = e->token,
        .seq = e->seq,
        .position = e->position,
        .slot = e->slot,
        .n_seqs = e->scheduler.batch + 1,
        .max_blocks = e->scheduler.max_blocks,
        .block_table = e->scheduler.table,
        .n_logits = n_logits,
        .logit_row = e->logit_row,
    };
    glia_decoder_step(e->decoder, &batch);
    e->stats.steps++;
}

/* Rows of all running sequences; `ready` gets those that will have logits. */
static int fill(glia_engine *e) {
    const int planned = glia_scheduler_plan(&e->scheduler);
    int row = 0;
    e->n_ready = 0;
    for (int i = 0; i < e->scheduler.n_running; i++) {
        glia_seq *seq = e->scheduler.running[i];
        if (seq->n_computed == seq->n_cached) { /* its first rows */
            e->stats.prompt_tokens += (uint64_t)seq->n_prompt;
            e->stats.cached_tokens += (uint64_t)seq->n_cached;
        }
        glia_engine_add_rows(e, row, seq->slot, seq->tokens, seq->n_computed, seq->rows);
        row += seq->rows;
        if (!glia_seq_wants_logits(seq)) continue;
        e->logit_row[e->n_ready] = row - 1;
        e->ready[e->n_ready++] = (glia_request *)seq;
    }
    assert(row == planned && row <= max_rows(&e->config.limits));
    (void)planned;
    return row;
}

static void draw(glia_engine *e, int i, glia_sampler *sampler) {
    glia_request *r = e->ready[i];
    const float *logits = glia_decoder_logits(e->decoder, i);
    const bool early = r->seq.n_tokens - r->seq.n_prompt < r->params.min_tokens;
    const glia_draw d = {
        .params = &r->params,
        .tokens = r->seq.tokens,
        .n_prompt = (size_t)r->seq.n_prompt,
        .n_tokens = (size_t)r->seq.n_tokens,
        .forbidden = r->endings,
        .n_forbidden = early ? r->n_endings : 0,
    };
    r->token = glia_sample(sampler, logits, &d);
    r->token_told = false;
    if (r->token < 0 || r->params.logprobs < 0) return;
    const int vocab = (int)e->model->vocab;
    glia_logprobs(logits, vocab, r->token, &r->logprob, r->params.logprobs, r->top_tokens, r->top_logprobs);
}

static void draw_share(void *arg, int thread) {
    glia_engine *e = arg;
    size_t from, to;
    glia_guard_enter();
    glia_share((size_t)e->n_ready, thread, e->config.threads, &from, &to);
    for (size_t i = from; i < to; i++) draw(e, (int)i, &e->sampler[thread]);
    glia_guard_leave();
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

GLIA_API glia_status glia_engine_step(glia_engine *e, size_t *left, glia_err *err) {
    assert(!e->stepping); /* not from a callback */
    glia_status status = GLIA_OK;
    e->stepping = true;
    glia_guard_enter();
    for (glia_request *r; (r = find_aborted(e)) != NULL;) abort_request(e, r);
    const int rows = fill(e);
    if (rows) glia_engine_forward(e, rows, e->n_ready);
    glia_scheduler_advance(&e->scheduler);
    if (e->n_ready == 1)
        draw(e, 0, &e->sampler[0]);
    else if (e->n_ready)
        glia_team_run(e->team, draw_share, e);
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
    glia_guard_leave();
    e->stepping = false;
    *left = e->n_requests;
    return status;
}
