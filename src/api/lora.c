/* lora.c - adapters of an engine: how many places, of what size; and what an adapter is,
 * for people. */
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "api/model.h"
#include "base/buf.h"
#include "format/json.h"
#include "model/adapter_pack.h"

enum { PLACES = 8 };

glia_adapter_base glia_lora_base(const glia_model *m) {
    return (glia_adapter_base){.dir = m->dir, .dummy = m->dummy, .seed = m->seed};
}

/* ---- the adapters that are named -------------------------------------------- */

/* Called for each adapter. */
typedef glia_status module_fn(void *user, const char *name, const char *path, glia_err *err);

/* NxDI's list of "NAME:PATH", or an object of names and paths. `dir` stands before a path that does not begin
 * with a slash; NULL: nothing. */
static glia_status each_of(const json_t *list, const char *dir, module_fn *call, void *user, glia_err *err) {
    glia_status status = GLIA_OK;
    const size_t n = json_is_array(list) ? json_array_size(list) : json_object_size(list);
    void *at = json_object_iter((json_t *)(uintptr_t)list);
    for (size_t i = 0; !status && i < n; i++) {
        const json_t *value = json_is_array(list) ? json_array_get(list, i) : json_object_iter_value(at);
        const char *text = json_string_value(value), *colon = text ? strchr(text, ':') : NULL, *path = text;
        glia_buf name = {0}, full = {0};
        if (json_is_array(list)) path = colon ? colon + 1 : NULL;
        if (!path)
            return glia_fail(
                err, GLIA_ERR_FORMAT,
                "neuron_config.json: lora_config: expected a list of \"NAME:PATH\", or an object of "
                "names and paths");
        if (json_is_array(list))
            glia_buf_add(&name, text, (size_t)(colon - text));
        else
            glia_buf_puts(&name, json_object_iter_key(at));
        if (dir && *path != '/') glia_buf_printf(&full, "%s/", dir);
        glia_buf_puts(&full, path);
        status = name.oom || full.oom ? glia_fail_nomem(err, 0, "the name of an adapter")
                                      : call(user, name.len ? name.data : "", full.data, err);
        glia_buf_free(&name);
        glia_buf_free(&full);
        if (json_is_object(list)) at = json_object_iter_next((json_t *)(uintptr_t)list, at);
    }
    return status;
}

/* lora_ckpt_json: a file with lora-ckpt-dir, lora-ckpt-paths and lora-ckpt-paths-cpu. */
static glia_status each_of_file(const char *path, module_fn *call, void *user, glia_err *err) {
    json_t *file;
    glia_status status = glia_json_load(&file, path, 1 << 20, 0, err);
    if (status) return status;
    const char *dir = json_string_value(json_object_get(file, "lora-ckpt-dir"));
    status = each_of(json_object_get(file, "lora-ckpt-paths"), dir, call, user, err);
    if (!status) status = each_of(json_object_get(file, "lora-ckpt-paths-cpu"), dir, call, user, err);
    json_decref(file);
    return status;
}

/* Every adapter that the options name, else that neuron_config.json names. */
static glia_status each_module(const glia_model *m, const glia_engine_options *o, module_fn *call, void *user,
                               glia_err *err) {
    const json_t *lora = m->neuron.lora;
    glia_status status = GLIA_OK;
    for (size_t i = 0; !status && i < o->n_lora_modules; i++)
        status = call(user, o->lora_modules[i].name, o->lora_modules[i].path, err);
    if (status || o->n_lora_modules || !lora) return status;
    const char *file = json_string_value(json_object_get(lora, "lora_ckpt_json"));
    status = each_of(json_object_get(lora, "lora_ckpt_paths"), NULL, call, user, err);
    if (!status) status = each_of(json_object_get(lora, "lora_ckpt_paths_cpu"), NULL, call, user, err);
    return !status && file ? each_of_file(file, call, user, err) : status;
}

static glia_status count(void *n, const char *name, const char *path, glia_err *err) {
    (void)name, (void)path, (void)err;
    ++*(int *)n;
    return GLIA_OK;
}

int glia_lora_places(const glia_model *m, const glia_engine_options *o) {
    int n = 0;
    each_module(m, o, count, &n, NULL);
    if (!n && !o->enable_lora && !m->neuron.lora) return 0;
    return n < 1 ? 1 : n < PLACES ? n : PLACES;
}

/* ---- places ----------------------------------------------------------------- */

/* The largest sizes of adapters on any rank. */
typedef struct {
    const glia_model *m;
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

static glia_status measure(void *user, const char *name, const char *path, glia_err *err) {
    sizes *s = user;
    glia_adapter a;
    glia_adapter_base base = glia_lora_base(s->m);
    base.sizes = true;
    if (!*name) return glia_fail(err, GLIA_ERR_ARGUMENT, "an adapter needs a name");
    const glia_status status = glia_adapter_open(&a, path, &s->m->config, &base, NULL, NULL, err);
    if (status) return status;
    if (s->rank < a.rank) s->rank = a.rank;
    for (int i = 0; i < s->m->parallel.tp; i++) {
        const glia_weights w = rank_of(s->m, i);
        const size_t bytes = glia_adapter_bytes(&a, &w);
        if (s->bytes < bytes) s->bytes = bytes;
    }
    glia_adapter_close(&a);
    return GLIA_OK;
}

glia_status glia_lora_resolve(glia_engine_settings *settings, const glia_model *m,
                              const glia_engine_options *o, glia_err *err) {
    const glia_setting *set = settings->setting;
    glia_engine_limits *l = &settings->limits;
    sizes s = {.m = m, .rank = set[SET_MAX_LORA_RANK].value};
    const int places = set[SET_MAX_LORAS].value;
    const char *policy = json_string_value(json_object_get(m->neuron.lora, "eviction_policy"));
    if (!places) return GLIA_OK;
    const glia_status status = each_module(m, o, measure, &s, err);
    if (status) return status;
    if (set[SET_MAX_LORA_RANK].source == GLIA_FROM_FLAG && s.rank > set[SET_MAX_LORA_RANK].value)
        return glia_fail(err, GLIA_ERR_ARGUMENT, "max_lora_rank is %d, and an adapter has rank %d",
                         set[SET_MAX_LORA_RANK].value, s.rank);
    for (int i = 0; i < m->parallel.tp; i++) {
        const glia_weights w = rank_of(m, i);
        const size_t bytes = glia_place_bytes(&w, s.rank);
        if (s.bytes < bytes) s.bytes = bytes;
    }
    l->adapters = (glia_place_limits){.places = places, .rank = s.rank, .bytes = s.bytes};
    l->adapters_in_memory = set[SET_MAX_CPU_LORAS].value > places ? set[SET_MAX_CPU_LORAS].value : places;
    l->adapters_by_uses = o->lora_lfu || (policy && strcmp(policy, "lfu") == 0);
    l->adapters_decay = set[SET_LFU_DECAY].value;
    return GLIA_OK;
}

static glia_status load(void *e, const char *name, const char *path, glia_err *err) {
    return glia_engine_name_adapter(e, name, path, err);
}

glia_status glia_lora_load(glia_engine *e, const glia_model *m, const glia_engine_options *o, glia_err *err) {
    static const glia_engine_options none;
    return each_module(m, o ? o : &none, load, e, err);
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
    json_t *root =
        json_pack("{s:s, s:s?, s:i, s:f, s:b, s:b, s:s, s:I, s:I}", "adapter", path, "base_model",
                  a.base_model, "rank", a.r, "alpha", a.alpha, "rslora", a.rslora, "dora", a.dora, "bias",
                  biases[a.biases], "tensors", (json_int_t)a.n, "bytes", (json_int_t)bytes);
    if (root && a.invocation) json_object_set(root, "invocation_tokens", (json_t *)(uintptr_t)a.invocation);
    json_object_set_new(root, "modules", modules); /* takes it also without memory */
    *json = root && !status ? json_dumps(root, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(root);
    glia_adapter_files_close(&a);
    if (!status && !*json) status = glia_fail_nomem(err, 0, "the report");
    return status;
}
