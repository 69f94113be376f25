/* lora.c - adapters of an engine: how many places, of what size; and what an adapter is,
 * for people. */
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "api/model.h"
#include "model/adapter_pack.h"

enum { RANK = 16, PLACES = 8, IN_MEMORY = 100, DECAY = 128, RANK_MAX = 4096 };

glia_adapter_base glia_lora_base(const glia_model *m) {
    return (glia_adapter_base){.dir = m->dir, .dummy = m->dummy, .seed = m->seed};
}

static glia_status check_range(const char *name, int value, int most, glia_err *err) {
    if (value >= 0 && value <= most) return GLIA_OK;
    return glia_fail(err, GLIA_ERR_ARGUMENT, "%s is %d, expected 1 to %d", name, value, most);
}

static glia_status check_options(const glia_engine_options *o, glia_err *err) {
    glia_status status = check_range("max_loras", o->max_loras, GLIA_PLACES_MAX, err);
    if (!status) status = check_range("max_lora_rank", o->max_lora_rank, RANK_MAX, err);
    if (!status) status = check_range("max_cpu_loras", o->max_cpu_loras, 1 << 20, err);
    if (!status) status = check_range("lfu_decay_period", o->lfu_decay_period, 1 << 30, err);
    for (size_t i = 0; !status && i < o->n_lora_modules; i++) {
        const char *name = o->lora_modules[i].name;
        if (!*name) return glia_fail(err, GLIA_ERR_ARGUMENT, "an adapter needs a name");
        for (size_t k = 0; k < i; k++)
            if (strcmp(o->lora_modules[k].name, name) == 0)
                return glia_fail(err, GLIA_ERR_ARGUMENT, "two adapters have the name %.100s", name);
    }
    return status;
}

/* The largest sizes of adapters on any rank. */
typedef struct {
    int rank;
    size_t bytes;
} sizes;

/* A rank of the model without memory for its weights. */
static glia_weights rank_of(const glia_model *m, int rank) {
    glia_weights w;
    glia_parallel p = m->parallel;
    p.rank = rank;
    glia_weights_describe(&w, glia_spec_find(m->config.architecture), &m->config, &p, m->dtype, &m->quantize);
    return w;
}

static glia_status measure(sizes *s, const glia_model *m, const char *path, glia_err *err) {
    glia_adapter a;
    const glia_adapter_base base = glia_lora_base(m);
    const glia_status status = glia_adapter_open(&a, path, &m->config, &base, NULL, NULL, err);
    if (status) return status;
    if (s->rank < a.rank) s->rank = a.rank;
    for (int i = 0; i < m->parallel.tp; i++) {
        const glia_weights w = rank_of(m, i);
        const size_t bytes = glia_adapter_bytes(&a, &w);
        if (s->bytes < bytes) s->bytes = bytes;
    }
    glia_adapter_close(&a);
    return GLIA_OK;
}

static int places_of(const glia_engine_options *o) {
    const bool any = o->enable_lora || o->n_lora_modules || o->max_loras;
    const int named = o->n_lora_modules < PLACES ? (int)o->n_lora_modules : PLACES;
    return !any ? 0 : o->max_loras ? o->max_loras : named > 1 ? named : 1;
}

glia_status glia_lora_resolve(glia_engine_limits *l, const glia_model *m, const glia_engine_options *o,
                              glia_err *err) {
    sizes s = {.rank = o->max_lora_rank ? o->max_lora_rank : RANK};
    glia_status status = check_options(o, err);
    const int places = places_of(o);
    if (status || !places) return status;
    for (size_t i = 0; !status && i < o->n_lora_modules; i++)
        status = measure(&s, m, o->lora_modules[i].path, err);
    if (status) return status;
    if (o->max_lora_rank && s.rank > o->max_lora_rank)
        return glia_fail(err, GLIA_ERR_ARGUMENT, "max_lora_rank is %d, and an adapter has rank %d",
                         o->max_lora_rank, s.rank);
    for (int i = 0; i < m->parallel.tp; i++) {
        const glia_weights w = rank_of(m, i);
        const size_t bytes = glia_place_bytes(&w, s.rank);
        if (s.bytes < bytes) s.bytes = bytes;
    }
    l->adapters = (glia_place_limits){.places = places, .rank = s.rank, .bytes = s.bytes};
    l->adapters_in_memory = o->max_cpu_loras ? o->max_cpu_loras : IN_MEMORY;
    if (l->adapters_in_memory < places) l->adapters_in_memory = places;
    l->adapters_by_uses = o->lora_lfu;
    l->adapters_decay = o->lfu_decay_period ? o->lfu_decay_period : DECAY;
    return GLIA_OK;
}

glia_status glia_lora_load(glia_engine *e, const glia_engine_options *o, glia_warning_fn *warning, void *user,
                           glia_err *err) {
    glia_status status = GLIA_OK;
    (void)warning, (void)user;
    for (size_t i = 0; o && !status && i < o->n_lora_modules; i++)
        status = glia_engine_load_adapter(e, o->lora_modules[i].name, o->lora_modules[i].path, false, err);
    return status;
}

/* ---- inspect ---------------------------------------------------------------- */

static json_t *shape_json(const glia_tensor_view *v) {
    json_t *shape = json_array();
    for (int i = 0; i < v->n_dims; i++) json_array_append_new(shape, json_integer(v->shape[i]));
    return shape;
}

static glia_status modules_json(json_t *list, const glia_adapter_files *a, glia_err *err) {
    json_t *one = NULL;
    for (size_t i = 0; i < a->n; i++) {
        const glia_adapter_tensor *t = &a->tensor[i];
        if (i == 0 || strcmp(a->tensor[i - 1].module, t->module) != 0) {
            int r;
            double scale;
            const glia_status status = glia_adapter_scale(&r, &scale, a, t->module, err);
            if (status) return status;
            one = json_pack("{s:s}", "module", t->module);
            if (t->role <= GLIA_LORA_EMBED_B) {
                json_object_set_new(one, "rank", json_integer(r));
                json_object_set_new(one, "scale", json_real(scale));
            }
            json_array_append_new(list, one);
        }
        json_object_set_new(one, glia_lora_role_name(t->role), shape_json(t->view));
    }
    return GLIA_OK;
}

GLIA_API glia_status glia_inspect_adapter(char **json, const char *path, glia_err *err) {
    static const char *const biases[] = {"none", "all", "lora_only"};
    glia_adapter_files a;
    *json = NULL;
    glia_status status = glia_adapter_files_open(&a, path, err);
    if (status) return status;
    json_t *modules = json_array();
    size_t bytes = 0;
    for (size_t i = 0; i < a.n; i++) bytes += a.tensor[i].view->bytes;
    status = modules_json(modules, &a, err);
    json_t *root = json_pack("{s:s, s:s?, s:i, s:f, s:b, s:b, s:s, s:I, s:I, s:o}", "adapter", path,
                             "base_model", a.base_model, "rank", a.r, "alpha", a.alpha, "rslora", a.rslora,
                             "dora", a.dora, "bias", biases[a.biases], "tensors", (json_int_t)a.n, "bytes",
                             (json_int_t)bytes, "modules", modules);
    *json = root && !status ? json_dumps(root, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(root);
    glia_adapter_files_close(&a);
    if (!status && !*json) status = glia_fail_nomem(err, 0, "the report");
    return status;
}
