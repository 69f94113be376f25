/* weights.c - the memory of a rank's weights: plan, bindings, load. */
#include "model/weights.h"

#include <stdlib.h>

#include "model/artifact.h"
#include "model/fused.h"
#include "model/load.h"

void glia_weights_describe(glia_weights *w, const glia_model_spec *spec, const glia_model_config *c,
                           const glia_parallel *p, glia_dtype dtype, const glia_quantize *quantize) {
    *w = (glia_weights){
        .config = c,
        .spec = spec,
        .quantize = quantize,
        .parallel = *p,
        .local = glia_local_of(c, p),
        .dtype = dtype,
        .device = &glia_cpu,
        /* one memory serves both if they are tied, not quantised, and cut alike */
        .shares_head =
            c->tied_head && (p->vocab_parallel || p->tp == 1) && !glia_quantizes(quantize, 0, PRODUCT_HEAD),
    };
}

/* ---- plan ----------------------------------------------------------------- */

/* A sum that exceeds size_t becomes SIZE_MAX, which glia_plan_add() refuses. */
static void add_bytes(size_t *sum, size_t bytes) {
    if (__builtin_add_overflow(*sum, bytes, sum)) *sum = SIZE_MAX;
}

/* Add the regions of w to its plan. region[r]: the plan's index of region r. */
static void make_plan(glia_weights *w, int region[N_REGIONS]) {
    static const char *const names[N_REGIONS] = {
        [REGION_EMBED] = "embedding", [REGION_HEAD] = "head",     [REGION_VECTORS] = "norms and biases",
        [REGION_QKV] = "qkv",         [REGION_O] = "o",           [REGION_GATE_UP] = "gate and up",
        [REGION_DOWN] = "down",       [REGION_SCALES] = "scales",
    };
    size_t bytes[N_REGIONS] = {0};
    for (glia_held h = {0}; glia_held_next(&h, w);) {
        const glia_matrix m = glia_held_shape(&h, w);
        add_bytes(&bytes[h.fused->region], glia_held_bytes(&h, w));
        add_bytes(&bytes[REGION_SCALES], w->device->scale_bytes(&m));
    }
    for (int r = 0; r < N_REGIONS; r++) {
        const bool both = r == REGION_EMBED && w->shares_head;
        region[r] = glia_plan_add(&w->plan, both ? "embedding and head (tied)" : names[r], 1, bytes[r]);
    }
}

void glia_weights_plan(glia_plan *plan, const glia_model_config *c, const glia_parallel *p, glia_dtype dtype,
                       const glia_quantize *quantize) {
    glia_weights w;
    int region[N_REGIONS];
    glia_weights_describe(&w, glia_spec_find(c->architecture), c, p, dtype, quantize);
    w.plan = *plan;
    make_plan(&w, region);
    *plan = w.plan;
}

size_t glia_weights_reordered(const glia_model_config *c, const glia_parallel *p,
                              const glia_quantize *quantize) {
    glia_weights w;
    size_t most = 0;
    glia_weights_describe(&w, glia_spec_find(c->architecture), c, p, GLIA_DTYPE_F32, quantize);
    for (glia_held h = {0}; glia_held_next(&h, &w);) {
        const glia_matrix m = glia_held_shape(&h, &w);
        if ((m.inputs || glia_keeps_floats(&m)) && m.k > most) most = m.k;
    }
    return most;
}

/* ---- bind ----------------------------------------------------------------- */

static void *take(char **at, size_t bytes) {
    char *p = *at;
    *at += bytes;
    return p;
}

/* Point every matrix and vector to its memory in the plan. */
static void bind(glia_weights *w, const int region[N_REGIONS]) {
    char *at[N_REGIONS];
    for (int r = 0; r < N_REGIONS; r++) at[r] = glia_plan_at(&w->plan, region[r]);
    for (glia_held h = {0}; glia_held_next(&h, w);) {
        glia_matrix m = glia_held_shape(&h, w);
        const size_t scale_bytes = w->device->scale_bytes(&m);
        m.data = take(&at[h.fused->region], glia_held_bytes(&h, w));
        if (scale_bytes) m.scale = take(&at[REGION_SCALES], scale_bytes);
        glia_held_bind(&h, w, &m);
    }
    if (w->shares_head) w->head = w->embed;
}

/* ---- load ----------------------------------------------------------------- */

/* One attention call takes all query heads that share a KV head: those of all shards that the rank holds,
 * and in flash decoding those of all ranks that share its positions. */
static glia_status check_limits(const glia_weights *w, glia_err *err) {
    const glia_model_config *c = w->config;
    const glia_parallel *p = &w->parallel;
    const glia_local *local = &w->local;
    const int shards = p->flash_decoding ? local->members : local->cp,
              queries = local->heads * shards / local->kv_heads;
    if (p->cp_degree > GLIA_CP_MAX)
        return glia_fail(err, GLIA_ERR_UNSUPPORTED, "context_parallel_size is %d, limit is %d", p->cp_degree,
                         GLIA_CP_MAX);
    if (c->head_dim > w->device->head_dim_max)
        return glia_fail(err, GLIA_ERR_UNSUPPORTED, "config.json: head_dim is %lld, limit is %d",
                         (long long)c->head_dim, w->device->head_dim_max);
    if (queries > w->device->queries_max)
        return glia_fail(err, GLIA_ERR_UNSUPPORTED,
                         "config.json: %d attention heads share a key-value head at tensor_parallel_size %d, "
                         "limit is %d",
                         queries, p->tp, w->device->queries_max);
    return GLIA_OK;
}

/* Can the device multiply by every matrix? */
static glia_status check_products(const glia_weights *w, unsigned cpu_flags, glia_err *err) {
    glia_status status = GLIA_OK;
    for (glia_held h = {0}; !status && glia_held_next(&h, w);) {
        const glia_matrix m = glia_held_shape(&h, w);
        if (h.fused->product != PRODUCT_NONE) status = w->device->check(cpu_flags, &m, w->dtype, err);
    }
    return status;
}

static glia_status map_artifact(glia_weights *w, const char *dir, const glia_weights_options *options,
                                glia_err *err) {
    if (w->device->host_memory) return glia_artifact_map(w, dir, options, err);
    return glia_fail(
        err, GLIA_ERR_UNSUPPORTED,
        "%s: compiled weights are mapped into the host's memory, which device %s does not use; give "
        "the directory of the original model",
        dir, w->device->name);
}

glia_status glia_weights_load(glia_weights **out, const char *dir, const glia_model_config *config,
                              const glia_weights_options *options, glia_err *err) {
    const bool compiled = !options->dummy && glia_artifact_in(dir);
    int region[N_REGIONS];
    *out = NULL;
    glia_weights *w = malloc(sizeof *w);
    if (!w) return glia_fail_nomem(err, sizeof *w, "the weights");
    glia_weights_describe(w, options->spec ? options->spec : glia_spec_find(config->architecture), config,
                          options->parallel ? options->parallel : &glia_alone, options->dtype,
                          options->quantize);
    if (options->device) w->device = options->device;
    glia_status status = check_limits(w, err);
    if (!status) status = check_products(w, options->cpu_flags, err);
    if (!status) {
        w->layer = calloc((size_t)config->layers, sizeof *w->layer);
        if (!w->layer) status = glia_fail_nomem(err, (size_t)config->layers * sizeof *w->layer, "the layers");
    }
    if (!status) {
        make_plan(w, region);
        status = compiled ? map_artifact(w, dir, options, err) : w->device->map(&w->plan, "the weights", err);
    }
    if (!status) {
        bind(w, region);
        status =
            compiled ? glia_artifact_check(w, dir, options, err) : glia_weights_fill(w, dir, options, err);
    }
    if (status)
        glia_weights_free(w);
    else
        *out = w;
    return status;
}

void glia_weights_operations(glia_operation_fn *tell, void *user, const glia_model_config *c,
                             glia_dtype dtype, const glia_quantize *quantize, glia_dtype kv_dtype,
                             unsigned cpu_flags) {
    const glia_device_shape shape = {.dtype = dtype, .kv_dtype = kv_dtype};
    glia_operation list[GLIA_OPERATIONS_MAX];
    glia_weights w;
    glia_weights_describe(&w, glia_spec_find(c->architecture), c, &glia_alone, dtype, quantize);
    const glia_held h = {.fused = glia_fused_find(&w, W_GATE)}; /* what multiplies most */
    const glia_matrix m = glia_held_shape(&h, &w);
    const int n = w.device->describe(list, cpu_flags, &m, &shape);
    for (int i = 0; i < n; i++) tell(user, list[i].name, list[i].rung);
}

static uint64_t bytes_of(const glia_device_ops *ops, const glia_matrix *m) {
    return ops->matrix_bytes(m) + ops->scale_bytes(m);
}

uint64_t glia_weights_matrix_bytes(const glia_weights *w) {
    uint64_t sum = w->shares_head ? bytes_of(w->device, &w->head) : 0;
    for (glia_held h = {0}; glia_held_next(&h, w);) {
        /* a step of few rows uses the rank's own shard alone */
        const bool others = h.fused->hold == HOLD_SHARDS && h.shard != w->local.shard;
        const glia_matrix m = glia_held_shape(&h, w);
        if (h.fused->product != PRODUCT_NONE && !others) sum += bytes_of(w->device, &m);
    }
    return sum;
}

glia_status glia_weights_check(const glia_weights *w, glia_err *err) {
    return glia_map_check(&w->artifact.map, err);
}

void glia_weights_free(glia_weights *w) {
    if (!w) return;
    if (w->artifact.map.data)
        glia_safetensors_close(&w->artifact);
    else
        w->device->unmap(&w->plan);
    free(w->layer);
    free(w);
}
