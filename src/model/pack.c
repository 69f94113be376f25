/* pack.c - see pack.h. */
#include "model/pack.h"

#include <float.h>

_Static_assert((int)GLIA_PACK_COLUMNS == (int)GLIA_PANEL, "columns are packed panel by panel");

size_t glia_pack_width(size_t columns) { return glia_panels(columns) * GLIA_PANEL; }

size_t glia_pack_bytes(const glia_matrix *m) {
    return glia_panels(m->columns) * glia_lines_bytes(m->dtype, m->k);
}

size_t glia_pack_scale_bytes(const glia_matrix *m) {
    return m->dtype == GLIA_DTYPE_I8 ? glia_pack_width(m->columns) * sizeof(float) : 0;
}

/* Panels are [panels, steps along K, columns, elements of a step]. */
void glia_pack_tensor(glia_tensor_spec *t, const glia_matrix *m) {
    const int64_t step = m->dtype == GLIA_DTYPE_F32 ? 1 : m->dtype == GLIA_DTYPE_BF16 ? 2 : 4;
    t->dtype = step == 1 ? GLIA_TENSOR_F32 : step == 2 ? GLIA_TENSOR_BF16 : GLIA_TENSOR_I8;
    t->n_dims = 4;
    t->shape[0] = (int64_t)glia_panels(m->columns);
    t->shape[1] = ((int64_t)m->k + step - 1) / step;
    t->shape[2] = GLIA_PANEL;
    t->shape[3] = step;
}

void glia_pack_range(size_t *from, size_t *to, const glia_matrix *m, bool swiglu, int thread, int threads) {
    glia_device_panels(m, swiglu ? GLIA_SWIGLU : GLIA_STORE, thread, threads, from, to);
    *from *= GLIA_PANEL;
    *to *= GLIA_PANEL;
}

void glia_packer_init(glia_packer *p, unsigned cpu_flags) { glia_kernels_init(&p->kernels, cpu_flags); }

float glia_pack_most(const glia_packer *p, const void *row, glia_dtype from, size_t n) {
    return p->kernels.absmax(row, from, n);
}

void glia_pack(const glia_packer *p, const glia_matrix *m, size_t first,
               const void *const row[GLIA_PACK_COLUMNS], glia_dtype from,
               const float most[GLIA_PACK_COLUMNS]) {
    char *panel = (char *)m->panels + first / GLIA_PANEL * glia_lines_bytes(m->dtype, m->k);
    if (!m->scale) {
        p->kernels.pack(panel, m->dtype, row, from, m->k);
        return;
    }
    float *scale = m->scale + first;
    for (size_t i = 0; i < GLIA_PANEL; i++) /* a scale is 0 or a normal number */
        scale[i] = most[i] / GLIA_I8_MAX >= FLT_MIN ? most[i] / GLIA_I8_MAX : 0;
    p->kernels.pack_i8(panel, row, from, m->k, scale);
}
