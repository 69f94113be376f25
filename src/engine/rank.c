/* rank.c - see rank.h. */
#include "engine/rank.h"

#include <stdlib.h>
#include <string.h>

/* ---- memory --------------------------------------------------------------- */

static size_t whole_lines(size_t bytes) { return (bytes + GLIA_ALIGN - 1) / GLIA_ALIGN * GLIA_ALIGN; }

/* Bytes of one rank's glia_shard_tops of all rows that draw, and of its ceilings. */
static size_t found_bytes(const glia_model_config *c, int ranks, const glia_engine_limits *l) {
    const size_t half = glia_even_size((size_t)c->vocab, ranks) / 2;
    const int most = half > GLIA_BEST_MAX ? GLIA_BEST_MAX : half > 0 ? (int)half : 1;
    return whole_lines(glia_limit_draws(l) * glia_shard_top_bytes(most) + sizeof(glia_ceilings));
}

static size_t order_bytes(const glia_model_config *c, const glia_engine_limits *l) {
    return glia_order_words(c, l) * sizeof(int32_t);
}

size_t glia_rank_area_bytes(const glia_model_config *c, const glia_parallel *p, const glia_engine_limits *l) {
    if (p->tp == 1) return 0;
    const glia_decoder_limits limits = glia_limit_decoder(c, p, l);
    return glia_decoder_area_bytes(c, p, &limits) + l->draft_area + 2 * order_bytes(c, l) +
           found_bytes(c, p->tp, l);
}

static size_t sampler_vocab(const glia_model_config *c, const glia_parallel *p) {
    return p->rank == 0 ? (size_t)c->vocab : glia_even_size((size_t)c->vocab, p->tp);
}

/* Where the regions of the plan are. */
typedef struct {
    int rows, tables, orders, found_at, sampling, parts, logits;
} regions;

static regions plan_own(const glia_model_config *c, const glia_parallel *p, const glia_engine_limits *l,
                        int threads, glia_plan *plan) {
    const size_t batch = (size_t)l->batch, alone = p->tp == 1, leads = !alone && p->rank == 0;
    const size_t logits = glia_limit_logits(c, l), ranks = (size_t)p->tp;
    regions r;
    r.rows = glia_plan_add(plan, "rows of a step", glia_batch_memory(glia_limit_rows(l)), sizeof(int32_t));
    r.tables = glia_plan_add(plan, "block tables", (batch + 1) * glia_limit_blocks(l), sizeof(int32_t));
    r.orders = glia_plan_add(plan, "orders", alone, order_bytes(c, l)); /* else in the area */
    r.found_at = glia_plan_add(plan, "logits that are wanted", logits, sizeof(size_t));
    r.sampling =
        glia_plan_add(plan, "sampling", (size_t)threads, glia_sampler_bytes((int)sampler_vocab(c, p)));
    r.parts = glia_plan_add(plan, "the best of all ranks", leads * ranks, found_bytes(c, p->tp, l));
    r.logits = glia_plan_add(plan, "logits of all ranks",
                             leads * logits * ranks * glia_even_size((size_t)c->vocab, p->tp), sizeof(float));
    return r;
}

void glia_rank_plan(const glia_model_config *c, const glia_parallel *p, const glia_engine_limits *l,
                    int threads, glia_plan *plan) {
    const glia_decoder_limits limits = glia_limit_decoder(c, p, l);
    glia_decoder_plan(c, p, &limits, threads, plan);
    plan_own(c, p, l, threads, plan);
}

static void bind_area(glia_rank *r) {
    const glia_engine_limits *l = &r->config.limits;
    const glia_weights *w = r->config.weights;
    const glia_decoder_limits limits = glia_limit_decoder(w->config, &w->parallel, l);
    char *area = (char *)glia_comm_area(r->config.world) + r->config.area_offset +
                 glia_decoder_area_bytes(w->config, &w->parallel, &limits) + l->draft_area;
    r->order[0] = (int32_t *)(void *)area;
    r->order[1] = r->order[0] + glia_order_words(w->config, l);
    r->found = (char *)(r->order[1] + glia_order_words(w->config, l));
}

/* The blocks of drafted trees stand behind the block manager's, on every member. */
static void fill_trees(glia_rank *r) {
    const glia_weights *w = r->config.weights;
    const glia_engine_limits *l = &r->config.limits;
    const glia_blocks_shape cache = glia_limit_cache(w->config, &w->parallel, l);
    const int trees = (int)glia_limit_tree_blocks(l);
    for (int seq = 0; seq < l->batch; seq++)
        for (int i = 0; i < trees; i++)
            r->table[(seq + 1) * r->max_blocks - trees + i] =
                cache.n_blocks + (seq * trees + i) * cache.members;
}

static void bind(glia_rank *r, const regions *at) {
    const glia_weights *w = r->config.weights;
    r->rows = glia_plan_at(&r->plan, at->rows);
    r->table = glia_plan_at(&r->plan, at->tables);
    r->found_at = glia_plan_at(&r->plan, at->found_at);
    r->gathered = glia_plan_at(&r->plan, at->parts);
    r->logits = glia_plan_at(&r->plan, at->logits);
    r->order[0] = r->order[1] = glia_plan_at(&r->plan, at->orders);
    if (r->config.world) bind_area(r);
    fill_trees(r);
    const int vocab = (int)sampler_vocab(w->config, &w->parallel);
    char *memory = glia_plan_at(&r->plan, at->sampling);
    for (int i = 0; i < r->config.threads; i++)
        glia_sampler_init(&r->sampler[i], memory + (size_t)i * glia_sampler_bytes(vocab), vocab);
}

static glia_status open_decoder(glia_rank *r, glia_err *err) {
    const glia_rank_config *c = &r->config;
    const glia_decoder_limits limits =
        glia_limit_decoder(c->weights->config, &c->weights->parallel, &c->limits);
    glia_status status = glia_team_create_beside(&r->team, c->threads, c->place, c->places, err);
    if (status) return status;
    r->sampler = calloc((size_t)c->threads, sizeof *r->sampler);
    if (!r->sampler) return glia_fail_nomem(err, (size_t)c->threads * sizeof *r->sampler, "the samplers");
    return glia_decoder_create(&r->decoder, c->weights, &limits, c->cpu_flags, r->team, c->world,
                               c->area_offset, err);
}

/* This rank's share of a draft that ranks share. */
static glia_status open_draft(glia_rank *r, glia_err *err) {
    const glia_rank_config *c = &r->config;
    const glia_weights *w = c->weights;
    if (!c->draft) return GLIA_OK;
    const glia_decoder_limits limits = glia_limit_decoder(w->config, &w->parallel, &c->limits);
    r->draft = (glia_draft_rank){
        .model = c->draft,
        .limits = glia_limit_draft(w->config, &w->parallel, &c->limits),
        .local = c->local,
        .team = r->team,
        .world = c->world,
        .area_offset = c->area_offset + glia_decoder_area_bytes(w->config, &w->parallel, &limits),
    };
    return c->draft->config.method->sharing->open(&r->draft, err);
}

static void close_draft(glia_rank *r) {
    if (r->draft.model) r->draft.model->config.method->sharing->close(&r->draft);
}

glia_status glia_rank_open(glia_rank *r, const glia_rank_config *config, glia_status own, glia_err *err) {
    const glia_weights *w = config->weights;
    size_t to;
    *r = (glia_rank){.config = *config,
                     .rank = w->parallel.rank,
                     .ranks = w->parallel.tp,
                     .shard = glia_even_size((size_t)w->config->vocab, w->parallel.tp),
                     .max_blocks = (int)glia_limit_blocks(&config->limits),
                     .order_first = glia_order_first_words(w->config, &config->limits)};
    glia_even_shard((size_t)w->config->vocab, r->ranks, r->rank, &r->first, &to);
    r->vocab = to - r->first;
    const regions at = plan_own(w->config, &w->parallel, &config->limits, config->threads, &r->plan);
    glia_status status = own;
    if (!status) status = open_decoder(r, err);
    if (!status) status = open_draft(r, err);
    if (!status) status = glia_plan_map(&r->plan, "a rank's tables and sampling", err);
    if (config->world) status = glia_comm_agree(config->world, "", status, err);
    if (status)
        glia_rank_close(r);
    else
        bind(r, &at);
    return status;
}

void glia_rank_close(glia_rank *r) {
    close_draft(r);
    glia_decoder_free(r->decoder);
    glia_team_free(r->team);
    glia_plan_unmap(&r->plan);
    free(r->sampler);
    *r = (glia_rank){0};
}

/* ---- a step ----------------------------------------------------------------- */

/* Keep the uses of the rows of logits, and the offset of each row's glia_shard_top. */
static void keep_uses(glia_rank *r, const glia_order *o) {
    r->n_logits = o->batch.n_logits;
    r->use = o->use;
    r->found_bytes = 0;
    for (int i = 0; i < r->n_logits; i++) {
        r->found_at[i] = r->found_bytes;
        r->found_bytes += r->use[i].best ? glia_shard_top_bytes(r->use[i].best) : 0;
    }
}

/* Find the best of this rank's shard of logits row i. */
static void find(glia_rank *r, int i, glia_sampler *s) {
    const glia_logits_use *use = &r->use[i];
    if (!use->best) return;
    glia_shard_top *top = (glia_shard_top *)(void *)(r->found + r->found_at[i]);
    glia_shard_top_find(top, s, glia_decoder_logits(r->decoder, i), (int)r->vocab, (int32_t)r->first,
                        use->best, use->divisor);
}

static void find_share(void *arg, int thread) {
    glia_rank *r = arg;
    size_t from, to;
    glia_guard_enter();
    glia_share((size_t)r->n_logits, thread, r->config.threads, &from, &to);
    for (size_t i = from; i < to; i++) find(r, (int)i, &r->sampler[thread]);
    glia_guard_leave();
}

/* Bring every rank's `bytes` of found[] side by side to the leader. */
static void gather_found(glia_rank *r, size_t bytes) {
    const glia_gather g = {.rows = 1, .n = (size_t)r->ranks, .unit = bytes};
    glia_comm_gather(r->config.world, 0, r->gathered, r->found, &g, 0);
}

/* Bring row i of the logits to the leader. Shards are padded to one size, so the ids of tokens are
 * contiguous. */
static void gather_logits(glia_rank *r, int i) {
    const size_t whole = (size_t)r->ranks * r->shard;
    const glia_gather g = {.rows = 1, .n = whole, .unit = sizeof(float)};
    float *out = r->rank == 0 ? r->logits + (size_t)i * whole : NULL;
    glia_comm_gather(r->config.world, 0, out, glia_decoder_logits(r->decoder, i), &g, 0);
}

/* Fail this step, on all ranks, if the weights changed under it. */
static void check_weights(glia_rank *r) {
    if (!r->changed.status && glia_weights_check(r->config.weights, &r->changed) && r->config.world)
        glia_comm_fail(r->config.world, r->changed.msg);
}

/* Put adapters into places. An adapter that is not there fails the step, on all ranks. */
static void put_adapters(glia_rank *r, const glia_order *o) {
    const glia_rank_config *c = &r->config;
    for (int i = 0; i < o->n_adapters; i++) {
        const glia_packed_adapter *a = c->adapter(c->adapter_user, o->adapter[i].adapter, c->local);
        glia_decoder_put_adapter(r->decoder, o->adapter[i].place, a);
        if (a || r->changed.status) continue;
        glia_fail(&r->changed, GLIA_ERR_IO, "adapter number %d is not on rank %d", o->adapter[i].adapter,
                  r->rank);
        if (c->world) glia_comm_fail(c->world, r->changed.msg);
    }
}

static void step(glia_rank *r, glia_order *o) {
    put_adapters(r, o);
    o->batch.n_seqs = r->config.limits.batch + 1;
    o->batch.max_blocks = r->max_blocks;
    o->batch.block_table = r->table;
    keep_uses(r, o);
    for (int i = 0; i < o->n_moves; i++)
        glia_decoder_copy_kv(r->decoder, o->move[i].to_block, o->move[i].to_at, o->move[i].from_block,
                             o->move[i].from_at);
    glia_decoder_step(r->decoder, &o->batch);
    check_weights(r);
    if (!r->config.world) return;
    if (r->n_logits == 1)
        find(r, 0, &r->sampler[0]);
    else if (r->n_logits)
        glia_team_run(r->team, find_share, r);
    if (r->found_bytes) gather_found(r, r->found_bytes);
    for (int i = 0; i < r->n_logits; i++)
        if (!r->use[i].best) gather_logits(r, i);
}

/* ---- orders ----------------------------------------------------------------- */

int32_t *glia_rank_order(glia_rank *r) { return r->order[r->n_orders % 2]; }

/* The order that every rank has now; NULL once a rank has failed. */
static const int32_t *broadcast(glia_rank *r) {
    int32_t *w = glia_rank_order(r);
    glia_comm *world = r->config.world;
    const size_t first = r->order_first;
    r->n_orders++;
    if (!world) return w;
    glia_comm_broadcast(world, 0, w, first * sizeof *w, 0);
    if (glia_comm_check(world, NULL)) return NULL;
    const size_t words = glia_order_length(w);
    if (words <= first) return w;
    glia_comm_broadcast(world, 0, w + first, (words - first) * sizeof *w, 0);
    return glia_comm_check(world, NULL) ? NULL : w;
}

static void measure(glia_rank *r) {
    if (r->config.world) glia_comm_barrier(r->config.world, 0); /* all ranks measure at once */
    glia_decoder_measure(r->decoder, &r->ceilings);
    if (!r->config.world) return;
    memcpy(r->found, &r->ceilings, sizeof r->ceilings);
    gather_found(r, sizeof r->ceilings);
}

/* Obey an order. Returns false after the last one. */
static bool obey(glia_rank *r, const int32_t *w) {
    glia_order o;
    glia_order_read(&o, w, r->table, r->rows);
    if (o.kind == ORDER_STEP) step(r, &o);
    if (o.kind == ORDER_MEASURE) measure(r);
    if (o.kind == ORDER_DRAFT) r->draft.model->config.method->sharing->obey(&r->draft, o.draft);
    for (int i = 0; i < o.n; i++) gather_logits(r, o.row[i]);
    return o.kind != ORDER_END;
}

glia_status glia_rank_lead(glia_rank *r, glia_err *err) {
    const int32_t *w = broadcast(r);
    if (w) obey(r, w);
    if (r->config.world) return glia_comm_check(r->config.world, err);
    return r->changed.status ? glia_fail(err, r->changed.status, "%s", r->changed.msg) : GLIA_OK;
}

glia_status glia_rank_follow(glia_rank *r, glia_err *err) {
    for (bool more = true; more;) {
        glia_guard_enter();
        const int32_t *w = broadcast(r);
        more = w && obey(r, w);
        glia_guard_leave();
    }
    return glia_comm_check(r->config.world, err);
}

const float *glia_rank_logits(const glia_rank *r, int i) {
    if (!r->config.world) return glia_decoder_logits(r->decoder, i);
    return r->logits + (size_t)i * (size_t)r->ranks * r->shard;
}

const void *glia_rank_tops(const glia_rank *r, int i) { return r->gathered + r->found_at[i]; }

const glia_ceilings *glia_rank_ceilings(const glia_rank *r, int i) {
    return r->config.world ? (const glia_ceilings *)(const void *)r->gathered + i : &r->ceilings;
}
