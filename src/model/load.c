/* load.c - find, check, cut, fuse, pack: the only place that binds weights.
 *
 * A list of packing jobs, one per matrix or vector, each made of the rank's rows of
 * up to three tensors, and of its columns of them; every thread packs its own
 * share of each job's panels. A dummy model runs the same jobs with rows drawn
 * from the seed instead of read. int8 matrices get their scales here, of each row
 * or of each tensor of the whole model, so that no rank count changes a value.
 * Only what the rank holds is read, and what those scales need. Source pages are
 * dropped behind the packing, so that a checkpoint does not count twice in
 * resident memory. */
#include "model/load.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/bf16.h"
#include "format/checkpoint.h"
#include "model/pack.h"

enum { PARTS_MAX = 3 };

typedef struct {
    const glia_tensor_view *tensor; /* NULL: dummy */
    const glia_preshard *preshard;  /* or NULL */
    glia_shard rows;                /* of the tensor, that the rank has */
    uint64_t key;                   /* of the dummy's draws */
    float fill;                     /* every element of a dummy's vector */
    _Atomic uint32_t most;          /* bits of its largest magnitude, where a tensor shares a scale */
} part;

typedef struct {
    glia_matrix *matrix; /* or NULL: a vector */
    float *vector;
    size_t columns; /* of the matrix or the vector, padding included */
    part part[PARTS_MAX];
    int n_parts;
    glia_shard cols; /* of every row, that the rank has */
    size_t lo, hi;   /* columns of whole rows that are read */
    bool alternate;  /* panels go to the parts in turns: gate, up */
    bool changes;    /* values of a part: rows go through float32 */
} pack_job;

typedef struct {
    glia_weights *w;
    const glia_weights_options *options;
    /* As which rank parts are cut, and its heads; see as_rank(). */
    glia_parallel parallel;
    const glia_head_cut *heads;
    glia_packer packer;
    glia_checkpoint checkpoint;
    const char *dir;
    pack_job *job;
    size_t n_jobs, jobs_max;
    const glia_tensor_view *(*found)[N_WEIGHTS]; /* [layers]; those of the model in [0] */
    uint64_t done, total;
    atomic_bool failed;      /* a thread had no memory for rows */
    const part *_Atomic bad; /* a tensor to quantise that holds NaN or infinity */
} loader;

/* One thread's rows: each [the longest row of the model]. */
typedef struct {
    float *lane;  /* [GLIA_PACK_COLUMNS] rows as they are packed */
    float *whole; /* a row before it is cut */
    size_t k_max;
} scratch;

/* ---- find and check ------------------------------------------------------- */

static glia_status check_tensor(const loader *l, const glia_weight *w, const char *name,
                                const glia_tensor_view *t, glia_err *err) {
    char found[128];
    if (!t) return glia_fail(err, GLIA_ERR_SHAPE, "%s: tensor %s is missing", l->dir, name);
    const bool vector = w->spec->cols == D_1;
    if (t->n_dims != (vector ? 1 : 2) || t->shape[0] != w->rows || (!vector && t->shape[1] != w->cols)) {
        glia_tensor_shape(t, found, sizeof found);
        if (vector)
            return glia_fail(err, GLIA_ERR_SHAPE, "%s: tensor %s has shape %s, expected [%lld]", l->dir, name,
                             found, (long long)w->rows);
        return glia_fail(err, GLIA_ERR_SHAPE, "%s: tensor %s has shape %s, expected [%lld, %lld]", l->dir,
                         name, found, (long long)w->rows, (long long)w->cols);
    }
    return glia_tensor_check_weight(t, l->dir, err);
}

/* Stored though not used: the copy of a tied head, and RoPE tables of old checkpoints. */
static bool redundant(const loader *l, const glia_tensor_view *t) {
    static const char suffix[] = ".rotary_emb.inv_freq";
    const size_t n = strlen(t->name);
    if (l->w->config->tied_head && strcmp(t->name, "lm_head.weight") == 0)
        return t->n_dims == 2 && t->shape[0] == l->w->config->vocab && t->shape[1] == l->w->config->hidden;
    return n >= sizeof suffix - 1 && strcmp(t->name + n - (sizeof suffix - 1), suffix) == 0;
}

/* The parts of a fused matrix share panels, and a panel is packed from one dtype. */
static glia_status check_fused(const loader *l, const glia_tensor_view *const *found, glia_err *err) {
    static const glia_weight_id pairs[][2] = {{W_Q, W_K}, {W_Q, W_V}, {W_GATE, W_UP}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        const glia_tensor_view *a = found[pairs[i][0]], *b = found[pairs[i][1]];
        if (a->dtype != b->dtype)
            return glia_fail(err, GLIA_ERR_UNSUPPORTED,
                             "%s: %s is %s and %s is %s; fused weights must share a dtype", l->dir, a->name,
                             glia_tensor_dtype_name(a->dtype), b->name, glia_tensor_dtype_name(b->dtype));
    }
    return GLIA_OK;
}

static glia_status find_all(loader *l, glia_err *err) {
    glia_weight w;
    const glia_checkpoint *c = &l->checkpoint;
    bool *used = calloc(c->n + 1, sizeof *used);
    if (!used) return glia_fail_nomem(err, c->n + 1, "the tensor list");
    glia_status status = GLIA_OK;
    for (size_t i = 0; status == GLIA_OK && glia_spec_weight(&w, l->w->spec, l->w->config, i); i++) {
        const char *name = glia_checkpoint_stored_name(c, w.name);
        const glia_tensor_view *t = glia_checkpoint_find(c, name);
        status = check_tensor(l, &w, name, t, err);
        if (status != GLIA_OK) break;
        used[t - c->tensor] = true;
        l->found[w.layer][w.spec->id] = t;
    }
    for (int i = 0; status == GLIA_OK && i < l->w->config->layers; i++)
        status = check_fused(l, l->found[i], err);
    for (size_t i = 0; status == GLIA_OK && i < c->n; i++)
        if (!used[i] && !redundant(l, &c->tensor[i]))
            status = glia_fail(err, GLIA_ERR_SHAPE, "%s: tensor %s is not one of %s", l->dir,
                               c->tensor[i].name, l->w->spec->architecture);
    free(used);
    return status;
}

/* ---- jobs ----------------------------------------------------------------- */

/* The rank's share of a weight; returns its columns. */
static glia_shard add_part(const loader *l, pack_job *job, size_t layer, glia_weight_id id) {
    const glia_weights *w = l->w;
    glia_shard cols;
    part *p = &job->part[job->n_parts++];
    p->tensor = l->options->dummy ? NULL : l->found[layer][id];
    for (size_t i = 0; p->tensor && i < w->spec->n_preshards; i++)
        if (w->spec->preshard[i].id == id) p->preshard = &w->spec->preshard[i];
    job->changes |= p->preshard && p->preshard->change;
    p->key = l->options->seed * 0x9e3779b97f4a7c15u + layer * N_WEIGHTS + id;
    p->fill = id >= W_Q_BIAS ? 0 : 1;
    glia_spec_shards(&p->rows, &cols, glia_spec_row(w->spec, w->config, id), w->config, &l->parallel,
                     l->heads);
    return cols;
}

/* The columns of its rows that a job reads: the hull of the rank's, or all. */
static void find_hull(pack_job *job, bool all) {
    glia_span s = {0};
    if (all) job->hi = job->cols.n;
    for (bool first = true; !all && glia_shard_next(&job->cols, &s); first = false) {
        if (first || s.from < job->lo) job->lo = s.from;
        if (s.from + s.n > job->hi) job->hi = s.from + s.n;
    }
}

static pack_job *add_matrix(loader *l, glia_matrix *m, size_t layer, glia_weight_id id) {
    pack_job *job = &l->job[l->n_jobs++];
    job->matrix = m;
    job->columns = m->columns;
    job->cols = add_part(l, job, layer, id);
    find_hull(job, m->dtype == GLIA_DTYPE_I8);
    return job;
}

static pack_job *add_vector(loader *l, const float *v, size_t layer, glia_weight_id id, size_t columns) {
    pack_job *job = &l->job[l->n_jobs];
    if (!v) return job; /* which the next call overwrites */
    l->n_jobs++;
    job->vector = (float *)(uintptr_t)v; /* ours: the plan's memory, const for readers */
    job->columns = columns;
    add_part(l, job, layer, id);
    return job;
}

/* Parts from here on are those of rank `rank` of `tp`, which share heads so. */
static void as_rank(loader *l, int tp, int rank, const glia_head_cut *heads) {
    l->parallel.tp = tp;
    l->parallel.rank = rank;
    l->heads = heads;
}
static void as_self(loader *l) {
    l->parallel = l->w->parallel;
    l->heads = &l->w->local.cut;
}

/* With context parallelism: the shards of the rank's union. */
static void add_union(loader *l, size_t i) {
    const glia_local *local = &l->w->local;
    const glia_parallel *p = &l->w->parallel;
    glia_layer_weights *w = &l->w->layer[i];
    for (int s = 0; s < local->cp; s++) {
        as_rank(l, p->tp, p->rank - local->shard + s, &local->cut);
        add_matrix(l, &w->q_shard[s], i, W_Q);
        add_matrix(l, &w->o_shard[s], i, W_O);
        add_vector(l, w->q_bias[s], i, W_Q_BIAS, local->q);
    }
    as_rank(l, p->tp / p->cp_degree, glia_cp_width_place(p->rank, p->cp_degree), &local->kv_cut);
    add_matrix(l, &w->kv, i, W_K);
    add_part(l, &l->job[l->n_jobs - 1], i, W_V);
    if (w->kv_bias) {
        pack_job *job = add_vector(l, w->kv_bias, i, W_K_BIAS, w->kv.columns);
        add_part(l, job, i, W_V_BIAS);
    }
    as_self(l);
}

static void add_qkvo(loader *l, size_t i) {
    glia_layer_weights *w = &l->w->layer[i];
    pack_job *job = add_matrix(l, &w->qkv, i, W_Q);
    add_part(l, job, i, W_K);
    add_part(l, job, i, W_V);
    add_matrix(l, &w->o, i, W_O);
    if (w->qkv_bias) {
        job = add_vector(l, w->qkv_bias, i, W_Q_BIAS, w->qkv.columns);
        add_part(l, job, i, W_K_BIAS);
        add_part(l, job, i, W_V_BIAS);
    }
}

static void add_layer(loader *l, size_t i) {
    const size_t hidden = (size_t)l->w->config->hidden, head = (size_t)l->w->config->head_dim;
    glia_layer_weights *w = &l->w->layer[i];
    if (w->qkv.columns)
        add_qkvo(l, i);
    else
        add_union(l, i);
    pack_job *job = add_matrix(l, &w->gate_up, i, W_GATE);
    add_part(l, job, i, W_UP);
    job->alternate = true;
    add_matrix(l, &w->down, i, W_DOWN);
    add_vector(l, w->in_norm, i, W_IN_NORM, hidden);
    add_vector(l, w->post_norm, i, W_POST_NORM, hidden);
    add_vector(l, w->q_norm, i, W_Q_NORM, head);
    add_vector(l, w->k_norm, i, W_K_NORM, head);
    add_vector(l, w->o_bias, i, W_O_BIAS, hidden);
    if (w->gate_up_bias) {
        job = add_vector(l, w->gate_up_bias, i, W_GATE_BIAS, w->gate_up.columns);
        add_part(l, job, i, W_UP_BIAS);
        job->alternate = true;
    }
    add_vector(l, w->down_bias, i, W_DOWN_BIAS, hidden);
}

/* A tied head with panels of its own is the embedding, cut as a head is. */
static void add_head(loader *l) {
    glia_weights *w = l->w;
    if (w->head.panels == w->embed.panels) return;
    l->parallel.vocab_parallel = true;
    add_matrix(l, &w->head, 0, w->config->tied_head ? W_EMBED : W_HEAD);
    as_self(l);
}

static uint64_t work_of(const pack_job *job) {
    return glia_pack_width(job->columns) * (job->matrix ? job->matrix->k : 1);
}

static void add_jobs(loader *l) {
    const glia_model_config *c = l->w->config;
    add_matrix(l, &l->w->embed, 0, W_EMBED);
    add_head(l);
    add_vector(l, l->w->final_norm, 0, W_FINAL_NORM, (size_t)c->hidden);
    for (size_t i = 0; i < (size_t)c->layers; i++) add_layer(l, i);
    for (size_t i = 0; i < l->n_jobs; i++) l->total += work_of(&l->job[i]);
}

/* ---- pack ----------------------------------------------------------------- */

/* The part and its tensor's row that column `i` is; NULL: zeros. */
static part *source(pack_job *job, size_t i, size_t *row) {
    enum { N = GLIA_PACK_COLUMNS };
    part *p = &job->part[job->alternate ? i / N % 2 : 0];
    if (job->alternate) i = i / N / 2 * N + i % N;
    for (; !job->alternate && i >= glia_shard_size(&p->rows); p++) {
        i -= glia_shard_size(&p->rows);
        if (p + 1 == job->part + job->n_parts) return NULL;
    }
    const ptrdiff_t from = i < glia_shard_size(&p->rows) ? glia_shard_source(&p->rows, i) : -1;
    *row = (size_t)from;
    return from < 0 ? NULL : p;
}

static uint64_t mix(uint64_t x) { /* the finalizer of SplitMix64, Steele et al. 2014 */
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

/* Columns [from, to) of row `row` of a dummy weight: uniform with the standard deviation 0.02 of a
 * freshly initialised model; a function of key, row and column alone. */
static void draw_row(float *y, uint64_t key, size_t row, size_t from, size_t to) {
    const uint64_t start = mix(key ^ mix(row + 1));
    for (size_t i = from; i < to; i++) {
        uint32_t h = (uint32_t)(start >> 32) + (uint32_t)i * 0x9e3779b9u;
        h = (h ^ h >> 16) * 0x7feb352du; /* Wellons' low-bias 32-bit finalizer */
        h = (h ^ h >> 15) * 0x846ca68bu ^ (uint32_t)start;
        y[i] = (float)(int32_t)h * (0.0346410162f / 0x1p31f); /* 0.02 * sqrt(3) */
    }
}

static float element(const part *p, size_t i) {
    uint16_t h;
    float f;
    if (!p->tensor) return p->fill;
    const char *data = p->tensor->data;
    if (p->tensor->dtype == GLIA_TENSOR_F32) {
        memcpy(&f, data + i * 4, 4);
        return f;
    }
    memcpy(&h, data + i * 2, 2);
    return p->tensor->dtype == GLIA_TENSOR_BF16 ? glia_bf16_to_f32(h) : glia_f16_to_f32(h);
}

/* What whole_row() gives; the parts of a job agree. */
static glia_dtype dtype_of(const pack_job *job) {
    const glia_tensor_view *t = job->part[0].tensor;
    if (!t || job->changes || t->dtype == GLIA_TENSOR_F32) return GLIA_DTYPE_F32;
    return t->dtype == GLIA_TENSOR_BF16 ? GLIA_DTYPE_BF16 : GLIA_DTYPE_F16;
}
static size_t size_of(const pack_job *job) { return dtype_of(job) == GLIA_DTYPE_F32 ? 4 : 2; }

static size_t stored_row(const loader *l, const part *p, size_t row) {
    if (!p->preshard || !p->preshard->source) return row;
    return (size_t)p->preshard->source(l->w->config, (int64_t)row);
}
static void change_row(const loader *l, const part *p, size_t row, float *x, size_t n) {
    if (p->preshard && p->preshard->change) p->preshard->change(l->w->config, (int64_t)row, x, (int64_t)n);
}

/* Row `row` of a weight, in which columns [lo, hi) can be read: where the file has
 * it, else made in `to`. */
static const char *whole_row(const loader *l, const pack_job *job, const part *p, size_t row, float *to) {
    const size_t n = job->cols.n;
    if (!p->tensor) {
        draw_row(to, p->key, row, job->lo, job->hi);
        return (const char *)to;
    }
    const size_t from = stored_row(l, p, row) * n;
    if (!job->changes) return (const char *)p->tensor->data + from * size_of(job);
    for (size_t i = 0; i < n; i++) to[i] = element(p, from + i);
    change_row(l, p, row, to, n);
    return (const char *)to;
}

/* The rank's columns of a whole row: where they are, if they stand side by side and
 * `stays` so, else in `to`. */
static const void *slice(const pack_job *job, const char *whole, bool stays, float *to) {
    const size_t size = size_of(job);
    glia_span s = {0};
    bool more = glia_shard_next(&job->cols, &s);
    if (stays && more && s.n == job->matrix->k) return whole + s.from * size;
    memset(to, 0, job->matrix->k * size);
    for (; more; more = glia_shard_next(&job->cols, &s))
        memcpy((char *)to + s.to * size, whole + s.from * size, s.n * size);
    return to;
}

/* The largest magnitude of a whole row; of a bad one 0, and the part is told. */
static float most_of(loader *l, const pack_job *job, const part *p, const char *whole) {
    const float most = glia_pack_most(&l->packer, whole, dtype_of(job), job->cols.n);
    if (!isnan(most)) return most;
    atomic_store(&l->bad, p);
    return 0;
}

/* Of all rows of each tensor, the rank's or not; magnitudes as bits are in order. */
static void find_most(loader *l, pack_job *job, int thread, const scratch *s) {
    for (part *p = job->part; p < job->part + job->n_parts; p++) {
        size_t from, to;
        float most = 0;
        uint32_t bits, old = 0;
        glia_share(p->rows.n, thread, glia_team_size(l->options->team), &from, &to);
        for (; from < to; from++)
            most = fmaxf(most, most_of(l, job, p, whole_row(l, job, p, from, s->whole)));
        memcpy(&bits, &most, sizeof bits);
        while (old < bits && !atomic_compare_exchange_weak(&p->most, &old, bits)) {
        }
    }
    glia_team_barrier(l->options->team); /* most */
}

static float shared_most(part *p) {
    const uint32_t bits = atomic_load(&p->most);
    float most;
    memcpy(&most, &bits, sizeof most);
    return most;
}

/* Pack columns [first, first + GLIA_PACK_COLUMNS). */
static void pack_columns(loader *l, pack_job *job, size_t first, const scratch *s) {
    const bool i8 = job->matrix->scale, per_tensor = i8 && l->options->quantize->per_tensor;
    const void *rows[GLIA_PACK_COLUMNS] = {0};
    float most[GLIA_PACK_COLUMNS] = {0};
    for (size_t lane = 0; lane < GLIA_PACK_COLUMNS; lane++) {
        size_t row;
        float *y = s->lane + lane * s->k_max;
        part *p = source(job, first + lane, &row);
        if (!p) continue;
        const bool all = job->cols.kind == GLIA_SHARD_ALL;
        const char *whole = whole_row(l, job, p, row, all ? y : s->whole);
        rows[lane] = all ? whole : slice(job, whole, whole != (const char *)s->whole, y);
        if (i8) most[lane] = per_tensor ? shared_most(p) : most_of(l, job, p, whole);
    }
    glia_pack(&l->packer, job->matrix, first, rows, dtype_of(job), most);
}

static void fill_vector(const loader *l, pack_job *job) {
    size_t row;
    for (size_t c = 0; c < glia_pack_width(job->columns); c++) {
        const part *p = source(job, c, &row);
        job->vector[c] = p ? element(p, stored_row(l, p, row)) : 0;
        if (p) change_row(l, p, row, &job->vector[c], 1);
    }
}

static void run_job(loader *l, pack_job *job, int thread, const scratch *s) {
    size_t from, to;
    if (!job->matrix) {
        if (thread == 0) fill_vector(l, job);
        return;
    }
    if (job->matrix->dtype == GLIA_DTYPE_I8 && l->options->quantize->per_tensor) find_most(l, job, thread, s);
    glia_pack_range(&from, &to, job->matrix, job->alternate, thread, glia_team_size(l->options->team));
    for (; from < to; from += GLIA_PACK_COLUMNS) pack_columns(l, job, from, s);
}

static void after_job(loader *l, const pack_job *job) {
    for (int i = 0; i < job->n_parts; i++)
        if (job->part[i].tensor) glia_checkpoint_drop(&l->checkpoint, job->part[i].tensor);
    l->done += work_of(job);
    if (l->options->progress)
        l->options->progress(l->options->user, l->options->dummy ? "making weights" : "loading weights",
                             l->done, l->total);
}

static void pack_all(void *arg, int thread) {
    loader *l = arg;
    scratch s = {0};
    for (size_t i = 0; i < l->n_jobs; i++)
        if (l->job[i].matrix && l->job[i].cols.n > s.k_max) s.k_max = l->job[i].cols.n;
    s.lane = malloc((GLIA_PACK_COLUMNS + 1) * s.k_max * sizeof *s.lane);
    s.whole = s.lane + GLIA_PACK_COLUMNS * s.k_max;
    if (!s.lane) atomic_store(&l->failed, true);
    glia_team_barrier(l->options->team);
    for (size_t i = 0; i < l->n_jobs && !atomic_load(&l->failed); i++) {
        run_job(l, &l->job[i], thread, &s);
        glia_team_barrier(l->options->team);
        if (thread == 0) after_job(l, &l->job[i]);
    }
    free(s.lane);
}

glia_status glia_weights_fill(glia_weights *w, const char *dir, const glia_weights_options *options,
                              glia_err *err) {
    loader l = {.w = w, .options = options, .dir = dir};
    glia_status status = GLIA_OK;
    glia_packer_init(&l.packer, options->cpu_flags);
    as_self(&l);
    l.jobs_max = 3 + (size_t)w->config->layers * (12 + 3 * GLIA_CP_MAX);
    l.job = calloc(l.jobs_max, sizeof *l.job);
    l.found = calloc((size_t)w->config->layers, sizeof *l.found);
    if (!l.job || !l.found) status = glia_fail_nomem(err, l.jobs_max * sizeof *l.job, "the loader");
    if (status == GLIA_OK && !options->dummy) {
        status = glia_checkpoint_open(&l.checkpoint, dir, err);
        if (status == GLIA_OK) status = find_all(&l, err);
    }
    if (status == GLIA_OK) {
        add_jobs(&l);
        glia_team_run(options->team, pack_all, &l);
        const part *bad = atomic_load(&l.bad);
        if (atomic_load(&l.failed)) status = glia_fail(err, GLIA_ERR_NOMEM, "no memory for rows of weights");
        if (!status && bad)
            status = glia_fail(err, GLIA_ERR_UNSUPPORTED,
                               "%s: tensor %s holds a value that is NaN or infinite, which int8 cannot", dir,
                               bad->tensor->name);
    }
    glia_checkpoint_close(&l.checkpoint);
    free(l.found);
    free(l.job);
    return status;
}
