/* far_device.h - a second device, for tests: its memory is out of the host's reach.
 *
 * An address of its memory lies in a range without access rights, so code above
 * the device that reads or writes through one ends with SIGSEGV. The device's own
 * operations reach the same pages through a second mapping. Matrices are row-major,
 * activations and the cache are plain float32, and strides are unlike the CPU's, so
 * nothing above the device may know a layout. Plain C, one rank, no trees. */
#ifndef GLIA_TEST_FAR_DEVICE_H
#define GLIA_TEST_FAR_DEVICE_H

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bf16.h"
#include "device/device.h"

/* ---- memory ----------------------------------------------------------------- */

enum { FAR_PLANS = 16 };
static struct {
    char *far, *near;
    size_t bytes;
} far_plan[FAR_PLANS];

/* The address at which the device itself reaches p. */
static void *near(const void *p) {
    for (int i = 0; i < FAR_PLANS; i++) {
        const size_t at = (size_t)((const char *)p - far_plan[i].far);
        if (far_plan[i].far && (const char *)p >= far_plan[i].far && at < far_plan[i].bytes)
            return far_plan[i].near + at;
    }
    abort(); /* no address of this device */
}

static glia_status far_map(glia_plan *plan, const char *what, glia_err *err) {
    int i = 0;
    while (i < FAR_PLANS && far_plan[i].far) i++;
    const int fd = memfd_create("far", 0);
    if (i == FAR_PLANS || fd < 0 || plan->overflow || ftruncate(fd, (off_t)plan->bytes))
        return glia_fail_nomem(err, plan->bytes, what);
    far_plan[i].bytes = plan->bytes;
    far_plan[i].far = mmap(NULL, plan->bytes, PROT_NONE, MAP_SHARED, fd, 0);
    far_plan[i].near = mmap(NULL, plan->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    plan->base = far_plan[i].far;
    return GLIA_OK;
}

static void far_unmap(glia_plan *plan) {
    for (int i = 0; plan->base && i < FAR_PLANS; i++) {
        if (far_plan[i].far != plan->base) continue;
        munmap(far_plan[i].far, far_plan[i].bytes);
        munmap(far_plan[i].near, far_plan[i].bytes);
        far_plan[i].far = NULL;
    }
    plan->base = NULL;
}

static void far_upload(void *to, const void *from, size_t bytes) {
    if (bytes) memcpy(near(to), from, bytes);
}
static void far_download(void *to, const void *from, size_t bytes) {
    if (bytes) memcpy(to, near(from), bytes);
}

/* ---- sizes ------------------------------------------------------------------ */

static size_t far_stride(size_t n) { return (n + 15) / 16 * 16 + 5; }
static size_t far_columns(size_t n) { return n; }
static size_t far_size(const glia_matrix *w) { return w->format == GLIA_WEIGHT_F32 ? 4 : 2; }
static size_t far_matrix_bytes(const glia_matrix *w) { return w->columns * w->k * far_size(w); }
static size_t far_scale_bytes(const glia_matrix *w) { return 0 * w->k; }
static size_t far_kv_block_bytes(const glia_kv_layer *kv) {
    return (size_t)kv->block_size * (size_t)kv->kv_heads * 2 * (size_t)kv->head_dim * sizeof(float);
}
static size_t far_states_bytes(size_t n, size_t head_dim) { return n * (head_dim + 2) * sizeof(float); }

/* A row, the scores of a query, and two heads, for each thread. */
static size_t far_scratch(const glia_device_shape *s) {
    return s->widest + (size_t)s->sequence_length + 2 * (size_t)s->head_dim;
}
static int far_make_plan(glia_plan *plan, const glia_device_shape *s) {
    return glia_plan_add(plan, "scratch of the far device", (size_t)s->threads,
                         far_scratch(s) * sizeof(float));
}

/* ---- a device --------------------------------------------------------------- */

typedef struct {
    glia_device base;
    float *scratch; /* near */
    size_t floats, widest, sequence_length;
} far_device;

static glia_status far_open(glia_device **out, glia_team *team, unsigned cpu_flags,
                            const glia_device_shape *s, const glia_plan *plan, int first, glia_err *err);
static void far_close(glia_device *d) { free(d); }

static float *far_row(const glia_device *d, int thread) {
    const far_device *f = (const far_device *)(const void *)d;
    return f->scratch + (size_t)thread * f->floats;
}
static float *far_scores(const glia_device *d, int thread) {
    return far_row(d, thread) + ((const far_device *)(const void *)d)->widest;
}

/* ---- weights ---------------------------------------------------------------- */

static glia_status far_check(unsigned cpu_flags, const glia_matrix *w, glia_dtype dtype, glia_err *err) {
    (void)cpu_flags, (void)dtype;
    if (w->format <= GLIA_WEIGHT_BF16) return GLIA_OK;
    return glia_fail(err, GLIA_ERR_UNSUPPORTED, "the far device has no product of %s weights",
                     glia_weight_traits[w->format].name);
}

static void far_first_columns(const glia_matrix *w, glia_epilogue epilogue, int thread, int threads,
                              size_t *from, size_t *to) {
    (void)epilogue;
    glia_share((w->columns + GLIA_SWIGLU_GROUP - 1) / GLIA_SWIGLU_GROUP, thread, threads, from, to);
    *from *= GLIA_SWIGLU_GROUP;
    *to *= GLIA_SWIGLU_GROUP;
}

static float far_element(const void *row, glia_dtype from, size_t i) {
    uint16_t h;
    float f;
    if (from == GLIA_DTYPE_F32) {
        memcpy(&f, (const char *)row + i * sizeof f, sizeof f);
        return f;
    }
    memcpy(&h, (const char *)row + i * sizeof h, sizeof h);
    return from == GLIA_DTYPE_BF16 ? glia_bf16_to_f32(h) : glia_f16_to_f32(h);
}

static float far_most(const glia_device *d, const void *row, glia_dtype from, size_t n) {
    float most = 0;
    (void)d;
    for (size_t i = 0; i < n; i++) most = fmaxf(most, fabsf(far_element(row, from, i)));
    return most;
}

static void far_pack(const glia_device *d, const glia_matrix *w, size_t first,
                     const void *const row[GLIA_SWIGLU_GROUP], glia_dtype from,
                     const float scale[GLIA_SWIGLU_GROUP]) {
    char *data = near(w->data);
    (void)d, (void)scale;
    for (size_t c = 0; c < GLIA_SWIGLU_GROUP && first + c < w->columns; c++)
        for (size_t k = 0; k < w->k; k++) {
            const float x = row[c] ? far_element(row[c], from, k) : 0;
            const uint16_t h = glia_f32_to_bf16(x);
            const size_t at = ((first + c) * w->k + k) * far_size(w);
            memcpy(data + at, w->format == GLIA_WEIGHT_F32 ? (const void *)&x : &h, far_size(w));
        }
}

static float far_weight(const glia_matrix *w, const char *data, size_t column, size_t k) {
    return far_element(data + column * w->k * far_size(w), glia_weight_traits[w->format].element, k);
}

/* ---- operations ------------------------------------------------------------- */

static void far_fill(float *y, float value, size_t n) {
    for (size_t i = 0; i < n; i++) y[i] = value;
}

static void far_embed(const glia_device *d, int thread, float *y, size_t ldy, const glia_matrix *table,
                      size_t first, const int32_t *token, int m) {
    const char *data = near(table->data);
    for (int i = thread; i < m; i += d->threads) {
        float *to = (float *)near(y) + (size_t)i * ldy;
        const size_t t = (size_t)token[i] - first;
        for (size_t k = 0; k < table->k; k++)
            to[k] = t < table->columns ? far_weight(table, data, t, k) : -0.0f;
    }
}

static void far_select(const glia_device *d, int thread, float *y, const float *x, size_t ld,
                       const int32_t *row, int n, size_t from, size_t to) {
    for (int i = thread; i < n; i += d->threads) {
        float *at = (float *)near(y) + (size_t)i * ld;
        const size_t r = (size_t)row[i];
        if (r >= from && r < to)
            memcpy(at, (const float *)near(x) + r * ld, ld * sizeof *at);
        else
            far_fill(at, -0.0f, ld);
    }
}

static void far_rmsnorm(float *y, const float *x, const float *weight, size_t n, float eps) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)x[i] * (double)x[i];
    const double factor = 1 / sqrt(sum / (double)n + (double)eps);
    for (size_t i = 0; i < n; i++) y[i] = (float)((double)x[i] * factor * (double)weight[i]);
}

static void far_norm(const glia_device *d, int thread, float *y, const float *x, size_t ld, int m, size_t n,
                     const float *weight, float eps) {
    for (int i = thread; i < m; i += d->threads)
        far_rmsnorm((float *)near(y) + (size_t)i * ld, (const float *)near(x) + (size_t)i * ld, near(weight),
                    n, eps);
}

/* Column c of x W^T + bias + addend for row i of the result. */
static double far_sum(const glia_matrix *w, const char *data, const float *x, const glia_linear_out *out,
                      size_t i, size_t c) {
    double sum = 0;
    for (size_t k = 0; k < w->k; k++) sum += (double)x[k] * (double)far_weight(w, data, c, k);
    if (out->bias) sum += (double)((const float *)near(out->bias))[c];
    if (out->addend) sum += (double)((const float *)near(out->addend))[i * out->ld_addend + c];
    return sum;
}

/* Threads share columns; each norms every row for itself. */
static void far_linear(const glia_device *d, int thread, const glia_linear_in *in, const glia_matrix *w,
                       const glia_linear_out *out) {
    const bool swiglu = out->epilogue == GLIA_SWIGLU;
    const size_t columns = swiglu ? w->columns / 2 : w->columns, group = GLIA_SWIGLU_GROUP;
    const char *data = near(w->data);
    float *scratch = far_row(d, thread);
    for (size_t i = 0; i < (size_t)in->m; i++) {
        const float *x = (const float *)near(in->x.at) + (in->row ? (size_t)in->row[i] : i) * in->x.stride;
        float *y = (float *)near(out->y.at) + i * out->y.stride;
        if (in->norm) {
            far_rmsnorm(scratch, x, near(in->norm), w->k, in->eps);
            x = scratch;
        }
        for (size_t c = (size_t)thread; c < columns; c += (size_t)d->threads) {
            const size_t at = swiglu ? c / group * 2 * group + c % group : c;
            double t = far_sum(w, data, x, out, i, at);
            if (swiglu) t = t / (1 + exp(-t)) * far_sum(w, data, x, out, i, at + group);
            y[c] = out->epilogue == GLIA_ADD ? y[c] + (float)t : (float)t;
        }
    }
}

/* ---- attention -------------------------------------------------------------- */

/* The key of KV head `head` at `position` of a row's sequence; its value stands head_dim floats later. */
static float *far_key(const glia_kv_layer *kv, const glia_rows *rows, int row, int head, int position) {
    const int32_t *table = rows->block_table + (size_t)rows->seq[row] * (size_t)rows->max_blocks;
    const size_t block = (size_t)table[position / kv->block_size], at = (size_t)(position % kv->block_size);
    const size_t heads = (size_t)kv->kv_heads, hd = (size_t)kv->head_dim;
    char *base = (char *)near(kv->base) + block * far_kv_block_bytes(kv);
    return (float *)(void *)base + ((at * heads + (size_t)head) * 2) * hd;
}

static void far_rotate(const glia_heads *h, float *x, const float *norm, int position) {
    const size_t half = (size_t)h->head_dim / 2;
    if (norm) far_rmsnorm(x, x, near(norm), (size_t)h->head_dim, h->eps);
    if (!h->cos) return;
    const float *c = (const float *)near(h->cos) + (size_t)position * half;
    const float *s = (const float *)near(h->sin) + (size_t)position * half;
    for (size_t i = 0; i < half; i++) {
        const float a = x[i], b = x[i + half];
        x[i] = a * c[i] - b * s[i];
        x[i + half] = b * c[i] + a * s[i];
    }
}

static float far_stored(const glia_kv_layer *kv, float x) {
    return kv->dtype == GLIA_DTYPE_BF16 ? glia_bf16_to_f32(glia_f32_to_bf16(x)) : x;
}

static void far_store(const glia_qkv *x, const glia_rows *rows, int r, const glia_heads *h,
                      const glia_kv_layer *kv) {
    const size_t hd = (size_t)h->head_dim;
    assert(rows->slot[r] == rows->position[r] && kv->members == 1);
    for (int head = 0; head < kv->kv_heads; head++) {
        const float *row = (const float *)near(x->kv.at) + (size_t)r * x->kv.stride + (size_t)head * hd;
        float *key = far_key(kv, rows, r, head, rows->slot[r]);
        memcpy(key, row + x->k, hd * sizeof *key);
        far_rotate(h, key, h->k_norm, rows->position[r]);
        for (size_t i = 0; i < hd; i++) {
            key[i] = far_stored(kv, key[i]);
            key[hd + i] = far_stored(kv, row[x->v + i]);
        }
    }
}

/* One query: softmax over what it sees, into o. */
static void far_attend(const glia_rows *rows, int r, int kv_head, const glia_heads *h,
                       const glia_kv_layer *kv, const float *q, float *score, float *o) {
    const int last = rows->position[r], first = h->window && last >= h->window ? last - h->window + 1 : 0;
    const size_t hd = (size_t)h->head_dim;
    double most = -INFINITY, total = 0;
    for (int p = first; p <= last; p++) {
        const float *key = far_key(kv, rows, r, kv_head, p);
        double sum = 0;
        for (size_t i = 0; i < hd; i++) sum += (double)q[i] * (double)key[i];
        score[p] = (float)(sum * (double)h->scale);
        most = fmax(most, (double)score[p]);
    }
    far_fill(o, 0, hd);
    for (int p = first; p <= last; p++) total += exp((double)score[p] - most);
    for (int p = first; p <= last; p++) {
        const float *value = far_key(kv, rows, r, kv_head, p) + hd;
        const float weight = (float)(exp((double)score[p] - most) / total);
        for (size_t i = 0; i < hd; i++) o[i] += weight * value[i];
    }
}

static void far_attention(const glia_device *d, int thread, const glia_attended *out, const glia_qkv *x,
                          const glia_rows *rows, const glia_rows *stored, const glia_heads *h,
                          const glia_kv_layer *kv) {
    const size_t hd = (size_t)h->head_dim;
    float *score = far_scores(d, thread), *q = score + ((const far_device *)(const void *)d)->sequence_length;
    assert(!out->states && !rows->parent);
    for (int r = thread; r < stored->n; r += d->threads) far_store(x, stored, r, h, kv);
    glia_device_barrier(d); /* keys and values */
    for (int r = thread; r < rows->n; r += d->threads)
        for (int head = 0; head < h->heads; head++) {
            memcpy(q, (const float *)near(x->q.at) + (size_t)r * x->q.stride + (size_t)head * hd,
                   hd * sizeof *q);
            far_rotate(h, q, h->q_norm, rows->position[r]);
            far_attend(rows, r, h->first_kv + head / (h->heads / h->kv_heads), h, kv, q, score,
                       (float *)near(out->o.at) + (size_t)r * out->o.stride + (size_t)head * hd);
        }
}

static void far_copy_kv(const glia_device *d, const glia_kv_layer *kv, int to_block, int to_at,
                        int from_block, int from_at) {
    const size_t position = far_kv_block_bytes(kv) / (size_t)kv->block_size;
    char *base = near(kv->base);
    (void)d;
    memcpy(base + (size_t)to_block * far_kv_block_bytes(kv) + (size_t)to_at * position,
           base + (size_t)from_block * far_kv_block_bytes(kv) + (size_t)from_at * position, position);
}

/* What needs collectives (operand, prepare, multiply, merge), files (tensor_shape) or people (describe,
 * measure) is left out: a call ends the test. */
static const glia_device_ops far_ops = {
    .name = "far",
    .head_dim_max = 512,
    .queries_max = 1 << 20,
    .stride = far_stride,
    .columns = far_columns,
    .matrix_bytes = far_matrix_bytes,
    .scale_bytes = far_scale_bytes,
    .kv_block_bytes = far_kv_block_bytes,
    .states_bytes = far_states_bytes,
    .plan = far_make_plan,
    .map = far_map,
    .unmap = far_unmap,
    .upload = far_upload,
    .download = far_download,
    .open = far_open,
    .close = far_close,
    .check = far_check,
    .first_columns = far_first_columns,
    .most = far_most,
    .pack = far_pack,
    .embed = far_embed,
    .select = far_select,
    .norm = far_norm,
    .linear = far_linear,
    .attention = far_attention,
    .copy_kv = far_copy_kv,
};

static glia_status far_open(glia_device **out, glia_team *team, unsigned cpu_flags,
                            const glia_device_shape *s, const glia_plan *plan, int first, glia_err *err) {
    far_device *f = calloc(1, sizeof *f);
    (void)cpu_flags;
    *out = &f->base;
    if (!f) return glia_fail_nomem(err, sizeof *f, "the far device");
    f->base = (glia_device){.ops = &far_ops, .team = team, .threads = glia_team_size(team)};
    if (!s) return GLIA_OK;
    f->scratch = near(glia_plan_at(plan, first));
    f->floats = far_scratch(s);
    f->widest = s->widest;
    f->sequence_length = (size_t)s->sequence_length;
    return GLIA_OK;
}

#endif
