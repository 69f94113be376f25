/* ranks.c - see ranks.h. */
#define _GNU_SOURCE
#include "api/ranks.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/speculation.h"
#include "base/cpu.h"
#include "base/file.h"
#include "base/hash.h"
#include "model/artifact.h"
#include "model/importance.h"
#include "comm/comm.h"

/* ---- several processes ------------------------------------------------------ */

/* What an engine's task needs. The needs of rank 0 count. */
typedef struct {
    int32_t batch_size, sequence_length;
} needs;

static needs needs_of(const glia_engine_options *o) {
    return (needs){o->batch_size_needed, o->sequence_length_needed};
}

static void set_needs(glia_engine_options *o, const needs *n) {
    o->batch_size_needed = n->batch_size;
    o->sequence_length_needed = n->sequence_length;
}

/* The note that each process sends to the others before it reads the model. */
typedef struct {
    needs needs;
    char machine[40]; /* the boot id */
    cpu_set_t cores;
} note;

static void write_note(note *n, const glia_engine_options *o) {
    char *text;
    size_t len;
    memset(n, 0, sizeof *n);
    n->needs = needs_of(o);
    if (!glia_read_file(&text, &len, "/proc/sys/kernel/random/boot_id", 4096, NULL)) {
        snprintf(n->machine, sizeof n->machine, "%s", text);
        free(text);
    }
    sched_getaffinity(0, sizeof n->cores, &n->cores);
}

/* Count the processes that may use the same cores, and those of lower rank. */
static void find_place(glia_model *m, const note *all, int rank, int size) {
    m->place = m->places = 0;
    for (int i = 0; i < size; i++) {
        if (strcmp(all[i].machine, all[rank].machine) != 0 || !CPU_EQUAL(&all[i].cores, &all[rank].cores))
            continue;
        m->place += i < rank;
        m->places++;
    }
}

glia_status glia_ranks_join(glia_model *m, const glia_options *o, glia_engine_options *engine,
                            glia_err *err) {
    m->places = 1;
    if (!o->mpi) return GLIA_OK;
    glia_status status = glia_comm_mpi(&m->world, false, o->last_words, err);
    if (status) return status;
    const int rank = glia_comm_rank(m->world), size = glia_comm_size(m->world);
    note mine, *all = calloc((size_t)size, sizeof *all);
    write_note(&mine, engine);
    status = all ? glia_comm_notes(m->world, &mine, sizeof mine, all, err)
                 : glia_fail_nomem(err, (size_t)size * sizeof *all, "the ranks' notes");
    if (!all) glia_comm_fail(m->world, "no memory for the ranks' notes");
    if (!status) {
        find_place(m, all, rank, size);
        set_needs(engine, &all[0].needs);
    }
    free(all);
    return status;
}

/* Describe what must be equal on all ranks, for people. */
static void describe(const glia_model *m, const glia_options *o, char *text, size_t size) {
    const glia_setting *s = m->setting;
    const char *keep = glia_modules_to_keep(m, o);
    char config[GLIA_HASH_HEX] = "", importance[GLIA_HASH_HEX] = "none";
    const glia_quantize *q = &m->quantize;
    if (q->importance) glia_hash_hex(importance, glia_importance_hash(q->importance));
    if (m->dir) glia_config_hash(config, m->dir, NULL);
    snprintf(text, size,
             "config.json %s, quantization %s %s, groups of %d, head %s, importance %s, %s, vocabulary %d, "
             "sequence %d, flash %d, context %d %d, "
             "keep %.40s %08x, cpu %s, dummy %d %llu",
             config, glia_quantization_name((glia_quantization)s[SET_QUANTIZATION].value),
             glia_quantize_type_name(q), glia_quantize_group(q, &m->config),
             glia_head_quantization_name(glia_quantize_head(q)), importance, glia_dtype_name(m->dtype),
             m->parallel.vocab_parallel, m->parallel.sequence_parallel, m->parallel.flash_decoding,
             m->parallel.cp_degree, m->parallel.cp_strided, keep ? keep : "none",
             (unsigned)glia_hash(keep ? keep : "", keep ? strlen(keep) : 0, 0), glia_cpu_rung(m->cpu_flags),
             o->dummy, (unsigned long long)(o->dummy ? o->seed : 0));
}

static void describe_engine(const glia_engine_limits *l, char *text, size_t size) {
    const glia_draft_needs *n = &l->needs;
    snprintf(
        text, size,
        "cache %s, drafts %d %d %d %d %08x %zu, batch %d, length %d, chunk %d, block %d, prefix cache %d, "
        "adapters %d of rank %d, %zu bytes",
        glia_dtype_name(l->kv_dtype), l->drafts, l->depth, n->hidden, n->n_residual_layers,
        (unsigned)glia_hash(n->residual_layer, sizeof n->residual_layer, 0), l->draft_area, l->batch,
        l->sequence_length, l->chunk, l->block_size, l->prefix_cache, l->adapters.places, l->adapters.rank,
        l->adapters.bytes);
}

/* Replace *o's needs by rank 0's. */
static glia_status share_needs(glia_comm *world, glia_engine_options *o, glia_err *err) {
    const needs mine = needs_of(o);
    needs *all = calloc((size_t)glia_comm_size(world), sizeof *all);
    if (!all) glia_comm_fail(world, "no memory for what the ranks need");
    const glia_status status =
        all ? glia_comm_notes(world, &mine, sizeof mine, all, err) : glia_comm_check(world, err);
    if (!status) set_needs(o, &all[0]);
    free(all);
    return status;
}

glia_status glia_ranks_engine(glia_comm **out, glia_engine_settings *s, const glia_model *m,
                              const glia_engine_options *options, glia_err *err) {
    glia_engine_options o = options ? *options : (glia_engine_options){0};
    char text[300] = "";
    *out = NULL;
    if (!m->world || glia_comm_size(m->world) == 1) return glia_engine_resolve(s, m, &o, err);
    glia_status status = glia_comm_copy(out, m->world, err);
    if (status) return status;
    status = share_needs(*out, &o, err);
    if (!status) status = glia_engine_resolve(s, m, &o, err);
    if (!status) describe_engine(&s->limits, text, sizeof text);
    return glia_comm_agree(*out, text, status, err);
}

/* ---- weights ---------------------------------------------------------------- */

typedef struct {
    glia_model *m;
    const glia_options *o;
    int i; /* which of this process's ranks */
    pthread_t thread;
    bool started;
    glia_status status;
    glia_err err;
} loader;

/* Load one rank's weights, with a team on the cores that the engine's team will use: the thread that writes a
 * panel first decides its NUMA node. */
static void *load_rank(void *arg) {
    loader *l = arg;
    glia_model *m = l->m;
    glia_team *team;
    glia_parallel parallel = m->parallel;
    parallel.rank += l->i;
    l->status =
        glia_team_create_beside(&team, m->threads, m->place + l->i, m->places + m->n_ranks - 1, &l->err);
    if (l->status) return NULL;
    if (l->i > 0) glia_team_bind(team);
    const glia_weights_options options = {
        .dtype = m->dtype,
        .parallel = &parallel,
        .quantize = &m->quantize,
        .dummy = l->o->dummy,
        .seed = l->o->seed,
        .cpu_flags = m->cpu_flags,
        .team = team,
        .progress = l->i == 0 ? l->o->progress : NULL,
        .user = l->o->user,
    };
    l->status = glia_weights_load(&m->weights[l->i], m->dir, &m->config, &options, &l->err);
    glia_team_free(team);
    return NULL;
}

/* A lone rank's plan is checked when it is mapped. The areas of several ranks are not part of it, and memory
 * that other ranks mapped and did not touch still counts as available. */
static glia_status check_memory(const glia_model *m, const glia_options *o, int ranks, glia_err *err) {
    glia_plan plan = {0};
    glia_engine_settings s;
    const glia_status status = o->engine ? glia_engine_resolve(&s, m, o->engine, err) : GLIA_OK;
    if (status) return status;
    if (o->dummy || !glia_artifact_in(m->dir))
        glia_weights_plan(&plan, &m->config, &m->parallel, m->dtype, &m->quantize);
    if (o->engine)
        glia_engine_plan(&m->config, &m->parallel, &s.limits, m->threads, glia_comm_kind_of(m->world), &plan);
    const size_t available = glia_memory_available();
    if (m->parallel.tp == 1 || plan.overflow || plan.bytes <= available / (size_t)ranks) return GLIA_OK;
    return glia_fail(
        err, GLIA_ERR_NOMEM,
        "each rank needs %.2f GiB for weights and buffers, %d in this process, this machine has %.2f GiB "
        "available",
        (double)plan.bytes / 0x1p30, ranks, (double)available / 0x1p30);
}

/* Load the first rank on this thread and each other rank on its own thread. The failure of the lowest rank is
 * reported. */
static glia_status load_all(glia_model *m, const glia_options *o, glia_err *err) {
    const int n = m->n_ranks = m->world ? 1 : m->parallel.tp;
    glia_status status = check_memory(m, o, n, err);
    if (status) return status;
    loader *loaders = calloc((size_t)n, sizeof *loaders);
    m->weights = calloc((size_t)n, sizeof(glia_weights *));
    if (!loaders || !m->weights) {
        free(loaders);
        return glia_fail_nomem(err, (size_t)n * sizeof *loaders, "the ranks");
    }
    for (int i = 0; i < n; i++) {
        loaders[i] = (loader){.m = m, .o = o, .i = i};
        if (i == 0) continue;
        const int why = pthread_create(&loaders[i].thread, NULL, load_rank, &loaders[i]);
        loaders[i].started = why == 0;
        if (why)
            loaders[i].status = glia_fail(&loaders[i].err, GLIA_ERR_NOMEM, "a thread: %s", strerror(why));
    }
    load_rank(&loaders[0]);
    for (int i = 0; i < n; i++) {
        if (loaders[i].started) pthread_join(loaders[i].thread, NULL);
        if (status || !loaders[i].status) continue;
        status = loaders[i].status;
        glia_fail(err, status, "%s", loaders[i].err.msg);
    }
    free(loaders);
    return status;
}

glia_status glia_ranks_load(glia_model *m, const glia_options *o, glia_status own, glia_err *err) {
    char text[512];
    if (!own) own = load_all(m, o, err);
    if (!own) own = glia_speculation_load(m, err);
    if (!m->world) return own;
    if (own)
        text[0] = '\0'; /* settings may be out of their range */
    else
        describe(m, o, text, sizeof text);
    return glia_comm_agree(m->world, text, own, err);
}

void glia_ranks_free(glia_model *m) {
    for (int i = 0; m->weights && i < m->n_ranks; i++) glia_weights_free(m->weights[i]);
    free(m->weights);
    glia_comm_free(m->world);
}
