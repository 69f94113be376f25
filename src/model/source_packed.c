/* source_packed.c - rows of weights that are in memory, as ranks multiply them. */
#include <stdlib.h>
#include <string.h>

#include "model/fused.h"
#include "model/row_source.h"

typedef struct {
    glia_row_source base; /* first, so that pointers to both are equal */
    const glia_weights *const *rank;
    int n;
    glia_team *team; /* of one thread */
    glia_device *device;
    float *column; /* [the longest k] */
} packed;

static const packed *packed_of(const glia_row_source *s) { return (const packed *)s; }

/* Where ranks hold a weight: zero *p with `of` set, then call until false. */
typedef struct {
    glia_weight_ref of;
    int rank, row, shard; /* the next ones to look at */
    glia_held held;
    int number; /* which of held.fused->weight */
    const glia_weights *w;
    const glia_matrix *matrix;
} holder;

/* Which weight of a row of the table `id` is; -1: none. */
static int number_of(const glia_fused *f, glia_weight_id id) {
    for (int i = 0; i < f->n_weights; i++)
        if (f->weight[i] == id) return i;
    return -1;
}

static bool next_holder(holder *h, const packed *p) {
    for (; h->rank < p->n; h->rank++, h->row = 0)
        for (; h->row < (int)glia_fused_rows; h->row++, h->shard = 0) {
            const glia_fused *f = glia_fused_table + h->row;
            const int shards = f->hold == HOLD_SHARDS ? p->rank[h->rank]->local.cp : 1;
            h->number = number_of(f, h->of.id);
            while (h->number >= 0 && h->shard < shards) {
                h->w = p->rank[h->rank];
                h->held = (glia_held){f, glia_is_of_layer(h->of.id) ? h->of.layer : 0, h->shard++};
                h->matrix = glia_held_matrix(&h->held, h->w);
                if (h->matrix && h->matrix->data) return true;
            }
        }
    return false;
}

/* The column of the matrix that is row `row` of the weight; false: the rank does not hold it. */
static bool find_column(const holder *h, const glia_shard *rows, size_t row, int32_t *column) {
    enum { N = GLIA_SWIGLU_GROUP };
    const glia_fused *f = h->held.fused;
    size_t first = 0;
    for (int i = 0; i < h->number; i++) {
        glia_shard before, cols;
        glia_held_shards(&before, &cols, &h->held, i, h->w);
        first += glia_shard_size(&before);
    }
    for (glia_slice s = {0}; glia_shard_next(rows, &s);) {
        if (row < s.from || row >= s.from + s.n) continue;
        const size_t at = s.to + row - s.from;
        *column = (int32_t)(f->alternate ? (at / N * 2 + (size_t)h->number) * N + at % N : first + at);
        return true;
    }
    return false;
}

static glia_stored_row read_row(const glia_row_source *s, glia_weight_ref of, size_t row, size_t from,
                                size_t to, glia_stored_format as, float *buffer) {
    const packed *p = packed_of(s);
    (void)from, (void)to, (void)as; /* all columns, as float32 */
    for (holder h = {.of = of}; next_holder(&h, p);) {
        glia_shard rows, cols;
        int32_t column;
        glia_held_shards(&rows, &cols, &h.held, h.number, h.w);
        if (!find_column(&h, &rows, row, &column)) continue;
        h.w->device->embed(p->device, 0, p->column, 0, h.matrix, 0, &column, 1);
        for (glia_slice c = {0}; glia_shard_next(&cols, &c);)
            memcpy(buffer + c.from, p->column + c.to, c.n * sizeof *buffer);
    }
    return (glia_stored_row){.numbers = buffer};
}

static glia_stored_format format(const glia_row_source *s, glia_weight_ref of) {
    for (holder h = {.of = of}; next_holder(&h, packed_of(s));)
        if (h.matrix->format > GLIA_WEIGHT_F16) return (glia_stored_format){.dtype = GLIA_DTYPE_AUTO};
    return (glia_stored_format){.dtype = GLIA_DTYPE_F32};
}

static const char *name(const glia_row_source *s, glia_weight_ref of) {
    const glia_weights *w = packed_of(s)->rank[0];
    return glia_spec_row(w->spec, w->config, of.id)->name;
}

static void drop(const glia_row_source *s, glia_weight_ref of) { (void)s, (void)of; }

static glia_status check(const glia_row_source *s, glia_err *err) {
    const packed *p = packed_of(s);
    glia_status status = GLIA_OK;
    for (int i = 0; !status && i < p->n; i++) status = glia_weights_check(p->rank[i], err);
    return status;
}

static void close_packed(glia_row_source *s) {
    packed *p = (packed *)s;
    if (p->device) p->rank[0]->device->close(p->device);
    if (p->team) glia_team_free(p->team);
    free(p->column);
    free(p);
}

static size_t longest(const glia_weights *w) {
    size_t n = 0;
    for (glia_held h = {0}; glia_held_next(&h, w);) {
        const glia_matrix *m = glia_held_matrix(&h, w);
        if (m && n < m->k) n = m->k;
    }
    return n;
}

glia_status glia_source_packed(glia_row_source **out, const glia_weights *const *rank, int n, glia_err *err) {
    packed *p = calloc(1, sizeof *p);
    const size_t k = longest(rank[0]);
    *out = NULL;
    if (!p) return glia_fail_nomem(err, sizeof *p, "the loader");
    p->base = (glia_row_source){"reading weights", NULL, format, read_row, name, drop, check, close_packed};
    p->rank = rank;
    p->n = n;
    p->column = malloc(k * sizeof *p->column);
    glia_status status = p->column ? GLIA_OK : glia_fail_nomem(err, k * sizeof *p->column, "a row");
    if (!status) status = glia_team_create(&p->team, 1, err);
    if (!status) status = rank[0]->device->open(&p->device, p->team, 0, NULL, NULL, 0, err);
    if (status)
        close_packed(&p->base);
    else
        *out = &p->base;
    return status;
}
