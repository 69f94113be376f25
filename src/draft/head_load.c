/* head_load.c - the memory of a draft head's weights, and how they are packed. */
#include <float.h>
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/bf16.h"
#include "draft/head.h"

/* ---- memory ------------------------------------------------------------------------ */

/* The matrix of an item without memory; a vector is a float32 matrix with k = 1. */
static glia_matrix shape_of(const glia_head *h, const glia_head_item *item) {
    glia_matrix m = {.format = item->matrix ? h->format : GLIA_WEIGHT_F32, .k = 1};
    for (int i = 0; i < item->n_parts; i++) {
        const glia_tensor_view *t = item->part[i];
        const size_t rows = (size_t)t->shape[0];
        if (item->matrix) m.k = (size_t)t->shape[1];
        m.columns += !item->matrix && t->n_dims == 2 ? rows * (size_t)t->shape[1]
                     : item->alternate               ? glia_swiglu_columns(rows)
                                                     : rows;
    }
    return m;
}

static size_t bytes_of(const glia_head_item *item, const glia_matrix *m) {
    return item->matrix ? glia_cpu.matrix_bytes(m) : glia_cpu.columns(m->columns) * sizeof(float);
}

static size_t aligned(size_t bytes) { return (bytes + GLIA_ALIGN - 1) / GLIA_ALIGN * GLIA_ALIGN; }

void glia_head_plan(const glia_head *h, glia_plan *plan) {
    size_t bytes = h->plan.bytes; /* of a loaded head, whose file is closed */
    for (int i = 0; i < h->n_items && !h->plan.base; i++) {
        const glia_matrix m = shape_of(h, &h->item[i]);
        bytes += aligned(bytes_of(&h->item[i], &m)) + aligned(glia_cpu.scale_bytes(&m));
    }
    glia_plan_add(plan, "draft: weights", 1, bytes);
}

static glia_status bind(glia_head *h, glia_dtype dtype, unsigned cpu_flags, glia_err *err) {
    glia_head_plan(h, &h->plan);
    glia_status status = glia_plan_map(&h->plan, "the draft's weights", err);
    char *at = status ? NULL : glia_plan_at(&h->plan, 0);
    for (int i = 0; i < h->n_items && !status; i++) {
        glia_matrix m = shape_of(h, &h->item[i]);
        if (h->item[i].matrix) status = glia_cpu.check(cpu_flags, &m, dtype, err);
        m.data = at;
        at += aligned(bytes_of(&h->item[i], &m));
        if (glia_cpu.scale_bytes(&m)) m.scale = (float *)(void *)at;
        at += aligned(glia_cpu.scale_bytes(&m));
        if (h->item[i].matrix)
            *h->item[i].matrix = m;
        else
            *h->item[i].vector = m.data;
    }
    return status;
}

/* ---- packing ----------------------------------------------------------------------- */

typedef struct {
    glia_head *h;
    glia_device *device;
    glia_team *team;
    size_t k_max;
    const glia_tensor_view *_Atomic bad; /* a weight to quantise that is NaN or infinite */
    atomic_bool failed;
} packer;

/* y = n numbers of the tensor from element `from` on. */
static void read_floats(float *y, const glia_tensor_view *t, size_t from, size_t n) {
    const char *data = t->data;
    for (size_t i = 0; i < n; i++) {
        const size_t at = from + i;
        uint16_t h;
        double d;
        if (t->dtype == GLIA_TENSOR_F32) {
            memcpy(y + i, data + at * sizeof *y, sizeof *y);
        } else if (t->dtype == GLIA_TENSOR_F64) {
            memcpy(&d, data + at * sizeof d, sizeof d);
            y[i] = (float)d;
        } else {
            memcpy(&h, data + at * sizeof h, sizeof h);
            y[i] = t->dtype == GLIA_TENSOR_BF16 ? glia_bf16_to_f32(h) : glia_f16_to_f32(h);
        }
    }
}

/* The tensor and its row that become column `i` of a matrix; NULL: a column of zeros. */
static const glia_tensor_view *origin(const glia_head_item *item, size_t i, size_t *row) {
    enum { N = GLIA_SWIGLU_GROUP };
    const size_t n = (size_t)item->n_parts;
    const glia_tensor_view *const *t = item->part;
    if (item->alternate) {
        t += i / N % n;
        i = i / N / n * N + i % N;
        *row = i;
        return i < (size_t)(*t)->shape[0] ? *t : NULL;
    }
    for (size_t p = 0; p < n; p++) {
        const size_t rows = (size_t)item->part[p]->shape[0];
        *row = i;
        if (i < rows) return item->part[p];
        i -= rows;
    }
    return NULL;
}

static float scale_of(packer *p, const glia_tensor_view *t, const float *row, size_t n) {
    const float most = p->device->ops->most(p->device, row, GLIA_DTYPE_F32, n);
    if (isnan(most)) atomic_store(&p->bad, t);
    return most / GLIA_I8_MAX >= FLT_MIN ? most / GLIA_I8_MAX : 0;
}

static void pack_matrix(packer *p, const glia_head_item *item, int thread, float *lanes) {
    const glia_matrix *m = item->matrix;
    size_t first, to;
    p->device->ops->first_columns(m, item->alternate ? GLIA_SWIGLU : GLIA_STORE, thread,
                                  glia_team_size(p->team), &first, &to);
    for (; first < to; first += GLIA_SWIGLU_GROUP) {
        const void *rows[GLIA_SWIGLU_GROUP] = {0};
        float scale[GLIA_SWIGLU_GROUP] = {0};
        for (size_t lane = 0; lane < GLIA_SWIGLU_GROUP; lane++) {
            size_t row;
            const glia_tensor_view *t = origin(item, first + lane, &row);
            if (!t) continue;
            float *y = lanes + lane * p->k_max;
            read_floats(y, t, row * m->k, m->k);
            if (m->scale) scale[lane] = scale_of(p, t, y, m->k);
            rows[lane] = y;
        }
        p->device->ops->pack(p->device, m, first, rows, GLIA_DTYPE_F32, scale);
    }
}

static void fill_vector(const glia_head_item *item) {
    float *y = (float *)(uintptr_t)*item->vector; /* const for readers, ours to write */
    for (int i = 0; i < item->n_parts; i++) {
        const glia_tensor_view *t = item->part[i];
        const size_t n = (size_t)t->shape[0] * (t->n_dims == 2 ? (size_t)t->shape[1] : 1);
        read_floats(y, t, 0, n);
        y += n;
    }
}

static void pack_all(void *arg, int thread) {
    packer *p = arg;
    float *lanes = malloc(GLIA_SWIGLU_GROUP * p->k_max * sizeof *lanes);
    if (!lanes) atomic_store(&p->failed, true);
    for (int i = 0; i < p->h->n_items && lanes; i++) {
        if (p->h->item[i].matrix)
            pack_matrix(p, &p->h->item[i], thread, lanes);
        else if (thread == 0)
            fill_vector(&p->h->item[i]);
    }
    free(lanes);
}

static glia_status pack(glia_head *h, glia_team *team, unsigned cpu_flags, glia_err *err) {
    packer p = {.h = h, .team = team, .k_max = 1};
    for (int i = 0; i < h->n_items; i++)
        if (h->item[i].matrix && h->item[i].matrix->k > p.k_max) p.k_max = h->item[i].matrix->k;
    const glia_status status = glia_cpu.open(&p.device, team, cpu_flags, NULL, NULL, 0, err);
    if (status) return status;
    glia_team_run(team, pack_all, &p);
    glia_cpu.close(p.device);
    if (atomic_load(&p.failed))
        return glia_fail(err, GLIA_ERR_NOMEM, "no memory for rows of a draft's weights");
    const glia_tensor_view *bad = atomic_load(&p.bad);
    if (!bad) return glia_checkpoint_check(&h->file.checkpoint, err);
    return glia_fail(err, GLIA_ERR_UNSUPPORTED,
                     "%s: tensor %s holds a value that is NaN or infinite, which int8 cannot", h->file.dir,
                     bad->name);
}

/* ---- the target's embedding and head ------------------------------------------------- */

/* Share them in memory if one rank holds them whole, else list the target's own tensors, which `file` gets.
 */
static glia_status add_target(glia_head *h, const glia_weights *target, const char *dir, glia_head_file *file,
                              glia_err *err) {
    const bool medusa = h->config.kind == GLIA_HEAD_MEDUSA;
    if (medusa || (h->own_embedding && h->own_lm_head)) return GLIA_OK;
    if (target->parallel.tp == 1) {
        if (!h->own_embedding) h->embed = target->embed;
        if (!h->own_lm_head) h->lm_head = target->head;
        return GLIA_OK;
    }
    const glia_status status = glia_head_file_open_model(file, dir, err);
    return status ? status : glia_head_list_target(h, file, target->config, err);
}

glia_status glia_head_load(glia_head *h, const glia_weights *target, const char *target_dir, glia_team *team,
                           unsigned cpu_flags, glia_err *err) {
    glia_head_file file = {0};
    glia_status status = add_target(h, target, target_dir, &file, err);
    if (!status) status = bind(h, target->dtype, cpu_flags, err);
    if (!status) status = pack(h, team, cpu_flags, err);
    for (int i = 1; i < h->config.heads && h->config.one_lm_head && !status; i++)
        h->medusa[i].lm_head = h->medusa[0].lm_head;
    glia_head_file_close(&file);
    glia_head_file_close(&h->file);
    return status;
}
