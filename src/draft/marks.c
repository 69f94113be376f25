/* marks.c - see marks.h. */
#include "draft/marks.h"

size_t glia_marks_bytes(int n_blocks) { return (size_t)n_blocks * (sizeof(uint32_t) + sizeof(int32_t)); }

void glia_marks_init(glia_marks *m, void *memory, int n_blocks, int block_size, const uint32_t *epoch) {
    *m = (glia_marks){.block_size = block_size, .epoch = epoch, .seen = memory};
    m->n = (int32_t *)(m->seen + n_blocks);
}

int glia_marks_leading(const glia_marks *m, const int32_t *table, int n) {
    int have = 0;
    while (have < n) {
        const int32_t b = table[have / m->block_size];
        if (m->seen[b] != m->epoch[b] || m->n[b] == 0) break;
        have += m->n[b];
        if (m->n[b] < m->block_size) break;
    }
    return have < n ? have : n;
}

void glia_marks_set(glia_marks *m, const int32_t *table, int n) {
    for (int at = 0; at < n; at += m->block_size) {
        const int32_t b = table[at / m->block_size];
        const int left = n - at;
        m->seen[b] = m->epoch[b];
        m->n[b] = left < m->block_size ? left : m->block_size;
    }
}
