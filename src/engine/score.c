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

GLIA_API glia_status glia_engine_score(glia_engine *e, const int32_t *ids, size_t n,
                                       glia_logits_fn *on_logits, void *user, glia_err *err) {
    assert(!e->stepping); /* not from a callback */
    glia_status status = glia_engine_leads(e, err);
    if (!status) status = check(e, ids, n, err);
    if (status) return status;
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
        glia_leader_plan_score(l, &list, ids + at, at, rows);
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
