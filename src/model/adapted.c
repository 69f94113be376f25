/* adapted.c - which rows of a step have which adapters, in the orders in which linear
 * layers get the rows. */
#include "model/decoder_impl.h"

enum { RUN_WORDS = sizeof(glia_adapter_run) / sizeof(int32_t) };

size_t glia_step_adapters_words(size_t rows, size_t logits) {
    return (2 * rows + logits) * RUN_WORDS + rows + logits;
}

void glia_step_adapters_bind(glia_step_adapters *a, int32_t *numbers, size_t rows, size_t logits) {
    a->run = (glia_adapter_run *)(void *)numbers;
    a->mine = a->run + rows;
    a->logits = a->mine + rows;
    a->place = (int32_t *)(void *)(a->logits + logits);
    a->logit_place = a->place + rows;
}

/* Append a row. Rows without an adapter are left out. Returns the number of runs. */
static int add_row(glia_adapter_run *run, int n, int row, int32_t place) {
    if (place < 0) return n;
    if (n && run[n - 1].place == place && run[n - 1].first + run[n - 1].n == row) {
        run[n - 1].n++;
        return n;
    }
    run[n] = (glia_adapter_run){row, 1, place};
    return n + 1;
}

/* Rows split among ranks (context parallelism): where the batch's rows are in rank order, and which of them
 * this rank attends with. */
static void find_split(glia_decoder *d) {
    const glia_batch *b = d->batch;
    const glia_parallel *p = &d->w->parallel;
    const size_t n = (size_t)d->split.n;
    const int degree = p->cp_degree, each = (int)n / degree;
    for (size_t i = 0; i < n; i++)
        d->adapted.place[glia_cp_index(p->cp_strided, n, p->tp, degree, i)] =
            (int)i < b->n_rows ? b->adapter[i] - 1 : -1;
    for (int k = 0; k < each; k++) {
        const int i = (int)glia_cp_row(p->cp_strided, n, degree, glia_cp_rank(p->rank, degree), (size_t)k);
        if (i < b->n_rows)
            d->adapted.n_mine = add_row(d->adapted.mine, d->adapted.n_mine, k, b->adapter[i] - 1);
    }
}

void glia_find_adapters(glia_decoder *d) {
    glia_step_adapters *a = &d->adapted;
    const glia_batch *b = d->batch;
    a->n = a->n_mine = a->n_logits = 0;
    a->on = d->places.n && b->adapter;
    if (!a->on) return;
    const int m = d->split.on ? d->split.n : b->n_rows;
    if (d->split.on)
        find_split(d);
    else
        for (int i = 0; i < m; i++) a->place[i] = b->adapter[i] - 1;
    for (int i = 0; i < m; i++) a->n = add_row(a->run, a->n, i, a->place[i]);
    for (int i = 0; i < b->n_logits; i++) {
        a->logit_place[i] = b->adapter[b->logit_row[i]] - 1;
        a->n_logits = add_row(a->logits, a->n_logits, i, a->logit_place[i]);
    }
}
