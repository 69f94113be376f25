/* speculation.c - see speculation.h. */
#include "api/speculation.h"

#include <stdlib.h>

#include "draft/config.h"

static glia_status read_draft(glia_draft_model *d, const glia_model *m, const char *config,
                              const char *cache_dir, glia_err *err) {
    const glia_status status =
        glia_draft_config_read(&d->config, config, "speculative_config", cache_dir, err);
    if (status) return status;
    d->target_dir = m->dir;
    d->target = &m->config;
    d->target_dtype = m->dtype;
    d->cpu_flags = m->cpu_flags;
    d->threads = m->threads;
    return d->config.method->read(d, err);
}

glia_status glia_speculation_read(glia_model *m, const char *config, const char *cache_dir, glia_err *err) {
    if (!config) return GLIA_OK;
    m->draft = calloc(1, sizeof *m->draft);
    if (!m->draft) return glia_fail_nomem(err, sizeof *m->draft, "the draft");
    return read_draft(m->draft, m, config, cache_dir, err);
}

glia_status glia_speculation_load(glia_model *m, glia_err *err) {
    glia_team *team;
    if (!m->draft || !m->draft->config.method->load || m->parallel.rank != 0) return GLIA_OK;
    glia_status status =
        glia_team_create_beside(&team, m->threads, m->place, m->places + m->n_ranks - 1, err);
    if (status) return status;
    status = m->draft->config.method->load(m->draft, m->weights[0], team, err);
    glia_team_free(team);
    return status;
}

void glia_speculation_free(glia_model *m) {
    if (!m->draft) return;
    const glia_draft_method *method = m->draft->config.method;
    if (method && method->unload) method->unload(m->draft);
    glia_draft_config_free(&m->draft->config);
    free(m->draft);
    m->draft = NULL;
}

int glia_speculation_depth(const glia_model *m) {
    return m->draft ? glia_draft_config_depth(&m->draft->config) : 0;
}

void glia_speculation_limits(glia_engine_limits *l, const glia_model *m) {
    if (!m->draft) return;
    const glia_draft_method *method = m->draft->config.method;
    l->drafts = glia_draft_config_nodes(&m->draft->config);
    l->depth = glia_speculation_depth(m);
    if (method->needs) l->needs = method->needs(m->draft);
}

void glia_speculation_plan(glia_plan *weights, glia_plan *engine, const glia_model *m,
                           const glia_engine_limits *l) {
    if (!m->draft) return;
    const glia_draft_method *method = m->draft->config.method;
    const glia_draft_limits limits = glia_limit_draft(&m->config, &m->parallel, l);
    if (method->plan_weights) method->plan_weights(m->draft, weights);
    if (method->plan) method->plan(m->draft, &limits, engine);
}
