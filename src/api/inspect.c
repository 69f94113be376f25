/* inspect.c - what `glia inspect` prints: the model as it would run here.
 *
 * The report cannot differ from a run: the memory plan comes from the code that
 * allocates, the tensors from the spec and the checkpoint's headers, and the rung
 * of a kernel from the ladder. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "api/model.h"
#include "api/speculation.h"
#include "base/cpu.h"
#include "format/checkpoint.h"
#include "model/artifact.h"
#include "model/fused.h"
#include "model/replicas.h"

static json_t *ids_json(const glia_token_ids *ids) {
    json_t *array = json_array();
    for (int i = 0; i < ids->n; i++) json_array_append_new(array, json_integer(ids->id[i]));
    return array;
}

/* ---- config --------------------------------------------------------------- */

static json_t *rope_json(const glia_rope_config *r) {
    json_t *o = json_pack("{s:s, s:f}", "type", glia_rope_type_name(r->type), "theta", r->theta);
    const struct {
        const char *name;
        double value;
    } numbers[] = {
        {"factor", r->type == GLIA_ROPE_DEFAULT ? 0 : r->factor},
        {"beta_fast", r->beta_fast},
        {"beta_slow", r->beta_slow},
        {"low_freq_factor", r->low_freq_factor},
        {"high_freq_factor", r->high_freq_factor},
        {"original_max_position_embeddings", r->original_max_position_embeddings},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (numbers[i].value != 0) json_object_set_new(o, numbers[i].name, json_real(numbers[i].value));
    if (r->type == GLIA_ROPE_YARN || r->type == GLIA_ROPE_LONGROPE)
        json_object_set_new(o, "attention_factor", json_real(r->attention_factor));
    if (r->type == GLIA_ROPE_PROPORTIONAL) json_object_set_new(o, "rotating_pairs", json_integer(r->pairs));
    if (r->type == GLIA_ROPE_YARN) json_object_set_new(o, "truncate", json_boolean(r->truncate));
    json_t *shorter = json_array(), *longer = json_array();
    for (int i = 0; i < r->n_factors; i++) {
        json_array_append_new(shorter, json_real(r->short_factor[i]));
        json_array_append_new(longer, json_real(r->long_factor[i]));
    }
    if (r->n_factors) json_object_set(o, "short_factor", shorter);
    if (r->n_factors) json_object_set(o, "long_factor", longer);
    json_decref(shorter);
    json_decref(longer);
    return o;
}

static json_t *config_json(const glia_model *m) {
    const glia_model_config *c = &m->config;
    json_t *rotates = json_array(), *window = json_array();
    for (int i = 0; i < c->layers; i++) {
        json_array_append_new(rotates, json_boolean(c->rope[i]));
        json_array_append_new(window, c->window[i] ? json_integer(c->window[i]) : json_null());
    }
    return json_pack("{s:I, s:I, s:i, s:i, s:i, s:I, s:I, s:i, s:f, s:b, s:b, s:b, s:s, s:o, s:o, s:o, s:o}",
                     "hidden_size", (json_int_t)c->hidden, "intermediate_size", (json_int_t)c->ffn,
                     "num_hidden_layers", c->layers, "num_attention_heads", c->heads, "num_key_value_heads",
                     c->kv_heads, "head_dim", (json_int_t)c->head_dim, "vocab_size", (json_int_t)c->vocab,
                     "max_position_embeddings", c->max_position_embeddings, "rms_norm_eps", c->rms_norm_eps,
                     "tie_word_embeddings", c->tied_head, "attention_bias", c->attention_bias, "mlp_bias",
                     c->mlp_bias, "dtype", glia_dtype_name(c->dtype), "rope", rope_json(&c->rope_config),
                     "rotates", rotates, "sliding_window", window, "eos_token_id", ids_json(&m->eos));
}

/* ---- ranks ---------------------------------------------------------------- */

/* Bytes of one rank, of all ranks, of one rank alone, and of the replicas that make the difference. */
static json_t *ranks_json(const glia_model *m) {
    const glia_parallel *p = &m->parallel;
    const glia_local local = glia_local_of(&m->config, p);
    glia_plan alone = {0}, rank = {0};
    uint64_t bytes[N_REPLICAS];
    json_t *replicas = json_array();
    glia_weights_plan(&alone, &m->config, &glia_alone, m->dtype, &m->quantize);
    glia_weights_plan(&rank, &m->config, p, m->dtype, &m->quantize);
    glia_weights_replicas(bytes, &m->config, p, m->dtype, &m->quantize);
    for (int i = 0; i < N_REPLICAS; i++)
        if (bytes[i])
            json_array_append_new(replicas,
                                  json_pack("{s:s, s:I}", "name", glia_replica_name((glia_replica)i), "bytes",
                                            (json_int_t)bytes[i]));
    return json_pack("{s:i, s:s, s:i, s:i, s:b, s:I, s:I, s:I, s:o}", "tensor_parallel_size", p->tp,
                     "head_rule", glia_head_rule_name(local.cut.rule), "heads_per_rank",
                     local.heads * local.cp, "key_value_heads_per_rank", local.kv_heads, "vocab_parallel",
                     p->vocab_parallel, "weight_bytes_of_one_rank", (json_int_t)rank.bytes,
                     "weight_bytes_of_all_ranks", (json_int_t)rank.bytes * p->tp,
                     "weight_bytes_without_ranks", (json_int_t)alone.bytes, "replicated", replicas);
}

/* ---- tensors -------------------------------------------------------------- */

/* The format of a weight in memory. */
static const char *format_of(const glia_model *m, const glia_weight *w) {
    if (w->spec->cols == D_1) return "float32";
    static const char *const names[GLIA_WEIGHT_FORMATS] = {
        "float32 panels", "bfloat16 panels", "float16 panels", "int8 panels",
        "4-bit panels",   "8-bit panels",    "float8 panels"};
    const glia_product product = glia_product_of(w->spec->id);
    if (glia_quantizes(&m->quantize, w->layer, product))
        return names[glia_quantize_form(&m->quantize, w->layer, product).format];
    return names[glia_weight_format_of(m->dtype)];
}

/* Which values share a scale: "tensor", "channel" or "group of 128"; null without scales. */
static json_t *scale_json(const glia_model *m, const glia_weight *w) {
    const glia_product product = glia_product_of(w->spec->id);
    if (w->spec->cols == D_1 || !glia_quantizes(&m->quantize, w->layer, product)) return json_null();
    const glia_matrix_form form = glia_quantize_form(&m->quantize, w->layer, product);
    if (form.group)
        return json_sprintf("group of %d%s", (int)form.group, form.zeros ? " with zero points" : "");
    return json_string(m->quantize.per_tensor ? "tensor" : "channel");
}

/* Elements of a block along K that is rotated; null if the weight is not rotated. */
static json_t *rotated_json(const glia_weights *rank, const glia_weight *w) {
    const size_t block = glia_held_rotation(w->spec->id, w->layer, rank);
    return block > 1 ? json_integer((json_int_t)block) : json_null();
}

static json_t *shape_json(size_t rows, size_t cols, bool vector) {
    json_t *shape = json_array();
    json_array_append_new(shape, json_integer((json_int_t)rows));
    if (!vector) json_array_append_new(shape, json_integer((json_int_t)cols));
    return shape;
}

/* `rank` describes what one rank holds. */
static json_t *tensor_json(const glia_model *m, const glia_weights *rank, const glia_weight *w,
                           const char *name, const glia_tensor_view *stored) {
    const bool vector = w->spec->cols == D_1;
    const char *format = format_of(m, w);
    size_t rows, cols;
    glia_held_of_rank(&rows, &cols, w->spec->id, rank);
    return json_pack("{s:s, s:o, s:s, s:o, s:o, s:s, s:o, s:o}", "name", name, "shape",
                     shape_json((size_t)glia_dim_of(&m->config, w->spec->rows),
                                (size_t)glia_dim_of(&m->config, w->spec->cols), vector),
                     "cut", glia_cut_name(glia_spec_cut(w->spec, &m->parallel)), "of_rank",
                     shape_json(rows, cols, vector), "stored",
                     stored ? json_string(glia_tensor_dtype_name(stored->dtype)) : json_null(), "runs",
                     format, "scale", scale_json(m, w), "rotated", rotated_json(rank, w));
}

static json_t *tensors_json(const glia_model *m, const glia_checkpoint *checkpoint) {
    json_t *array = json_array();
    glia_weight w;
    glia_weights rank;
    const glia_model_spec *spec = glia_spec_find(m->config.architecture);
    glia_weights_describe(&rank, spec, &m->config, &m->parallel, m->dtype, &m->quantize);
    for (size_t i = 0; glia_spec_weight(&w, spec, &m->config, i); i++) {
        const glia_tensor_view *t =
            checkpoint->n ? glia_checkpoint_find(checkpoint, glia_checkpoint_stored_name(checkpoint, w.name))
                          : NULL;
        json_array_append_new(array, tensor_json(m, &rank, &w, t ? t->name : w.name, t));
    }
    w = (glia_weight){.spec = &glia_output_head};
    if (m->config.tied_head && !rank.shares_head)
        json_array_append_new(array, tensor_json(m, &rank, &w, "lm_head (tied, a copy)", NULL));
    return array;
}

/* ---- memory --------------------------------------------------------------- */

static json_t *regions_json(const glia_plan *plan) {
    json_t *array = json_array();
    for (int i = 0; i < plan->n; i++)
        if (plan->region[i].bytes)
            json_array_append_new(array, json_pack("{s:s, s:I}", "name", plan->region[i].name, "bytes",
                                                   (json_int_t)plan->region[i].bytes));
    return array;
}

static json_t *memory_json(const glia_model *m, const glia_engine_limits *l) {
    glia_plan weights = {0}, engine = {0}, apart = {0};
    glia_plan draft = {0};
    glia_speculation_plan(&draft, &draft, m, l);
    glia_weights_plan(&weights, &m->config, &m->parallel, m->dtype, &m->quantize);
    glia_engine_plan(&m->config, &m->parallel, l, m->threads, GLIA_COMM_THREADS, &engine);
    glia_engine_plan(&m->config, &m->parallel, l, m->threads, GLIA_COMM_MESSAGES, &apart);
    return json_pack("{s:i, s:o, s:I, s:o, s:I, s:I, s:o, s:I, s:I}", "rank", 0, "weights",
                     regions_json(&weights), "weight_bytes", (json_int_t)weights.bytes, "plan",
                     regions_json(&engine), "plan_bytes", (json_int_t)engine.bytes,
                     "plan_bytes_between_machines", (json_int_t)apart.bytes, "draft", regions_json(&draft),
                     "draft_bytes", (json_int_t)draft.bytes, "total_bytes",
                     (json_int_t)(weights.bytes + engine.bytes + draft.bytes));
}

/* ---- kernels -------------------------------------------------------------- */

static void add_operation(void *object, const char *name, const char *rung) {
    json_object_set_new(object, name, json_string(rung));
}

static json_t *kernels_json(const glia_model *m, glia_dtype kv_dtype) {
    json_t *o = json_object();
    glia_weights_operations(add_operation, o, &m->config, m->dtype, &m->quantize, kv_dtype, m->cpu_flags);
    return o;
}

static json_t *run_json(const glia_model *m, const glia_engine_limits *l) {
    return json_pack(
        "{s:s, s:s, s:s, s:i, s:s, s:i, s:i, s:i, s:i, s:b}", "dtype", glia_dtype_name(m->dtype),
        "quantization", m->quantize.method ? m->quantize.method : glia_quantization_name(m->quantize.scheme),
        "kv_cache_dtype", glia_dtype_name(l->kv_dtype), "threads", m->threads, "cpu_features",
        glia_cpu_rung(m->cpu_flags), "batch_size", l->batch, "sequence_length", l->sequence_length,
        "prefill_chunk_size", l->chunk, "block_size", l->block_size, "prefix_cache", l->prefix_cache);
}

/* ---- an artifact ---------------------------------------------------------- */

/* Load every rank's file, which compares all bytes with their hashes. */
static glia_status verify(json_t **report, const glia_model *m, glia_err *err) {
    glia_team *team;
    glia_parallel p = m->parallel;
    json_t *files = json_array();
    glia_status status = glia_team_create(&team, m->threads, err);
    for (p.rank = 0; !status && p.rank < p.tp; p.rank++) {
        const glia_weights_options options = {.dtype = m->dtype,
                                              .parallel = &p,
                                              .quantize = &m->quantize,
                                              .cpu_flags = m->cpu_flags,
                                              .team = team};
        glia_weights *w;
        status = glia_weights_load(&w, m->dir, &m->config, &options, err);
        if (status) break;
        json_array_append_new(files,
                              json_pack("{s:i, s:O, s:O, s:I, s:b}", "rank", p.rank, "layout",
                                        json_object_get(w->artifact.metadata, "glia_layout"), "source_hash",
                                        json_object_get(w->artifact.metadata, "source_hash"), "bytes",
                                        (json_int_t)w->artifact.map.len, "verified", !status));
        glia_weights_free(w);
    }
    if (team) glia_team_free(team);
    *report = files;
    return status;
}

static json_t *inspect(const glia_model *m, const glia_engine_limits *l, const glia_checkpoint *checkpoint) {
    const glia_model_spec *spec = glia_spec_find(m->config.architecture);
    return json_pack("{s:s, s:s, s:I, s:o, s:o, s:o, s:o, s:o, s:[o], s:b, s:b}", "model", m->dir,
                     "architecture", m->config.architecture, "parameters",
                     (json_int_t)glia_spec_parameters(spec, &m->config), "config", config_json(m), "run",
                     run_json(m, l), "ranks", ranks_json(m), "tensors", tensors_json(m, checkpoint),
                     "kernels", kernels_json(m, l->kv_dtype), "memory", memory_json(m, l), "has_tokenizer",
                     m->tokenizer != NULL, "has_chat_template", glia_chat_has_template(m->chat));
}

GLIA_API glia_status glia_inspect(char **json, const char *model, const char *cache_dir,
                                  const glia_options *options, glia_err *err) {
    glia_model m = {0};
    glia_engine_settings s;
    glia_checkpoint checkpoint = {0};
    json_t *files = NULL;
    *json = NULL;
    glia_status status = glia_model_open(&m, model, cache_dir, options, err);
    if (!status) status = glia_engine_resolve(&s, &m, options ? options->engine : NULL, err);
    if (!status && !(options && options->dummy))
        status =
            glia_artifact_in(m.dir) ? verify(&files, &m, err) : glia_checkpoint_open(&checkpoint, m.dir, err);
    if (!status) {
        json_t *root = inspect(&m, &s.limits, &checkpoint);
        if (files) json_object_set(root, "artifact", files);
        *json = root ? json_dumps(root, JSON_COMPACT) : NULL;
        json_decref(root);
        if (!*json) status = glia_fail_nomem(err, 0, "the report");
    }
    json_decref(files);
    glia_checkpoint_close(&checkpoint);
    glia_model_close(&m);
    return status;
}
