/* crew.c - the ranks of this process besides the caller's, each on a thread of
 * its own, and the world that they and the leader are. */
#include <stdlib.h>
#include <string.h>

#include "engine/engine_impl.h"

static void *follow(void *arg) {
    glia_follower *f = arg;
    glia_err err = {0}; /* the leader tells it: a failure is of the whole world */
    if (glia_rank_open(&f->rank, &f->config, GLIA_OK, &err)) return NULL;
    glia_team_bind(f->rank.team);
    glia_rank_follow(&f->rank, &err);
    glia_rank_close(&f->rank);
    return NULL;
}

static glia_rank_config rank_config(const glia_engine *e, int i) {
    const glia_engine_config *c = &e->config;
    return (glia_rank_config){
        .weights = c->weights[i],
        .world = e->crew ? e->crew[i].world : c->world,
        .limits = c->limits,
        .cpu_flags = c->cpu_flags,
        .threads = c->threads,
        .place = c->place + i,
        .places = c->places + c->n_ranks - 1,
    };
}

static glia_status make_world(glia_engine *e, glia_err *err) {
    const int n = e->config.n_ranks;
    glia_comm **ends = calloc((size_t)n, sizeof *ends);
    e->crew = calloc((size_t)n, sizeof *e->crew);
    glia_status status = ends && e->crew ? glia_comm_threads(ends, n, err)
                                         : glia_fail_nomem(err, (size_t)n * sizeof *e->crew, "the ranks");
    for (int i = 0; i < n && !status; i++) e->crew[i].world = ends[i];
    free(ends);
    if (status) {
        free(e->crew);
        e->crew = NULL;
    }
    return status;
}

static glia_status share_areas(glia_engine *e, glia_err *err) {
    const glia_engine_config *c = &e->config;
    const size_t bytes = glia_rank_area_bytes(c->model, &c->weights[0]->parallel, &c->limits);
    glia_status status = GLIA_OK;
    if (!e->crew) return c->world ? glia_comm_share(c->world, bytes, err) : GLIA_OK;
    for (int i = 0; i < c->n_ranks && !status; i++) status = glia_comm_share(e->crew[i].world, bytes, err);
    return status;
}

glia_status glia_crew_open(glia_engine *e, glia_err *err) {
    glia_status status = e->config.n_ranks > 1 ? make_world(e, err) : GLIA_OK;
    if (!status) status = share_areas(e, err);
    if (status && e->config.world) glia_comm_fail(e->config.world, err->msg);
    if (status) return status;
    for (int i = 1; e->crew && i < e->config.n_ranks; i++) {
        glia_follower *f = &e->crew[i];
        f->config = rank_config(e, i);
        const int why = pthread_create(&f->thread, NULL, follow, f);
        f->started = why == 0;
        if (why) glia_comm_fail(f->world, strerror(why)); /* those that have begun learn of it */
    }
    const glia_rank_config own = rank_config(e, 0);
    status = glia_engine_plan_leader(e, err);
    return glia_rank_open(&e->rank, &own, status, err);
}

void glia_crew_close(glia_engine *e) {
    glia_comm *world = e->rank.config.world;
    if (world && !e->over && e->rank.rank == 0) {
        glia_order_begin(&e->rank, ORDER_END);
        glia_rank_lead(&e->rank, NULL);
    } else if (world && !e->over) {
        glia_comm_fail(world, "it follows no longer");
    }
    for (int i = 1; e->crew && i < e->config.n_ranks; i++)
        if (e->crew[i].started) pthread_join(e->crew[i].thread, NULL);
    glia_rank_close(&e->rank);
    for (int i = 0; e->crew && i < e->config.n_ranks; i++) glia_comm_free(e->crew[i].world);
    free(e->crew);
}
