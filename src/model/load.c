/* load.c - find, check, fuse, pack: the only place that binds weights.
 *
 * A list of packing jobs, one per matrix or vector, each made of up to three
 * tensors; every thread packs its own share of each job's panels. A dummy model
 * runs the same jobs with rows drawn from the seed instead of read. int8 matrices
 * get their scales here, of each row or of each tensor. Source
 * pages are dropped behind the packing, so that a checkpoint does not count twice
 * in resident memory. */
#include "model/load.h"

#include <float.h>
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/bf16.h"
#include "format/checkpoint.h"

enum { PARTS_MAX = 3 };

typedef struct {
    const glia_tensor_view *tensor; /* NULL: dummy */
    size_t rows;
    uint64_t key; /* of the dummy's draws */
    float fill;   /* every element of a dummy's vector */
} part;

typedef struct {
    glia_matrix *matrix; /* or NULL: a vector */
    float *vector;
    size_t columns; /* of the vector, parts and padding */
    part part[PARTS_MAX];
    int n_parts;
    bool alternate; /* panels go to the parts in turns: gate, up */
} pack_job;

typedef struct {
    glia_weights *w;
    const glia_weights_options *options;
    glia_kernels kernels;
    glia_checkpoint checkpoint;
    const char *dir;
    bool bare; /* names lack the prefix "model." (Qwen3-Embedding) */
    pack_job *job;
    size_t n_jobs, jobs_max;
    const glia_tensor_view *(*found)[N_WEIGHTS]; /* [layers]; those of the model in [0] */
    uint64_t done, total;
    atomic_bool failed;      /* a thread had no memory for dummy rows */
    const part *_Atomic bad; /* a tensor to quantise that holds NaN or infinity */
} loader;

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

static const char *name_of(const loader *l, const glia_weight *w) {
    static const char prefix[] = "model.";
    return l->bare && strncmp(w->name, prefix, sizeof prefix - 1) == 0 ? w->name + sizeof prefix - 1
                                                                       : w->name;
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
    l->bare = !glia_checkpoint_find(c, "model.embed_tokens.weight") &&
              glia_checkpoint_find(c, "embed_tokens.weight");
    for (size_t i = 0; status == GLIA_OK && glia_spec_weight(&w, l->w->spec, l->w->config, i); i++) {
        const char *name = name_of(l, &w);
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

static void add_part(const loader *l, pack_job *job, size_t layer, glia_weight_id id, int64_t rows) {
    job->part[job->n_parts++] = (part){
        .tensor = l->options->dummy ? NULL : l->found[layer][id],
        .rows = (size_t)rows,
        .key = l->options->seed * 0x9e3779b97f4a7c15u + layer * N_WEIGHTS + id,
        .fill = id >= W_Q_BIAS ? 0 : 1,
    };
}

static pack_job *add_matrix(loader *l, glia_matrix *m, size_t layer, glia_weight_id id, int64_t rows) {
    pack_job *job = &l->job[l->n_jobs++];
    job->matrix = m;
    add_part(l, job, layer, id, rows);
    return job;
}

static void add_vector(loader *l, const float *v, size_t layer, glia_weight_id id, int64_t n) {
    if (!v) return;
    pack_job *job = &l->job[l->n_jobs++];
    job->vector = (float *)(uintptr_t)v; /* ours: the plan's memory, const for readers */
    job->columns = (size_t)n;
    add_part(l, job, layer, id, n);
}

static void add_layer(loader *l, size_t i) {
    const glia_model_config *c = l->w->config;
    glia_layer_weights *w = &l->w->layer[i];
    const int64_t q = glia_dim_of(c, D_Q), kv = glia_dim_of(c, D_KV);
    pack_job *job = add_matrix(l, &w->qkv, i, W_Q, q);
    add_part(l, job, i, W_K, kv);
    add_part(l, job, i, W_V, kv);
    add_matrix(l, &w->o, i, W_O, c->hidden);
    job = add_matrix(l, &w->gate_up, i, W_GATE, c->ffn);
    add_part(l, job, i, W_UP, c->ffn);
    job->alternate = true;
    add_matrix(l, &w->down, i, W_DOWN, c->hidden);
    add_vector(l, w->in_norm, i, W_IN_NORM, c->hidden);
    add_vector(l, w->post_norm, i, W_POST_NORM, c->hidden);
    add_vector(l, w->q_norm, i, W_Q_NORM, c->head_dim);
    add_vector(l, w->k_norm, i, W_K_NORM, c->head_dim);
    if (w->qkv_bias) {
        job = &l->job[l->n_jobs];
        add_vector(l, w->qkv_bias, i, W_Q_BIAS, q);
        add_part(l, job, i, W_K_BIAS, kv);
        add_part(l, job, i, W_V_BIAS, kv);
    }
    add_vector(l, w->o_bias, i, W_O_BIAS, c->hidden);
    if (w->gate_up_bias) {
        job = &l->job[l->n_jobs];
        add_vector(l, w->gate_up_bias, i, W_GATE_BIAS, c->ffn);
        add_part(l, job, i, W_UP_BIAS, c->ffn);
        job->alternate = true;
    }
    add_vector(l, w->down_bias, i, W_DOWN_BIAS, c->hidden);
}

static void add_jobs(loader *l) {
    const glia_model_config *c = l->w->config;
    add_matrix(l, &l->w->embed, 0, W_EMBED, c->vocab);
    if (l->w->head.panels != l->w->embed.panels)
        add_matrix(l, &l->w->head, 0, c->tied_head ? W_EMBED : W_HEAD, c->vocab);
    add_vector(l, l->w->final_norm, 0, W_FINAL_NORM, c->hidden);
    for (size_t i = 0; i < (size_t)c->layers; i++) add_layer(l, i);
    for (size_t i = 0; i < l->n_jobs; i++)
        for (int p = 0; p < l->job[i].n_parts; p++)
            l->total += l->job[i].part[p].rows * (l->job[i].matrix ? l->job[i].matrix->k : 1);
}

/* ---- pack ----------------------------------------------------------------- */

/* The part and its row that column `lane` of panel `panel` is; NULL: padding. */
static const part *source(const pack_job *job, size_t panel, size_t lane, size_t *row) {
    if (job->alternate) {
        const part *p = &job->part[panel % 2];
        *row = panel / 2 * GLIA_PANEL + lane;
        return *row < p->rows ? p : NULL;
    }
    *row = panel * GLIA_PANEL + lane;
    for (int i = 0; i < job->n_parts; i++) {
        if (*row < job->part[i].rows) return &job->part[i];
        *row -= job->part[i].rows;
    }
    return NULL;
}

static uint64_t mix(uint64_t x) { /* the finalizer of SplitMix64, Steele et al. 2014 */
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

/* Row `row` of a dummy weight: uniform with the standard deviation 0.02 of a
 * freshly initialised model; a function of key, row and column alone. */
static void draw_row(float *y, uint64_t key, size_t row, size_t k) {
    const uint64_t start = mix(key ^ mix(row + 1));
    for (size_t i = 0; i < k; i++) {
        uint32_t h = (uint32_t)(start >> 32) + (uint32_t)i * 0x9e3779b9u;
        h = (h ^ h >> 16) * 0x7feb352du; /* Wellons' low-bias 32-bit finalizer */
        h = (h ^ h >> 15) * 0x846ca68bu ^ (uint32_t)start;
        y[i] = (float)(int32_t)h * (0.0346410162f / 0x1p31f); /* 0.02 * sqrt(3) */
    }
}

static glia_dtype dtype_of(const glia_tensor_view *t) {
    return t->dtype == GLIA_TENSOR_F32    ? GLIA_DTYPE_F32
           : t->dtype == GLIA_TENSOR_BF16 ? GLIA_DTYPE_BF16
                                          : GLIA_DTYPE_F16;
}

/* The 16 rows of a panel, NULL where it is padding; a dummy's are made in `drawn`. */
static glia_dtype gather(const pack_job *job, size_t panel, float *drawn, const void *rows[GLIA_PANEL]) {
    const size_t k = job->matrix->k;
    glia_dtype from = GLIA_DTYPE_F32;
    for (size_t lane = 0; lane < GLIA_PANEL; lane++) {
        size_t row;
        const part *p = source(job, panel, lane, &row);
        rows[lane] = NULL;
        if (!p) continue;
        if (p->tensor) {
            from = dtype_of(p->tensor);
            rows[lane] = (const char *)p->tensor->data + row * k * (from == GLIA_DTYPE_F32 ? 4 : 2);
        } else {
            rows[lane] = drawn + lane * k;
            draw_row(drawn + lane * k, p->key, row, k);
        }
    }
    return from;
}

/* Scales of a panel's rows by themselves: the largest / 127, 0 where that is no normal number. */
static void scale_panel(loader *l, const pack_job *job, size_t panel, const void *const rows[GLIA_PANEL],
                        glia_dtype from) {
    size_t row;
    for (size_t lane = 0; lane < GLIA_PANEL; lane++) {
        const float most = rows[lane] ? l->kernels.absmax(rows[lane], from, job->matrix->k) : 0;
        const float scale = most / GLIA_I8_MAX;
        if (isnan(most)) atomic_store(&l->bad, source(job, panel, lane, &row));
        job->matrix->scale[panel * GLIA_PANEL + lane] = scale >= FLT_MIN ? scale : 0;
    }
}

/* The largest scale of a tensor's rows, for all of them. */
static void share_scales(const pack_job *job, float largest[PARTS_MAX]) {
    size_t row;
    for (int i = 0; i < PARTS_MAX; i++) largest[i] = 0;
    for (size_t c = 0; c < glia_panels(job->matrix->columns) * GLIA_PANEL; c++) {
        const part *p = source(job, c / GLIA_PANEL, c % GLIA_PANEL, &row);
        if (p && job->matrix->scale[c] > largest[p - job->part])
            largest[p - job->part] = job->matrix->scale[c];
    }
}

static void pack_panel(loader *l, const pack_job *job, size_t panel, float *drawn, const float *shared) {
    const glia_matrix *m = job->matrix;
    char *to = (char *)m->panels + panel * glia_panel_bytes(m->dtype, m->k);
    const void *rows[GLIA_PANEL];
    const glia_dtype from = gather(job, panel, drawn, rows);
    size_t row;
    if (m->dtype != GLIA_DTYPE_I8) {
        l->kernels.pack(to, m->dtype, rows, from, m->k);
        return;
    }
    float *scale = m->scale + panel * GLIA_PANEL;
    if (!shared) scale_panel(l, job, panel, rows, from);
    for (size_t lane = 0; shared && lane < GLIA_PANEL; lane++)
        if (rows[lane]) scale[lane] = shared[source(job, panel, lane, &row) - job->part];
    l->kernels.pack_i8(to, rows, from, m->k, scale);
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

static void fill_vector(const pack_job *job) {
    size_t padded = 0, row;
    for (int i = 0; i < job->n_parts; i++) padded += job->part[i].rows;
    if (job->alternate) padded = 2 * glia_panels(job->part[0].rows) * GLIA_PANEL;
    padded = glia_panels(padded) * GLIA_PANEL;
    for (size_t c = 0; c < padded; c++) {
        const part *p = source(job, c / GLIA_PANEL, c % GLIA_PANEL, &row);
        job->vector[c] = p ? element(p, row) : 0;
    }
}

static void run_job(loader *l, const pack_job *job, int thread, float *drawn) {
    size_t from, to;
    if (!job->matrix) {
        if (thread == 0) fill_vector(job);
        return;
    }
    glia_device_panels(job->matrix, job->alternate ? GLIA_SWIGLU : GLIA_STORE, thread,
                       glia_team_size(l->options->team), &from, &to);
    float shared[PARTS_MAX];
    const bool per_tensor = job->matrix->dtype == GLIA_DTYPE_I8 && l->options->quantize->per_tensor;
    for (size_t p = from; per_tensor && p < to; p++) {
        const void *rows[GLIA_PANEL];
        const glia_dtype dtype = gather(job, p, drawn, rows);
        scale_panel(l, job, p, rows, dtype);
    }
    if (per_tensor) {
        glia_team_barrier(l->options->team); /* scales of rows */
        share_scales(job, shared);
        glia_team_barrier(l->options->team); /* all have read them */
    }
    for (size_t p = from; p < to; p++) pack_panel(l, job, p, drawn, per_tensor ? shared : NULL);
}

static void after_job(loader *l, const pack_job *job) {
    for (int i = 0; i < job->n_parts; i++) {
        if (job->part[i].tensor) glia_checkpoint_drop(&l->checkpoint, job->part[i].tensor);
        l->done += job->part[i].rows * (job->matrix ? job->matrix->k : 1);
    }
    if (l->options->progress)
        l->options->progress(l->options->user, l->options->dummy ? "making weights" : "loading weights",
                             l->done, l->total);
}

static void pack_all(void *arg, int thread) {
    loader *l = arg;
    float *drawn = NULL;
    size_t k_max = 0;
    for (size_t i = 0; i < l->n_jobs; i++)
        if (l->job[i].matrix && l->job[i].matrix->k > k_max) k_max = l->job[i].matrix->k;
    if (l->options->dummy) {
        drawn = malloc(GLIA_PANEL * k_max * sizeof *drawn);
        if (!drawn) atomic_store(&l->failed, true);
    }
    glia_team_barrier(l->options->team);
    for (size_t i = 0; i < l->n_jobs && !atomic_load(&l->failed); i++) {
        run_job(l, &l->job[i], thread, drawn);
        glia_team_barrier(l->options->team);
        if (thread == 0) after_job(l, &l->job[i]);
    }
    free(drawn);
}

glia_status glia_weights_fill(glia_weights *w, const char *dir, const glia_weights_options *options,
                              glia_err *err) {
    loader l = {.w = w, .options = options, .dir = dir};
    glia_status status = GLIA_OK;
    glia_kernels_init(&l.kernels, options->cpu_flags);
    l.jobs_max = 3 + (size_t)w->config->layers * 12;
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
        if (atomic_load(&l.failed)) status = glia_fail(err, GLIA_ERR_NOMEM, "no memory for dummy weights");
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
