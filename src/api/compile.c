/* compile.c - `glia compile`: a model directory to an artifact, rank by rank.
 *
 * The weights of a rank are loaded from the model and written as they are in
 * memory. Ranks are compiled one after the other, so a large model needs the memory
 * of one rank. config.json is written last: without it the directory is no model.
 * Then every rank's file is loaded, which compares every hash. */
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "api/copy.h"
#include "api/model.h"
#include "base/hash.h"
#include "base/newdir.h"
#include "base/written.h"
#include "draft/head_file.h"
#include "draft/heads.h"
#include "format/checkpoint.h"
#include "format/hub.h"
#include "format/neuron_speculation.h"
#include "model/artifact.h"
#include "text/tokenizer_tables.h"

typedef struct {
    glia_model m;
    glia_engine_settings engine;
    const glia_options *options;
    glia_newdir out;
    glia_team *team;
    uint64_t source_hash;
} compiling;

/* ---- neuron_config.json -------------------------------------------------------- */

/* Is the setting left to the user of the artifact, because nobody chose a value? */
static bool is_left_open(const glia_engine_settings *e, glia_neuron_id id) {
    if (id == NEURON_BLOCKED) id = NEURON_BLOCK; /* NEURON_BLOCKED says that NEURON_BLOCK counts */
    for (int s = 0; s < N_SETTINGS; s++)
        if (glia_setting_neuron_id((glia_setting_id)s) == id)
            return e->setting[s].source == GLIA_FROM_DEFAULT && s != SET_DTYPE && s != SET_TP &&
                   s != SET_VOCAB_PARALLEL && s != SET_QUANTIZATION && s != SET_QUANTIZATION_TYPE;
    return false;
}

/* Leave out the keys of settings that nobody chose, and the keys whose values come from these. So the
 * artifact has the defaults of its model. */
static void leave_out(json_t *file, const glia_engine_settings *e) {
    for (size_t i = 0; i < glia_n_neuron_keys; i++) {
        const glia_neuron_key *row = &glia_neuron_keys[i];
        if (row->id == NEURON_NONE || !is_left_open(e, row->id)) continue;
        json_object_del(file, row->key);
        for (size_t k = 0; k < glia_n_neuron_keys; k++)
            if (strcmp(glia_neuron_keys[k].preset, row->key) == 0)
                json_object_del(file, glia_neuron_keys[k].key);
    }
}

/* The artifact names its draft. What neuron_config.json cannot say is for the commands that run it. */
static glia_status check_speculation(const compiling *c, glia_err *err) {
    const char *lacks = c->m.draft ? glia_neuron_speculation_lacks(c->m.neuron.speculation) : NULL;
    if (!lacks) return GLIA_OK;
    return glia_fail(err, GLIA_ERR_ARGUMENT,
                     "speculative_config: neuron_config.json of an artifact cannot say \"%s\"; leave it out "
                     "and give it when the artifact runs",
                     lacks);
}

/* Medusa's heads that are in the model's directory. */
static glia_status copy_heads(compiling *c, glia_err *err) {
    glia_status status = GLIA_OK;
    if (!c->m.draft || c->m.draft->config.method != &glia_draft_medusa) return GLIA_OK;
    for (const char *const *name = glia_medusa_files; *name && !status; name++)
        status = glia_copy_file(&c->out, c->m.dir, *name, err);
    return status;
}

/* Copy the whole embedding and head, if the draft uses them and ranks have shards of them. */
static glia_status write_target(compiling *c, glia_err *err) {
    static const char *const names[] = {"model.embed_tokens.weight", "lm_head.weight"};
    const glia_tensor_view *found[2];
    glia_tensor_spec spec[2];
    size_t n = 0;
    glia_checkpoint source;
    char *path = NULL;
    glia_safetensors_writer *out = NULL;
    if (!glia_heads_share(c->m.draft) || c->m.parallel.tp == 1) return GLIA_OK;
    glia_status status = glia_checkpoint_open(&source, c->m.dir, err);
    if (status) return status;
    for (size_t i = 0; i < 2; i++) {
        const glia_tensor_view *t = glia_checkpoint_find(&source, names[i]);
        if (!t) continue;
        spec[n] = (glia_tensor_spec){.name = names[i], .dtype = t->dtype, .n_dims = t->n_dims};
        memcpy(spec[n].shape, t->shape, sizeof spec[n].shape);
        found[n++] = t;
    }
    json_t *metadata = json_pack("{s:s}", "format", "pt");
    status = glia_newdir_claim(&c->out, GLIA_TARGET_FILE, &path, err);
    if (!status) status = glia_safetensors_create_with(&out, path, spec, n, metadata, 64, NULL, err);
    for (size_t i = 0; i < n && !status; i++)
        status = glia_safetensors_append(out, found[i]->data, found[i]->bytes, err);
    if (!status)
        status = glia_safetensors_finish(out, err);
    else
        glia_safetensors_abandon(out);
    if (!status) status = glia_checkpoint_check(&source, err);
    json_decref(metadata);
    free(path);
    glia_checkpoint_close(&source);
    return status;
}

static glia_status write_neuron_config(compiling *c, glia_err *err) {
    json_t *file = glia_settings_file(&c->m, &c->engine, c->options);
    if (file) leave_out(file, &c->engine);
    char *text = file ? json_dumps(file, JSON_INDENT(2)) : NULL;
    json_decref(file);
    if (!text) return glia_fail_nomem(err, 0, "neuron_config.json");
    const glia_status status = glia_newdir_write(&c->out, "neuron_config.json", text, strlen(text), err);
    free(text);
    return status;
}

/* Write the tokenizer's tables, so that a load maps them. */
static glia_status write_tokenizer(compiling *c, glia_err *err) {
    char *path;
    if (!c->m.tokenizer) return GLIA_OK;
    glia_status status = glia_newdir_claim(&c->out, "weights/tokenizer.safetensors", &path, err);
    if (!status) status = glia_tokenizer_tables_write(c->m.dir, path, err);
    free(path);
    return status;
}

/* ---- weights --------------------------------------------------------------------- */

static glia_weights_options weights_options(const compiling *c, const glia_parallel *p) {
    const glia_options *o = c->options;
    return (glia_weights_options){
        .dtype = c->m.dtype,
        .parallel = p,
        .quantize = &c->m.quantize,
        .cpu_flags = c->m.cpu_flags,
        .team = c->team,
        .progress = o ? o->progress : NULL,
        .user = o ? o->user : NULL,
    };
}

static glia_status write_rank(compiling *c, const glia_parallel *p, glia_err *err) {
    glia_weights *w;
    char name[GLIA_ARTIFACT_NAME], *path;
    glia_artifact_name(name, p->rank);
    glia_weights_options options = weights_options(c, p);
    options.dummy = c->options && c->options->dummy;
    options.seed = c->options ? c->options->seed : 0;
    glia_status status = glia_weights_load(&w, c->m.dir, &c->m.config, &options, err);
    if (status) return status;
    status = glia_newdir_claim(&c->out, name, &path, err);
    free(path);
    if (!status) status = glia_artifact_write(w, c->m.dir, c->source_hash, c->out.temp, c->team, err);
    glia_weights_free(w);
    return status;
}

static glia_status verify_rank(compiling *c, const glia_parallel *p, glia_err *err) {
    glia_weights *w;
    const glia_weights_options options = weights_options(c, p);
    glia_status status = glia_weights_load(&w, c->out.temp, &c->m.config, &options, err);
    if (status) return status;
    glia_weights_free(w);
    return GLIA_OK;
}

typedef glia_status rank_fn(compiling *c, const glia_parallel *p, glia_err *err);
static glia_status each_rank(compiling *c, rank_fn *run, glia_err *err) {
    glia_parallel p = c->m.parallel;
    glia_status status = GLIA_OK;
    for (p.rank = 0; !status && p.rank < p.tp; p.rank++) status = run(c, &p, err);
    return status;
}

/* ---- all --------------------------------------------------------------------------- */

static glia_status fill(compiling *c, glia_err *err) {
    glia_status status = GLIA_OK;
    if (c->options && c->options->dummy)
        c->source_hash = glia_hash("dummy", 5, c->options->seed);
    else
        status = glia_source_hash(&c->source_hash, c->m.dir, c->team, err);
    if (!status) status = glia_newdir_add(&c->out, "weights", err);
    if (!status) status = each_rank(c, write_rank, err);
    if (!status) status = glia_copy_files(&c->out, c->m.dir, "", err);
    if (!status) status = glia_copy_files(&c->out, c->m.dir, "additional_chat_templates", err);
    if (!status) status = copy_heads(c, err);
    if (!status) status = write_target(c, err);
    if (!status) status = write_tokenizer(c, err);
    if (!status) status = write_neuron_config(c, err);
    if (!status) status = glia_copy_file(&c->out, c->m.dir, "config.json", err);
    return status ? status : each_rank(c, verify_rank, err);
}

GLIA_API glia_status glia_compile(const char *model, const char *cache_dir, const char *dir,
                                  const glia_options *options, glia_err *err) {
    compiling c = {.options = options};
    glia_status status = glia_model_open(&c.m, model, cache_dir, options, err);
    if (!status) status = glia_engine_resolve(&c.engine, &c.m, options ? options->engine : NULL, err);
    if (!status) status = check_speculation(&c, err);
    if (!status && !(options && options->dummy) && glia_artifact_in(c.m.dir))
        status = glia_fail(err, GLIA_ERR_ARGUMENT,
                           "%s: is compiled already; give the directory of the original model", c.m.dir);
    if (!status) status = glia_hub_check_output(c.m.dir, dir, err);
    if (!status) status = glia_newdir_begin(&c.out, dir, err);
    if (!status) status = glia_team_create(&c.team, c.m.threads, err);
    if (!status) status = fill(&c, err);
    if (!status)
        status = glia_newdir_commit(&c.out, err);
    else
        glia_newdir_abandon(&c.out);
    if (c.team) glia_team_free(c.team);
    glia_model_close(&c.m);
    return status;
}
