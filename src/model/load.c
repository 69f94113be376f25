/* load.c - cut, fuse, quantise and pack the rows of a source.
 *
 * A packing job makes one matrix or vector that the rank holds. Every thread
 * packs its own range of columns of each job. The numbers that share an int8
 * scale are those of the whole model, and not only those that the rank holds,
 * so the number of ranks changes no value. Rotated rows are an exception: the rank
 * rotates what it holds of a row, and the scale is of that. A source need not read
 * more than the rank holds and such scales need. A weight's pages are dropped after each
 * job, so that resident memory does not hold a checkpoint twice. */
#include "model/load.h"

#include <float.h>
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "model/codes.h"
#include "model/fused.h"
#include "model/importance.h"
#include "model/row_source.h"

/* One of the weights that a job fuses. */
typedef struct {
    glia_weight_ref ref;
    glia_shard rows;       /* the weight's rows that become columns of the matrix */
    _Atomic uint32_t most; /* largest magnitude, as bits; where a whole tensor shares a scale */
} part;

/* Which columns of a weight become the k of a matrix of codes. */
typedef struct {
    int32_t *column; /* [k] the model's column, or -1: zero */
    int32_t *order;  /* [k] its number among the rank's columns, or -1 */
    int32_t *group;  /* [groups] the model's group */
    size_t groups;
} code_map;

typedef struct {
    const glia_matrix *matrix; /* NULL: a vector */
    float *vector;
    glia_matrix shape; /* of the vector too, which has k = 1 */
    bool alternate;
    part part[GLIA_FUSED_MAX];
    int n_parts;
    glia_shard cols;           /* the columns of each row that the rank holds */
    size_t from, to;           /* columns of whole rows that are needed */
    glia_stored_format format; /* of all rows */
    bool coded;                /* rows are codes, of weights of the checkpoint */
    code_map map;
    float *importance; /* [k] of the rank's columns; NULL: all are alike */
} pack_job;

typedef struct {
    const glia_weights *w;
    const glia_weights_options *options;
    glia_row_source *source;
    glia_device *device;
    pack_job *job;
    size_t n_jobs;
    size_t k_max; /* the longest row of a matrix */
    uint64_t done, total;
    atomic_bool failed;      /* a thread had no memory for rows */
    const part *_Atomic bad; /* a weight to quantise that holds NaN or infinity */
} loader;

/* Rows of one thread, [k_max] each; a matrix has no more codes and scales than k_max numbers. */
typedef struct {
    float *lane;          /* [GLIA_SWIGLU_GROUP] rows as they are packed, or their scales */
    float *whole;         /* a row before it is cut */
    float *held;          /* the rank's columns of a row */
    uint8_t *code, *zero; /* [GLIA_SWIGLU_GROUP] codes and zero points of rows */
    size_t k_max;
} scratch;

/* ---- jobs ----------------------------------------------------------------- */

/* A tied head's numbers are the embedding's. */
static glia_weight_ref ref_of(const glia_weights *w, const glia_held *h, int i) {
    const glia_weight_id id = h->fused->weight[i];
    return (glia_weight_ref){id == W_HEAD && w->config->tied_head ? W_EMBED : id, h->layer};
}

/* The rank's first column of whole rows, and the end of the last. */
static void find_hull(pack_job *job) {
    glia_slice s = {0};
    for (bool first = true; glia_shard_next(&job->cols, &s); first = false) {
        if (first || s.from < job->from) job->from = s.from;
        if (s.from + s.n > job->to) job->to = s.from + s.n;
    }
}

/* A row is packed together with rows of other weights, so all have one format. */
static glia_stored_format common_format(const glia_row_source *s, const pack_job *job) {
    const glia_stored_format first = s->format(s, job->part[0].ref);
    for (int i = 1; i < job->n_parts; i++)
        if (s->format(s, job->part[i].ref).dtype != first.dtype)
            return (glia_stored_format){.dtype = GLIA_DTYPE_F32};
    return first;
}

/* Are the rows of a job codes of the checkpoint? Its quantize says so for all weights of a matrix. */
static bool is_coded(const loader *l, const pack_job *job) {
    return l->source->coded && l->source->coded(l->source, job->part[0].ref) &&
           (glia_is_grouped(job->matrix->format) || job->matrix->format == GLIA_WEIGHT_I8);
}

static void make_job(pack_job *job, const glia_held *h, loader *l) {
    job->matrix = glia_held_matrix(h, l->w);
    job->vector = (float *)(uintptr_t)glia_held_vector(h, l->w); /* const for readers, ours to write */
    job->shape = glia_held_shape(h, l->w);
    job->alternate = h->fused->alternate;
    job->n_parts = h->fused->n_weights;
    for (int i = 0; i < job->n_parts; i++) {
        job->part[i].ref = ref_of(l->w, h, i);
        glia_held_shards(&job->part[i].rows, &job->cols, h, i, l->w);
    }
    if (job->matrix && job->matrix->format == GLIA_WEIGHT_I8 && !glia_rotates(job->matrix))
        job->to = job->cols.n; /* a scale is of a whole row */
    else
        find_hull(job);
    const bool numbers = job->matrix && (glia_rotates(job->matrix) || glia_is_grouped(job->matrix->format));
    job->format = numbers ? (glia_stored_format){.dtype = GLIA_DTYPE_F32} : common_format(l->source, job);
    job->coded = job->matrix && is_coded(l, job);
    if (job->matrix && job->cols.n > l->k_max) l->k_max = job->cols.n;
    if (job->shape.k > l->k_max) l->k_max = job->shape.k;
}

/* ---- codes ---------------------------------------------------------------- */

/* Append column number `i` of the rank, the model's `from`. */
static size_t add_column(code_map *map, size_t k, size_t i, ptrdiff_t from) {
    map->column[k] = (int32_t)from;
    map->order[k] = from < 0 ? -1 : (int32_t)i;
    return k + 1;
}

/* The columns of one group after another, each filled up with zeros to whole groups of the matrix. */
static void gather_columns(pack_job *job, const glia_coded *coded) {
    code_map *map = &job->map;
    const size_t n = glia_shard_size(&job->cols);
    size_t k = 0;
    for (size_t g = 0; g < (size_t)coded->groups; g++) {
        for (size_t i = 0; i < n; i++) {
            const ptrdiff_t from = glia_shard_source(&job->cols, i);
            if (from < 0 || glia_coded_group(coded, (size_t)from) != g) continue;
            map->group[k / job->shape.group] = (int32_t)g;
            k = add_column(map, k, i, from);
        }
        while (k % job->shape.group) k = add_column(map, k, 0, -1);
    }
    while (k < job->shape.k) k = add_column(map, k, 0, -1);
}

static void list_columns(pack_job *job, const glia_coded *coded) {
    code_map *map = &job->map;
    for (size_t k = 0; k < job->shape.k; k++) {
        const ptrdiff_t from = glia_shard_source(&job->cols, k);
        add_column(map, k, k, from);
        if (!job->shape.whole && job->shape.group && from >= 0)
            map->group[k / job->shape.group] = (int32_t)glia_coded_group(coded, (size_t)from);
    }
}

/* Fill the map of a job of codes. */
static glia_status map_columns(loader *l, pack_job *job, glia_err *err) {
    const glia_matrix *m = &job->shape;
    const glia_coded *coded = l->source->coded(l->source, job->part[0].ref);
    code_map *map = &job->map;
    map->groups = m->whole || !m->group ? 1 : (m->k + m->group - 1) / m->group;
    map->column = calloc(m->k, sizeof *map->column);
    map->order = calloc(m->k, sizeof *map->order);
    map->group = calloc(map->groups, sizeof *map->group);
    if (!map->column || !map->order || !map->group) return glia_fail_nomem(err, m->k * 8, "the loader");
    if (m->inputs)
        gather_columns(job, coded);
    else
        list_columns(job, coded);
    return GLIA_OK;
}

static void free_jobs(loader *l) {
    for (size_t i = 0; i < l->n_jobs; i++) {
        free(l->job[i].map.column);
        free(l->job[i].map.order);
        free(l->job[i].map.group);
        free(l->job[i].importance);
    }
    free(l->job);
}

static const void *slice(const pack_job *job, const char *whole, bool stays, float *to);

/* Each element of a rotated block has the mean square of the block, if its elements are not correlated. */
static void spread(float *x, size_t n, size_t block) {
    for (size_t at = 0; block > 1 && at < n; at += block) {
        float sum = 0;
        for (size_t i = at; i < at + block; i++) sum += x[i];
        for (size_t i = at; i < at + block; i++) x[i] = sum / (float)block;
    }
}

/* Set the importance of the columns of a job whose codes are made here. */
static glia_status weigh_columns(loader *l, pack_job *job, const glia_held *h, glia_err *err) {
    const glia_quantize *q = l->options->quantize;
    if (!q || !q->importance || !job->matrix || job->coded || job->matrix->format != GLIA_WEIGHT_C4)
        return GLIA_OK;
    float *x = job->importance = malloc(job->shape.k * sizeof *x);
    if (!x) return glia_fail_nomem(err, job->shape.k * sizeof *x, "the loader");
    slice(job, (const char *)glia_importance_of(q->importance, h->layer, h->fused->product), false, x);
    spread(x, job->shape.k, job->shape.rotate);
    const float mean = glia_importance_mean(q->importance, h->layer, h->fused->product),
                least = mean > 0 ? 1e-3f * mean : 1; /* no column counts for nothing */
    for (size_t i = 0; i < job->shape.k; i++) x[i] += least;
    return GLIA_OK;
}

static uint64_t work_of(const pack_job *job) { return job->shape.columns * job->shape.k; }

static glia_status make_jobs(loader *l, glia_err *err) {
    size_t n = 0;
    for (glia_held h = {0}; glia_held_next(&h, l->w);) n++;
    l->job = calloc(n, sizeof *l->job);
    if (!l->job) return glia_fail_nomem(err, n * sizeof *l->job, "the loader");
    glia_status status = GLIA_OK;
    for (glia_held h = {0}; !status && glia_held_next(&h, l->w);) {
        pack_job *job = &l->job[l->n_jobs++];
        make_job(job, &h, l);
        l->total += work_of(job);
        if (job->coded) status = map_columns(l, job, err);
        if (!status) status = weigh_columns(l, job, &h, err);
    }
    return status;
}

/* ---- rows ----------------------------------------------------------------- */

/* The weight and its row that become column `i` of a job; NULL: a column of zeros. */
static part *origin(pack_job *job, size_t i, size_t *row) {
    enum { N = GLIA_SWIGLU_GROUP };
    const size_t n = (size_t)job->n_parts;
    part *p = &job->part[job->alternate ? i / N % n : 0];
    if (job->alternate) i = i / N / n * N + i % N;
    for (; !job->alternate && i >= glia_shard_size(&p->rows); p++) {
        i -= glia_shard_size(&p->rows);
        if (p + 1 == job->part + n) return NULL;
    }
    const ptrdiff_t from = i < glia_shard_size(&p->rows) ? glia_shard_source(&p->rows, i) : -1;
    *row = (size_t)from;
    return from < 0 ? NULL : p;
}

static const char *whole_row(const loader *l, const pack_job *job, const part *p, size_t row, float *buffer) {
    return l->source->read(l->source, p->ref, row, job->from, job->to, job->format, buffer).numbers;
}

/* The rank's columns of a whole row: a pointer into it if they stand side by side and the row stays where it
 * is, else a copy in `to`. */
static const void *slice(const pack_job *job, const char *whole, bool stays, float *to) {
    const size_t size = job->format.dtype == GLIA_DTYPE_F32 ? 4 : 2;
    glia_slice s = {0};
    bool more = glia_shard_next(&job->cols, &s);
    if (stays && more && s.n == job->shape.k) return whole + s.from * size;
    memset(to, 0, job->shape.k * size);
    for (; more; more = glia_shard_next(&job->cols, &s))
        memcpy((char *)to + s.to * size, whole + s.from * size, s.n * size);
    return to;
}

/* ---- scales --------------------------------------------------------------- */

/* The largest magnitude of row [n]. Returns 0 and marks the weight bad if the row is not finite. */
static float most_of(loader *l, const pack_job *job, const part *p, const void *row, size_t n) {
    const float most = l->device->ops->most(l->device, row, job->format.dtype, n);
    if (!isnan(most)) return most;
    atomic_store(&l->bad, p);
    return 0;
}

/* Fill part.most from all rows of the model's weights. All threads call it; bits of magnitudes are in order
 * of the magnitudes. */
static void find_most(loader *l, pack_job *job, int thread, const scratch *s) {
    for (part *p = job->part; p < job->part + job->n_parts; p++) {
        size_t from, to;
        float most = 0;
        uint32_t bits, old = 0;
        glia_share(p->rows.n, thread, glia_team_size(l->options->team), &from, &to);
        for (; from < to; from++)
            most = fmaxf(most, most_of(l, job, p, whole_row(l, job, p, from, s->whole), job->cols.n));
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

/* The scale of numbers of magnitude up to `most`: 0 or a normal number. */
static float scale_of(float most) { return most / GLIA_I8_MAX >= FLT_MIN ? most / GLIA_I8_MAX : 0; }

/* Does the job need one scale for each tensor of the checkpoint? */
static bool scales_tensors(const loader *l, const pack_job *job) {
    return job->matrix->scale && !job->coded && l->options->quantize->per_tensor;
}

/* ---- pack ----------------------------------------------------------------- */

/* The rank's columns of a row, as they are packed, in memory of the source or in y; and their scale. */
static const void *prepare_row(loader *l, const pack_job *job, part *p, size_t row, const scratch *s,
                               float *y, float *scale) {
    const bool all = job->cols.kind == GLIA_SHARD_ALL;
    const char *whole = whole_row(l, job, p, row, all ? y : s->whole);
    const void *held = all ? whole : slice(job, whole, whole != (const char *)s->whole, y);
    const size_t k = job->shape.k;
    if (glia_rotates(job->matrix)) {
        if (held != y) memcpy(y, held, k * sizeof *y);
        l->device->ops->rotate(l->device, y, k, job->matrix->rotate);
        *scale = scale_of(most_of(l, job, p, y, k));
        return y;
    }
    if (job->matrix->scale)
        *scale = scale_of(scales_tensors(l, job) ? shared_most(p) : most_of(l, job, p, whole, job->cols.n));
    return held;
}

/* Pack columns [first, first + GLIA_SWIGLU_GROUP). */
static void pack_columns(loader *l, pack_job *job, size_t first, const scratch *s) {
    const void *rows[GLIA_SWIGLU_GROUP] = {0};
    float scale[GLIA_SWIGLU_GROUP] = {0};
    for (size_t lane = 0; lane < GLIA_SWIGLU_GROUP; lane++) {
        size_t row;
        part *p = origin(job, first + lane, &row);
        if (p) rows[lane] = prepare_row(l, job, p, row, s, s->lane + lane * s->k_max, &scale[lane]);
    }
    l->device->ops->pack(l->device, job->matrix, first, rows, job->format.dtype, scale);
}

/* The code whose value is zero, for columns that the model does not have. */
static uint8_t zero_code(const glia_coded *c, int8_t zero) {
    if (c->format != GLIA_WEIGHT_C4 || c->zeros) return c->format == GLIA_WEIGHT_F8 ? 0 : (uint8_t)zero;
    for (uint8_t code = 0; code < GLIA_CODES; code++)
        if (c->table[code] == 0) return code;
    return 0;
}

/* The codes, scales and zero points of a row, in the order of the job's map. */
static void prepare_codes(loader *l, const pack_job *job, part *p, size_t row, const scratch *s,
                          uint8_t *code, float *scale, int8_t *zero) {
    const glia_coded *coded = l->source->coded(l->source, p->ref);
    const code_map *map = &job->map;
    uint8_t *whole = (uint8_t *)s->whole;
    const size_t group = job->shape.whole || !job->shape.group ? job->shape.k : job->shape.group;
    for (size_t g = 0; g < map->groups; g++) {
        scale[g] = glia_coded_scale(coded, row, (size_t)map->group[g], &zero[g]);
        if (!isfinite(scale[g])) atomic_store(&l->bad, p);
    }
    glia_coded_codes(coded, row, whole);
    if (job->cols.kind == GLIA_SHARD_ALL && !job->shape.inputs)
        memcpy(code, whole, job->shape.k);
    else
        for (size_t k = 0; k < job->shape.k; k++)
            code[k] = map->column[k] < 0 ? zero_code(coded, zero[k / group]) : whole[map->column[k]];
    if (!glia_coded_are_codes(coded, code, job->shape.k)) atomic_store(&l->bad, p);
}

/* The same of a row of numbers. */
static void make_codes(loader *l, const pack_job *job, part *p, size_t row, const scratch *s, uint8_t *code,
                       float *scale, int8_t *zero) {
    const glia_matrix *m = &job->shape;
    const size_t group = m->whole ? m->k : m->group;
    float *x = s->held;
    slice(job, whole_row(l, job, p, row, s->whole), false, x);
    if (isnan(l->device->ops->most(l->device, x, GLIA_DTYPE_F32, m->k))) {
        atomic_store(&l->bad, p);
        return;
    }
    if (glia_rotates(m)) l->device->ops->rotate(l->device, x, m->k, m->rotate);
    for (size_t k = 0, n; k < m->k; k += n, scale++, zero++) {
        n = m->k - k < group ? m->k - k : group;
        glia_make_codes(code + k, scale, zero, x + k, job->importance ? job->importance + k : NULL, n,
                        m->format, m->zeros);
    }
}

/* Pack columns [first, first + GLIA_SWIGLU_GROUP) of codes. */
static void pack_coded(loader *l, pack_job *job, size_t first, const scratch *s) {
    const uint8_t *codes[GLIA_SWIGLU_GROUP] = {0};
    const float *scales[GLIA_SWIGLU_GROUP] = {0};
    const int8_t *zeros[GLIA_SWIGLU_GROUP] = {0};
    for (size_t lane = 0; lane < GLIA_SWIGLU_GROUP; lane++) {
        size_t row;
        part *p = origin(job, first + lane, &row);
        if (!p) continue;
        const size_t at = lane * s->k_max;
        if (job->coded)
            prepare_codes(l, job, p, row, s, s->code + at, s->lane + at, (int8_t *)s->zero + at);
        else
            make_codes(l, job, p, row, s, s->code + at, s->lane + at, (int8_t *)s->zero + at);
        codes[lane] = s->code + at;
        scales[lane] = s->lane + at;
        zeros[lane] = (int8_t *)s->zero + at;
    }
    l->device->ops->pack_codes(l->device, job->matrix, first, codes, scales, zeros);
}

static void fill_vector(const loader *l, pack_job *job) {
    const glia_stored_format f32 = {.dtype = GLIA_DTYPE_F32};
    const glia_device_ops *ops = l->device->ops;
    size_t row;
    for (size_t i = 0; i < ops->columns(job->shape.columns); i++) {
        const part *p = origin(job, i, &row);
        float number = 0, room;
        if (p)
            memcpy(&number, l->source->read(l->source, p->ref, row, 0, 1, f32, &room).numbers, sizeof number);
        ops->upload(job->vector + i, &number, sizeof number);
    }
}

/* The values of 4-bit codes without zero points. */
static const float integers[GLIA_CODES] = {-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7};

static void run_job(loader *l, pack_job *job, int thread, const scratch *s) {
    size_t from, to;
    if (!job->matrix) {
        if (thread == 0) fill_vector(l, job);
        return;
    }
    if (scales_tensors(l, job)) find_most(l, job, thread, s);
    l->device->ops->first_columns(job->matrix, job->alternate ? GLIA_SWIGLU : GLIA_STORE, thread,
                                  glia_team_size(l->options->team), &from, &to);
    const bool grouped = glia_is_grouped(job->shape.format);
    if (grouped && thread == 0)
        l->device->ops->set_codes(
            l->device, job->matrix,
            job->coded ? l->source->coded(l->source, job->part[0].ref)->table : integers, job->map.order);
    for (; from < to; from += GLIA_SWIGLU_GROUP)
        if (job->coded || grouped)
            pack_coded(l, job, from, s);
        else
            pack_columns(l, job, from, s);
}

static void after_job(loader *l, const pack_job *job) {
    for (int i = 0; i < job->n_parts; i++) l->source->drop(l->source, job->part[i].ref);
    l->done += work_of(job);
    if (l->options->progress) l->options->progress(l->options->user, l->source->progress, l->done, l->total);
}

static void pack_all(void *arg, int thread) {
    loader *l = arg;
    const size_t bytes = (GLIA_SWIGLU_GROUP + 2) * sizeof(float) + 2 * GLIA_SWIGLU_GROUP; /* of an element */
    scratch s = {.k_max = l->k_max, .lane = malloc(l->k_max * bytes)};
    s.whole = s.lane + GLIA_SWIGLU_GROUP * s.k_max;
    s.held = s.whole + s.k_max;
    s.code = (uint8_t *)(s.held + s.k_max);
    s.zero = s.code + GLIA_SWIGLU_GROUP * s.k_max;
    if (!s.lane) atomic_store(&l->failed, true);
    glia_team_barrier(l->options->team);
    for (size_t i = 0; i < l->n_jobs && !atomic_load(&l->failed); i++) {
        run_job(l, &l->job[i], thread, &s);
        glia_team_barrier(l->options->team);
        if (thread == 0) after_job(l, &l->job[i]);
    }
    free(s.lane);
}

static glia_status open_source(loader *l, const char *dir, glia_err *err) {
    const glia_weights *w = l->w;
    return l->options->dummy ? glia_source_dummy(&l->source, w->spec, w->config, l->options->seed, err)
                             : glia_source_plain(&l->source, dir, w->spec, w->config, err);
}

static glia_status pack_jobs(loader *l, const char *dir, glia_err *err) {
    glia_team_run(l->options->team, pack_all, l);
    const part *bad = atomic_load(&l->bad);
    if (atomic_load(&l->failed)) return glia_fail(err, GLIA_ERR_NOMEM, "no memory for rows of weights");
    if (!bad) return GLIA_OK;
    return glia_fail(err, GLIA_ERR_UNSUPPORTED,
                     "%s: tensor %s holds a value that is NaN or infinite%s, which a quantised weight cannot",
                     dir, l->source->name(l->source, bad->ref),
                     l->source->coded && l->source->coded(l->source, bad->ref) ? ", or its scales do" : "");
}

glia_status glia_weights_fill(glia_weights *w, const char *dir, const glia_weights_options *options,
                              glia_err *err) {
    loader l = {.w = w, .options = options};
    glia_status status = w->device->open(&l.device, options->team, options->cpu_flags, NULL, NULL, 0, err);
    if (!status) status = open_source(&l, dir, err);
    if (!status) status = make_jobs(&l, err);
    if (!status) status = pack_jobs(&l, dir, err);
    const glia_status changed = l.source ? l.source->check(l.source, err) : GLIA_OK;
    if (changed) status = changed;
    if (l.source) l.source->close(l.source);
    if (l.device) w->device->close(l.device);
    free_jobs(&l);
    return status;
}
