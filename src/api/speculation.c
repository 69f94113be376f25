/* speculation.c - see speculation.h. */
#include "api/speculation.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "draft/config.h"
#include "draft/heads.h"
#include "text/tokenizer.h"

enum { TOKENIZER_MAX = 256 << 20 };

/* ---- what is asked for ----------------------------------------------------------- */

static bool gives_shape(const json_t *o) {
    static const char *const keys[] = {"num_speculative_tokens",
                                       "speculative_token_tree",
                                       "medusa_tree",
                                       "token_tree_config",
                                       "total_token",
                                       "depth",
                                       "top_k"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (json_object_get(o, keys[i])) return true;
    return false;
}

static void fill_in(json_t *o, const char *key, const json_t *from) {
    if (!json_object_get(o, key)) json_object_set(o, key, json_object_get(from, key));
}

/* Members of neuron_config.json that the option leaves open, if both ask for the same method. */
static void fill_in_all(json_t *o, const json_t *file) {
    const json_t *method = json_object_get(o, "method"), *model = json_object_get(o, "model");
    if (method && !json_equal(method, json_object_get(file, "method"))) return;
    if (!method && !model) return;
    const bool shaped = gives_shape(o);
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)file, key, value) {
        (void)value;
        if (!shaped || strcmp(key, "method") == 0 || strcmp(key, "model") == 0) fill_in(o, key, file);
    }
}

/* The option's text, completed from neuron_config.json. NULL: the text stays as it is. */
static char *complete(const glia_model *m, const char *option) {
    json_t *o = m->neuron.speculation ? json_loads(option, JSON_REJECT_DUPLICATES, NULL) : NULL;
    if (json_is_object(o)) fill_in_all(o, m->neuron.speculation);
    char *text = json_is_object(o) ? json_dumps(o, JSON_COMPACT) : NULL;
    json_decref(o);
    return text;
}

/* What neuron_config.json says; NULL: nothing, or a draft without a name. Medusa's heads are in the model's
 * directory. */
static char *of_file(const glia_model *m, glia_warning_fn *warning, void *user) {
    json_t *o = json_deep_copy(m->neuron.speculation);
    const char *method = json_string_value(json_object_get(o, "method"));
    if (method && strcmp(method, "medusa") == 0) json_object_set_new(o, "model", json_string(m->dir));
    char *text = json_object_get(o, "model") ? json_dumps(o, JSON_COMPACT) : NULL;
    if (method && !text && warning)
        warning(user, "neuron_config.json asks for speculation, and fused_spec_config.draft_model_path names "
                      "no draft: no speculation; --model-draft names one");
    json_decref(o);
    return text;
}

/* ---- the draft's tokenizer -------------------------------------------------------- */

/* Does dir/tokenizer.json hold the bytes text [len]? */
static bool same_file(const char *dir, const char *text, size_t len) {
    char *path = glia_path_join(dir, "tokenizer.json"), *own = NULL;
    size_t n = 0;
    const bool same =
        path && !glia_read_file(&own, &n, path, TOKENIZER_MAX, NULL) && n == len && memcmp(own, text, n) == 0;
    free(own);
    free(path);
    return same;
}

/* The first id whose ordinary token is another one in b; -1: none. Ids that only one of them has are not
 * compared, since padding and added tokens differ between sizes of one model. */
static int32_t first_difference(const glia_tokenizer *a, const glia_tokenizer *b) {
    const size_t n_a = glia_tokenizer_vocab_size(a), n_b = glia_tokenizer_vocab_size(b);
    for (int32_t id = 0; (size_t)id < n_a && (size_t)id < n_b; id++) {
        size_t len_a, len_b;
        const char *x = glia_tokenizer_bytes(a, id, &len_a), *y = glia_tokenizer_bytes(b, id, &len_b);
        if (!x || !y || (glia_tokenizer_is_special(a, id) && glia_tokenizer_is_special(b, id))) continue;
        if (len_a != len_b || memcmp(x, y, len_a) != 0) return id;
    }
    return -1;
}

static glia_status compare_tokens(const char *dir, const glia_tokenizer *own, const glia_tokenizer *target,
                                  glia_err *err) {
    const int32_t id = first_difference(own, target);
    size_t len, len_target;
    if (id < 0) return GLIA_OK;
    const char *token = glia_tokenizer_bytes(own, id, &len),
               *want = glia_tokenizer_bytes(target, id, &len_target);
    return glia_fail(
        err, GLIA_ERR_SHAPE,
        "%s: token %d of the draft is \"%.*s\", of the target \"%.*s\": expected the same tokens", dir, id,
        (int)(len < 40 ? len : 40), token, (int)(len_target < 40 ? len_target : 40), want);
}

/* A draft that is a whole model must have the target's tokens. A directory without a tokenizer is trusted. */
static glia_status check_tokens(const glia_model *m, const char *dir, glia_err *err) {
    char *path = glia_path_join(dir, "tokenizer.json"), *text = NULL;
    size_t len = 0;
    glia_tokenizer *own = NULL;
    glia_status status = GLIA_OK;
    if (path && m->tokenizer && !glia_read_file(&text, &len, path, TOKENIZER_MAX, NULL) &&
        !same_file(m->dir, text, len) && !glia_tokenizer_parse(&own, text, len, path, NULL))
        status = compare_tokens(dir, own, m->tokenizer, err);
    glia_tokenizer_free(own);
    free(text);
    free(path);
    return status;
}

/* A draft is whole on rank 0, or has the target's ranks. */
static glia_status check_ranks(const glia_draft_config *c, const glia_model *m, glia_err *err) {
    if (c->tp <= 1 || c->tp == m->parallel.tp) return GLIA_OK;
    return glia_fail(err, GLIA_ERR_ARGUMENT,
                     "draft_tensor_parallel_size is %d, expected 1 or the target's tensor_parallel_size %d",
                     c->tp, m->parallel.tp);
}

static glia_status read_draft(glia_draft_model *d, const glia_model *m, const char *text, const char *where,
                              const char *cache_dir, glia_err *err) {
    glia_status status = glia_draft_config_read(&d->config, text, where, cache_dir, err);
    if (!status) status = check_ranks(&d->config, m, err);
    if (status) return status;
    d->target_dir = m->dir;
    d->target = &m->config;
    d->target_dtype = m->dtype;
    d->cpu_flags = m->cpu_flags;
    d->threads = m->threads;
    d->parallel = glia_alone;
    if (d->config.tp > 1 && d->config.method->sharing) {
        d->parallel.tp = d->config.tp;
        d->parallel.rank = m->parallel.rank;
    }
    const glia_status fits = d->config.method->read(d, err);
    const bool whole_model = d->config.method == &glia_draft_draft_model;
    return fits || !whole_model ? fits : check_tokens(m, d->config.dir, err);
}

static void forget(glia_model *m) {
    json_decref(m->neuron.speculation);
    m->neuron.speculation = NULL;
}

/* Keep in m->neuron what is asked for: glia_settings_file() writes it. The heads of Medusa stay in the
 * model's directory. */
static glia_status keep_asked(glia_model *m, const char *text, glia_err *err) {
    json_t *asked = json_loads(text, 0, NULL);
    const json_t *model = json_object_get(asked, "model");
    if (!asked) return glia_fail_nomem(err, strlen(text), "the draft's configuration");
    json_object_set_new(asked, "method", json_string(m->draft->config.method->name));
    if (m->draft->config.method == &glia_draft_medusa && model &&
        strcmp(json_string_value(model), m->dir) == 0)
        json_object_del(asked, "model");
    forget(m);
    m->neuron.speculation = asked;
    return GLIA_OK;
}

/* Does the option say that there is no draft, whatever neuron_config.json says? */
static bool is_none(const char *option) {
    json_t *o = option ? json_loads(option, 0, NULL) : NULL;
    const char *method = json_string_value(json_object_get(o, "method"));
    const bool none = method && strcmp(method, "none") == 0;
    json_decref(o);
    return none;
}

glia_status glia_speculation_read(glia_model *m, const glia_options *o, const char *cache_dir,
                                  glia_err *err) {
    const char *option = o ? o->speculative_config : NULL;
    if (is_none(option)) {
        forget(m);
        return GLIA_OK;
    }
    char *text = option ? complete(m, option) : of_file(m, o ? o->warning : NULL, o ? o->user : NULL);
    glia_status status = GLIA_OK;
    if (!text && !option) return GLIA_OK;
    m->draft = calloc(1, sizeof *m->draft);
    status = m->draft ? read_draft(m->draft, m, text ? text : option,
                                   option ? "speculative_config" : "neuron_config.json", cache_dir, err)
                      : glia_fail_nomem(err, sizeof *m->draft, "the draft");
    if (!status) status = keep_asked(m, text ? text : option, err);
    free(text);
    return status;
}

/* ---- the draft ------------------------------------------------------------------- */

glia_status glia_speculation_load(glia_model *m, glia_err *err) {
    glia_team *team;
    const bool shared = glia_draft_shared(m->draft);
    if (!m->draft || !m->draft->config.method->load || (m->parallel.rank != 0 && !shared)) return GLIA_OK;
    m->draft->n_ranks = shared ? m->n_ranks : 1;
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
    /* More nodes than levels make room for siblings; a small tree may be a chain, or not. */
    if (m->draft->config.tree.kind != GLIA_TREE_CHAIN && l->drafts == l->depth) l->drafts++;
    if (method->needs) l->needs = method->needs(m->draft);
    if (!glia_draft_shared(m->draft)) return;
    const glia_draft_limits limits = glia_limit_draft(&m->config, &m->parallel, l);
    l->draft_area = method->sharing->area(m->draft, &limits);
    l->draft_words = method->sharing->words(m->draft, &limits);
}

void glia_speculation_plan(glia_plan *weights, glia_plan *engine, const glia_model *m,
                           const glia_engine_limits *l) {
    if (!m->draft) return;
    const glia_draft_method *method = m->draft->config.method;
    const glia_draft_limits limits = glia_limit_draft(&m->config, &m->parallel, l);
    if (method->plan_weights) method->plan_weights(m->draft, weights);
    if (method->plan) method->plan(m->draft, &limits, engine);
    if (glia_draft_shared(m->draft)) method->sharing->plan(m->draft, &limits, 0, engine);
}
