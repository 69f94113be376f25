/* score.c - teacher-forced logits, in steps whose logits fit a fixed buffer. */
#include <assert.h>

#include "engine/engine_impl.h"

/* No request has this salt, so no block of the prefix cache is used: the logits of every position are
 * wanted, so every position must be computed. */
enum { SCORE_SALT = INT32_MAX };

static glia_status check(const glia_engine *e, const int32_t *ids, size_t n, glia_err *err) {
    const int length = e->config.limits.sequence_length;
    if (n == 0) return glia_fail(err, GLIA_ERR_ARGUMENT, "no tokens to score");
    if (n > (size_t)length)
        return glia_fail(err, GLIA_ERR_LIMIT, "%zu tokens to score, the sequence length is %d", n, length);
    for (size_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= e->model->vocab)
            return glia_fail(err, GLIA_ERR_ARGUMENT, "token %zu to score is %d, the vocabulary has %lld", i,
                             ids[i], (long long)e->model->vocab);
    return GLIA_OK;
}

/* Score with the adapter in place `adapter` - 1, which acts from position `begins` on; 0: without one. */
static glia_status score(glia_engine *e, int adapter, int begins, const int32_t *ids, size_t n,
                         glia_logits_fn *on_logits, void *user, glia_err *err) {
    glia_status status = GLIA_OK;
    const int total = (int)n;
    glia_leader *l = &e->leader;
    const glia_scheduler *s = &l->scheduler;
    glia_block_list list = {.table = s->table + (size_t)s->batch * (size_t)s->max_blocks, .salt = SCORE_SALT};
    if (!glia_blocks_admit(&l->blocks, &list, ids, total, total))
        return glia_fail(err, GLIA_ERR_LIMIT,
                         "no room in the KV cache to score %zu tokens beside %d running requests", n,
                         s->n_running);
    e->stepping = true;
    for (int at = 0; at < total && !status; at += e->score_rows) {
        const int rows = total - at < e->score_rows ? total - at : e->score_rows;
        glia_guard_enter();
        glia_blocks_grow(&l->blocks, &list, at + rows);
        glia_leader_plan_score(l, &list, adapter, begins, ids + at, at, rows);
        status = glia_engine_order(e, err);
        e->stats.steps++;
        glia_guard_leave();
        for (int i = 0; i < rows && !status; i++)
            on_logits(user, (size_t)(at + i), glia_rank_logits(&e->rank, i));
    }
    e->stats.prompt_tokens += n;
    glia_blocks_release(&l->blocks, &list);
    e->stepping = false;
    return status;
}

GLIA_API glia_status glia_engine_score(glia_engine *e, const int32_t *ids, size_t n,
                                       glia_logits_fn *on_logits, void *user, glia_err *err) {
    return glia_engine_score_adapted(e, NULL, ids, n, on_logits, user, err);
}

GLIA_API glia_status glia_engine_score_adapted(glia_engine *e, const char *adapter, const int32_t *ids,
                                               size_t n, glia_logits_fn *on_logits, void *user,
                                               glia_err *err) {
    assert(!e->stepping); /* not from a callback */
    glia_places *places = &e->leader.scheduler.places;
    int32_t number = 0;
    int place = -1, begins = 0;
    glia_status status = glia_engine_leads(e, err);
    if (!status) status = check(e, ids, n, err);
    if (!status && adapter) status = glia_adapters_hold(&e->adapters, adapter, ids, n, &number, &begins, err);
    if (status) return status;
    if (adapter) place = glia_places_hold(places, number);
    if (adapter && place < 0)
        status = glia_fail(err, GLIA_ERR_LIMIT, "no place for adapter %.100s beside %d running requests",
                           adapter, e->leader.scheduler.n_running);
    if (!status) status = score(e, place + 1, begins, ids, n, on_logits, user, err);
    if (place >= 0) glia_places_release(places, place);
    if (adapter && glia_adapters_release(&e->adapters, number)) glia_places_forget(places, number);
    return status;
}
