/* followers.c - see followers.h. */
#include "engine/followers.h"

#include <stdlib.h>
#include <string.h>

static void *follow(void *arg) {
    glia_follower *f = arg;
    glia_err err = {0}; /* not reported here: the leader reports a failure of any rank */
    if (glia_rank_open(&f->rank, &f->config, GLIA_OK, &err)) return NULL;
    glia_team_bind(f->rank.team);
    glia_rank_follow(&f->rank, &err);
    glia_rank_close(&f->rank);
    return NULL;
}

glia_status glia_followers_create(glia_followers *f, int n, size_t bytes, glia_err *err) {
    f->world = calloc((size_t)n, sizeof *f->world);
    f->follower = calloc((size_t)n, sizeof *f->follower);
    if (!f->world || !f->follower) return glia_fail_nomem(err, (size_t)n * sizeof *f->follower, "the ranks");
    glia_status status = glia_comm_threads(f->world, n, err);
    if (status) return status;
    f->n = n;
    for (int i = 0; i < n && !status; i++) status = glia_comm_share(f->world[i], bytes, err);
    return status;
}

void glia_followers_start(glia_followers *f, int i, const glia_rank_config *config) {
    glia_follower *one = &f->follower[i];
    one->config = *config;
    const int why = pthread_create(&one->thread, NULL, follow, one);
    one->started = why == 0;
    if (why) glia_comm_fail(f->world[i], strerror(why)); /* those that have begun learn of it */
}

void glia_followers_join(glia_followers *f) {
    for (int i = 0; i < f->n; i++) {
        if (f->follower[i].started) pthread_join(f->follower[i].thread, NULL);
        f->follower[i].started = false;
    }
}

void glia_followers_close(glia_followers *f) {
    for (int i = 0; i < f->n; i++) glia_comm_free(f->world[i]);
    free(f->world);
    free(f->follower);
    *f = (glia_followers){0};
}
