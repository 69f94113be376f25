/* cpu_lora.c - adapters in linear layers of the CPU device.
 *
 * A layer's product gets an addend for each row: scale (x A^T) B^T of the row's own
 * adapter. A and B are multiplied by the kernels of the layer's products, so the order
 * of additions of an element is a function of K and of the rank, and other rows of the
 * batch change no bit. A row without an adapter has the addend -0.0, which changes no
 * sum. */
#include "device/cpu.h"

#include <assert.h>
#include <string.h>

enum { STEP = 32, ROWS = 64, TURN = 16 };
enum { SUM, PRODUCT, BASE, BUFFERS }; /* of a thread */

/* ---- memory ----------------------------------------------------------------- */

int glia_cpu_lora_plan(glia_plan *p, const glia_device_shape *s) {
    const size_t on = s->lora_rank > 0, threads = (size_t)s->threads;
    const size_t rows = 2 * s->operand_rows;
    const size_t ld = GLIA_LORA_PARTS * glia_lora_columns(s->lora_rank);
    const int first = glia_plan_add(p, "rows times A of adapters", on * rows * ld, sizeof(float));
    glia_plan_add(p, "addends of adapters", on * threads * BUFFERS * GLIA_LORA_SCRATCH, sizeof(float));
    glia_plan_add(p, "turns of adapters", on * threads * TURN, sizeof(unsigned));
    return first;
}

void glia_cpu_lora_open(glia_cpu_lora *l, const glia_plan *p, int first, const glia_device_shape *s) {
    *l = (glia_cpu_lora){0};
    if (!s->lora_rank) return;
    l->rows = glia_plan_at(p, first);
    l->scratch = glia_plan_at(p, first + 1);
    l->turns = glia_plan_at(p, first + 2);
    l->ld = GLIA_LORA_PARTS * glia_lora_columns(s->lora_rank);
    l->max_rows = s->operand_rows;
}

/* A buffer of the thread. */
static float *scratch_of(const glia_cpu_device *d, int thread, int which) {
    return d->lora.scratch + (BUFFERS * (size_t)thread + (size_t)which) * GLIA_LORA_SCRATCH;
}

/* Rows for x A^T. Two buffers alternate, because a thread may still multiply by B in the last layer while
 * another thread begins this one; the barrier in every layer keeps them less than two layers apart. */
static float *rows_of(const glia_cpu_device *d, int thread) {
    const glia_cpu_lora *l = &d->lora;
    unsigned *turn = l->turns + (size_t)thread * TURN;
    return l->rows + ((*turn)++ % 2) * l->max_rows * l->ld;
}

/* ---- products --------------------------------------------------------------- */

/* y [m, n * 16], rows ldy floats apart = rows [row, row + m) of o times panels [first, first + n) of w. Those
 * of `next`, or NULL, are multiplied next. */
static void product(const glia_cpu_device *d, int thread, const glia_operand *o, const glia_matrix *w,
                    size_t row, size_t m, size_t first, size_t n, float *y, size_t ldy,
                    const glia_matrix *next) {
    glia_gemm g = glia_cpu_gemm_of(o, w, row, m, first, n);
    if (next && next->data && next->format == w->format && next->k == w->k && next->columns == w->columns)
        g.next = (const char *)next->data + ((const char *)g.w - (const char *)w->data);
    g.out = (glia_gemm_out){.epilogue = GLIA_STORE, .y = y, .ldy = ldy, .step = STEP};
    g.scratch = glia_scratch_of(d, thread);
    if (d->narrow)
        glia_cpu_gemm(d, w)->finish(&g);
    else
        glia_cpu_store(d, w, &g);
}

/* t [n] = scale y: as a product reads rows, with zeros up to a whole step if they are narrow. */
static void scale_row(const glia_cpu_device *d, float *t, size_t column, const float *y, float scale,
                      size_t n) {
    if (!d->narrow) {
        for (size_t i = 0; i < n; i++) t[column + i] = scale * y[i];
        return;
    }
    d->k.narrow(t, 64, column, y, scale, n);
    if (n % STEP) memset((char *)t + (column + n) * 2, 0, (STEP - n % STEP) * 2);
}

/* Columns [32 step, 32 step + 32) of x A^T of rows [row, row + m) and one part. */
typedef struct {
    const glia_lora_part *part; /* NULL: nothing */
    size_t row, m, step;
} down_item;

/* The thread computes `next` after this item. */
static void down(const glia_cpu_device *d, int thread, const glia_operand *x, const down_item *item,
                 const down_item *next, float *t) {
    const glia_lora_part *p = item->part;
    if (!p) return;
    const size_t all = glia_panels(p->down.columns), first = item->step * 2, n = all - first < 2 ? 1 : 2;
    float *y = scratch_of(d, thread, PRODUCT);
    product(d, thread, x, &p->down, item->row, item->m, first, n, y, n * GLIA_PANEL,
            next ? &next->part->down : NULL);
    for (size_t i = 0; i < item->m; i++)
        scale_row(d, t + (item->row + i) * d->lora.ld, p->at + item->step * STEP, y + i * n * GLIA_PANEL,
                  p->scale, n * GLIA_PANEL);
}

const float *glia_cpu_lora_down(const glia_cpu_device *d, int thread, const glia_operand *x,
                                const glia_adapted *a) {
    float *t = rows_of(d, thread);
    const size_t threads = (size_t)d->base.threads;
    size_t at = threads - (size_t)thread; /* this thread takes every item that threads divides */
    down_item item = {0};
    for (int i = 0; i < a->n; i++) {
        const glia_adapter_run *run = &a->run[i];
        const glia_lora *l = &a->of[run->place];
        const size_t end = (size_t)run->first + (size_t)run->n;
        for (const glia_lora_part *p = l->part; p < l->part + l->n_parts; p++) {
            if (!p->down.data) continue;
            assert(p->at + glia_lora_columns(p->down.columns) <= d->lora.ld);
            for (size_t row = (size_t)run->first; row < end; row += ROWS)
                for (size_t step = 0; step * STEP < p->down.columns; step++) {
                    if (at++ % threads) continue;
                    const down_item next = {p, row, end - row < ROWS ? end - row : ROWS, step};
                    down(d, thread, x, &item, &next, t);
                    item = next;
                }
        }
    }
    down(d, thread, x, &item, NULL, t);
    glia_device_barrier(&d->base); /* t */
    return t;
}

/* Rows for B: the part's columns of t. */
static glia_operand up_operand(const glia_cpu_device *d, const glia_lora_part *p, const float *t) {
    const size_t at = p->at * (d->narrow ? 2 : sizeof *t);
    return (glia_operand){
        .x = (char *)(uintptr_t)t + at, .row = d->lora.ld * sizeof *t, .step = 64, .pieces = 1};
}

/* The panels of a part that lie in panels [first, first + n) of the matrix: [*from, *to) of the part. */
static void part_panels(const glia_lora_part *p, size_t columns, size_t first, size_t n, size_t *from,
                        size_t *to) {
    const size_t all = glia_panels(columns);
    *from = first > p->group ? (first - p->group + p->step - 1) / p->step : 0;
    *to = first + n > p->group ? (first + n - p->group + p->step - 1) / p->step : 0;
    if (*to > all) *to = all;
}

/* Rows [row, row + m), which have one adapter, in panels [first, first + n). sum [m, n * 16] is their
 * addend. */
typedef struct {
    size_t row, m, first, n;
    float *sum;
} area;

/* Where row i of panel `at` of a part stands in `sum`. */
static size_t offset_of(const area *s, const glia_lora_part *p, size_t i, size_t at) {
    return (i * s->n + p->group + at * p->step - s->first) * GLIA_PANEL;
}

/* Write the part's scale (x A^T) B^T to its panels of `sum`, or with `add` add it. next: B that follows, or
 * NULL. */
static void put_up(const glia_cpu_device *d, int thread, const area *s, const glia_lora_part *p,
                   const glia_matrix *next, const float *t, bool add) {
    const bool direct = !add && p->step == 1;
    const glia_operand o = up_operand(d, p, t);
    size_t from, to;
    part_panels(p, p->up.columns, s->first, s->n, &from, &to);
    if (from >= to) return;
    float *y = direct ? s->sum + offset_of(s, p, 0, from) : scratch_of(d, thread, PRODUCT);
    product(d, thread, &o, &p->up, s->row, s->m, from, to - from, y,
            direct ? s->n * GLIA_PANEL : (to - from) * GLIA_PANEL, next);
    for (size_t i = 0; !direct && i < s->m; i++)
        for (size_t at = from; at < to; at++, y += GLIA_PANEL) {
            float *sum = s->sum + offset_of(s, p, i, at);
            if (add)
                d->k.add(sum, y, GLIA_PANEL);
            else
                memcpy(sum, y, GLIA_PANEL * sizeof *sum);
        }
}

/* Is every panel of the area one part's alone? Then nothing needs to be added. */
static bool is_covered(const area *s, const glia_lora *l) {
    size_t panels = 0;
    for (const glia_lora_part *p = l->part; p < l->part + l->n_parts; p++) {
        size_t from = 0, to = 0;
        if (p->down.data) part_panels(p, p->up.columns, s->first, s->n, &from, &to);
        if (p->from && from < to && from == 0) return false;
        if (from < to) panels += to - from;
    }
    return panels == s->n;
}

static void clear(float *sum, size_t n) {
    for (size_t i = 0; i < n; i++) sum[i] = -0.0f;
}

/* sum = factor sum + (factor - 1) base */
static void apply_factor(const area *s, const float *factor, const float *base) {
    const size_t width = s->n * GLIA_PANEL;
    for (size_t i = 0; i < s->m * width; i++)
        s->sum[i] = factor[i % width] * s->sum[i] + (factor[i % width] - 1) * base[i];
}

/* sum = x W'^T - base in the columns of a part that the adapter replaces. x: rows for A. */
static void replace(const glia_cpu_device *d, int thread, const area *s, const glia_lora_part *p,
                    const glia_operand *x, const float *base) {
    float *y = scratch_of(d, thread, PRODUCT);
    size_t from, to;
    part_panels(p, p->whole.columns, s->first, s->n, &from, &to);
    for (size_t at = from; at < to; at++) {
        product(d, thread, x, &p->whole, s->row, s->m, at, 1, y, GLIA_PANEL, NULL);
        for (size_t i = 0; i < s->m; i++)
            for (size_t c = 0; c < GLIA_PANEL; c++) {
                const size_t column = at * GLIA_PANEL + c, k = offset_of(s, p, i, at) + c;
                if (column >= p->from && column < p->to) s->sum[k] = y[i * GLIA_PANEL + c] - base[k];
            }
    }
}

/* Does the adapter need x W^T? */
static bool needs_base(const glia_lora *l) {
    bool whole = false;
    for (const glia_lora_part *p = l->part; p < l->part + l->n_parts; p++) whole |= p->whole.data != NULL;
    return whole || l->factor;
}

/* Add what an adapter changes to the addend of its rows. next: the adapter of the rows that follow, or NULL;
 * o: rows for w; x: rows for A. */
static void add_adapter(const glia_cpu_device *d, int thread, const area *s, const glia_lora *l,
                        const glia_lora *next, const glia_operand *o, const glia_operand *x,
                        const glia_matrix *w, const float *t) {
    const size_t column = s->first * GLIA_PANEL;
    float *base = scratch_of(d, thread, BASE);
    const bool covered = is_covered(s, l);
    if (!covered) clear(s->sum, s->m * s->n * GLIA_PANEL);
    for (const glia_lora_part *p = l->part; p < l->part + l->n_parts; p++)
        if (p->down.data) put_up(d, thread, s, p, next ? &next->part[p - l->part].up : NULL, t, !covered);
    if (needs_base(l)) product(d, thread, o, w, s->row, s->m, s->first, s->n, base, s->n * GLIA_PANEL, NULL);
    if (l->factor) apply_factor(s, l->factor + column, base);
    for (const glia_lora_part *p = l->part; p < l->part + l->n_parts; p++)
        if (p->whole.data) replace(d, thread, s, p, x, base);
    for (size_t i = 0; l->bias && i < s->m; i++)
        d->k.add(s->sum + i * s->n * GLIA_PANEL, l->bias + column, s->n * GLIA_PANEL);
}

const float *glia_cpu_lora_up(const glia_cpu_device *d, int thread, const glia_operand *o,
                              const glia_matrix *w, const glia_adapted *a, const float *t, size_t row,
                              size_t m, size_t first, size_t n) {
    float *sum = scratch_of(d, thread, SUM);
    const size_t ld = n * GLIA_PANEL;
    size_t done = row; /* rows before are written */
    assert(m * ld <= GLIA_LORA_SCRATCH);
    for (int i = 0; i < a->n; i++) {
        const size_t begin = (size_t)a->run[i].first, end = begin + (size_t)a->run[i].n;
        const size_t from = begin > row ? begin : row, to = end < row + m ? end : row + m;
        if (from >= to) continue;
        const area s = {from, to - from, first, n, sum + (from - row) * ld};
        clear(sum + (done - row) * ld, (from - done) * ld);
        const bool last = i + 1 == a->n || (size_t)a->run[i + 1].first >= row + m;
        add_adapter(d, thread, &s, &a->of[a->run[i].place], last ? NULL : &a->of[a->run[i + 1].place], o,
                    a->rows ? a->rows : o, w, t);
        done = to;
    }
    clear(sum + (done - row) * ld, (row + m - done) * ld);
    return sum;
}

/* ---- the embedding ---------------------------------------------------------- */

/* y += s x, [n]. */
static void add_scaled(float *y, float s, const float *x, size_t n) {
    for (size_t i = 0; i < n; i++) y[i] += s * x[i];
}

static void adapt_row(const glia_cpu_device *d, float *y, const glia_embed_change *e, size_t t,
                      int32_t token) {
    const size_t panel = glia_panel_bytes(e->whole.format, e->whole.k);
    if (e->whole.data)
        d->k.unpack(y, (const char *)e->whole.data + t / GLIA_PANEL * panel,
                    glia_weight_traits[e->whole.format].element, e->whole.k, t % GLIA_PANEL);
    for (size_t j = 0; e->a && j < e->r; j++)
        add_scaled(y, e->a[t * e->r + j], e->b + j * e->hidden, e->hidden);
    for (size_t k = 0; e->factor && k < e->hidden; k++) y[k] *= e->factor[k];
    for (int i = 0; i < e->n_tokens; i++)
        if (e->token[i] == token) d->k.add(y, e->delta + (size_t)i * e->hidden, e->hidden);
}

void glia_cpu_adapt_embed(const glia_device *device, int thread, float *y, size_t ldy,
                          const glia_embed_change *of, const int32_t *place, size_t first, size_t vocab,
                          const int32_t *token, int m) {
    size_t from, to;
    glia_share((size_t)m, thread, device->threads, &from, &to);
    for (size_t i = from; i < to; i++) {
        const size_t t = (size_t)token[i] - first; /* wraps where token < first */
        if (place[i] >= 0 && t < vocab)
            adapt_row(glia_cpu_of(device), y + i * ldy, &of[place[i]], t, token[i]);
    }
}
