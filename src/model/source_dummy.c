/* source_dummy.c - rows of a dummy model, drawn from a seed. */
#include "model/row_source.h"

#include <stdlib.h>

#include "base/hash.h"

typedef struct {
    glia_row_source base; /* first, so that pointers to both are equal */
    const glia_model_spec *spec;
    const glia_model_config *config;
    uint64_t seed;
} dummy;

/* Columns [from, to) of row `row`: uniform with the standard deviation 0.02 of a freshly initialised model.
 */
static void draw_row(float *y, uint64_t key, size_t row, size_t from, size_t to) {
    const uint64_t start = glia_mix64(key ^ glia_mix64(row + 1));
    for (size_t i = from; i < to; i++) {
        uint32_t h = (uint32_t)(start >> 32) + (uint32_t)i * 0x9e3779b9u;
        h = (h ^ h >> 16) * 0x7feb352du; /* Wellons' low-bias 32-bit finalizer */
        h = (h ^ h >> 15) * 0x846ca68bu ^ (uint32_t)start;
        y[i] = (float)(int32_t)h * (0.0346410162f / 0x1p31f); /* 0.02 * sqrt(3) */
    }
}

static glia_stored_format format(const glia_row_source *s, glia_weight_ref w) {
    (void)s, (void)w;
    return (glia_stored_format){.dtype = GLIA_DTYPE_F32};
}

static glia_stored_row read_row(const glia_row_source *s, glia_weight_ref w, size_t row, size_t from,
                                size_t to, glia_stored_format as, float *buffer) {
    const dummy *d = (const dummy *)s;
    (void)as;
    if (glia_spec_row(d->spec, d->config, w.id)->cols == D_1)
        buffer[0] = glia_is_bias(w.id) ? 0 : 1;
    else
        draw_row(buffer, d->seed * 0x9e3779b97f4a7c15u + (uint64_t)w.layer * N_WEIGHTS + w.id, row, from, to);
    return (glia_stored_row){.numbers = buffer};
}

static const char *name(const glia_row_source *s, glia_weight_ref w) {
    const dummy *d = (const dummy *)s;
    return glia_spec_row(d->spec, d->config, w.id)->name;
}

static void drop(const glia_row_source *s, glia_weight_ref w) { (void)s, (void)w; }

static glia_status check(const glia_row_source *s, glia_err *err) {
    (void)s, (void)err;
    return GLIA_OK;
}

static void close_dummy(glia_row_source *s) { free(s); }

glia_status glia_source_dummy(glia_row_source **out, const glia_model_spec *spec,
                              const glia_model_config *config, uint64_t seed, glia_err *err) {
    dummy *d = malloc(sizeof *d);
    *out = NULL;
    if (!d) return glia_fail_nomem(err, sizeof *d, "the loader");
    *d = (dummy){
        .base = {"making weights", NULL, format, read_row, name, drop, check, close_dummy},
        .spec = spec,
        .config = config,
        .seed = seed,
    };
    *out = &d->base;
    return GLIA_OK;
}
