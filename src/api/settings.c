/* settings.c - what `glia inspect --config` prints: every effective setting with its
 * source, and a neuron_config.json that sets the same values. */
#include <stdint.h>
#include <string.h>

#include <jansson.h>

#include "api/model.h"
#include "base/cpu.h"

static void add(json_t *list, const char *name, json_t *value, const char *source, const char *file,
                const char *key) {
    json_t *row = json_pack("{s:s, s:o, s:s}", "name", name, "value", value, "source", source);
    json_object_set_new(row, "key", file ? json_sprintf("%s: %s", file, key) : json_string(""));
    json_array_append_new(list, row);
}

static json_t *value_of(const glia_model *m, const glia_setting *s, glia_setting_id id) {
    if (id == SET_QUANTIZATION) return json_string(glia_quantization_name((glia_quantization)s->value));
    if (id == SET_QUANTIZATION_TYPE)
        return json_string(m->quantize.scheme ? glia_quantize_type_name(&m->quantize)
                                              : "rotated_per_channel_symmetric");
    if (id == SET_DTYPE || id == SET_KV_DTYPE) return json_string(glia_dtype_name((glia_dtype)s->value));
    return glia_setting_is_switch(id) ? json_boolean(s->value) : json_integer(s->value);
}

static void add_engine(json_t *list, const glia_model *m, const glia_engine_settings *of,
                       const glia_options *o) {
    static const char *const sources[] = {"default", "file", "flag"};
    for (int id = 0; id < N_SETTINGS; id++) {
        const glia_setting *s = &of->setting[id];
        const char *source = sources[s->source], *file = s->key ? "neuron_config.json" : NULL;
        const bool model = id == SET_DTYPE && s->source == GLIA_FROM_DEFAULT && m->config.dtype;
        add(list, glia_setting_name((glia_setting_id)id), value_of(m, s, (glia_setting_id)id),
            model ? "file" : source, model ? "config.json" : file, model ? "torch_dtype" : s->key);
    }
    const char *keep = glia_modules_to_keep(m, o);
    const bool flag = o && o->modules_to_not_convert;
    add(list, "modules_to_not_convert", keep ? json_string(keep) : json_null(),
        sources[flag   ? GLIA_FROM_FLAG
                : keep ? GLIA_FROM_FILE
                       : GLIA_FROM_DEFAULT],
        keep && !flag ? "neuron_config.json" : NULL, "modules_to_not_convert");
    add(list, "cpu_features", json_string(glia_cpu_rung(m->cpu_flags)),
        o && o->cpu_features ? "flag" : "default", NULL, NULL);
}

static void add_sampling(json_t *list, const glia_model *m) {
    glia_sampling s;
    glia_sampling_defaults(m, &s);
    const struct {
        const char *name;
        double value;
        unsigned bit; /* of glia_generation_config.given */
        glia_neuron_id id;
    } rows[] = {
        {"do_sample", s.do_sample, GLIA_GIVEN_DO_SAMPLE, NEURON_DO_SAMPLE},
        {"temperature", (double)s.temperature, GLIA_GIVEN_TEMPERATURE, NEURON_TEMPERATURE},
        {"top_k", s.top_k, GLIA_GIVEN_TOP_K, NEURON_TOP_K},
        {"top_p", (double)s.top_p, GLIA_GIVEN_TOP_P, NEURON_TOP_P},
        {"min_p", (double)s.min_p, GLIA_GIVEN_MIN_P, NEURON_NONE},
        {"typical_p", (double)s.typical_p, GLIA_GIVEN_TYPICAL_P, NEURON_NONE},
        {"repetition_penalty", (double)s.repetition_penalty, GLIA_GIVEN_REPETITION_PENALTY, NEURON_NONE},
        {"max_new_tokens", s.max_tokens, GLIA_GIVEN_MAX_NEW_TOKENS, NEURON_NONE},
        {"min_new_tokens", s.min_tokens, GLIA_GIVEN_MIN_NEW_TOKENS, NEURON_NONE},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *key = rows[i].id == NEURON_NONE ? NULL : m->neuron.key[rows[i].id];
        const char *file = key                                 ? "neuron_config.json"
                           : m->generation.given & rows[i].bit ? "generation_config.json"
                                                               : NULL;
        json_t *value = i == 0                                        ? json_boolean(s.do_sample)
                        : rows[i].value == (double)(int)rows[i].value ? json_integer((int)rows[i].value)
                                                                      : json_real(rows[i].value);
        add(list, rows[i].name, value, file ? "file" : "default", file, key ? key : rows[i].name);
    }
}

json_t *glia_settings_file(const glia_model *m, const glia_engine_settings *s, const glia_options *o) {
    glia_neuron_config c = m->neuron;                          /* keeps the sampling keys of the file */
    c.modules = (char *)(uintptr_t)glia_modules_to_keep(m, o); /* only read */
    for (int id = 0; id < N_SETTINGS; id++) {
        const glia_neuron_id at = glia_setting_neuron_id((glia_setting_id)id);
        if (at == NEURON_NONE) continue;
        if (id >= SET_MAX_LORAS && id <= SET_LFU_DECAY && !s->limits.adapters.places) continue;
        c.key[at] = glia_setting_name((glia_setting_id)id);
        c.number[at] = s->setting[id].value;
    }
    c.key[NEURON_BLOCKED] = c.key[NEURON_BLOCK];
    c.number[NEURON_BLOCKED] = 1;
    return glia_neuron_config_write(&c);
}

GLIA_API glia_status glia_inspect_config(char **json, const char *model, const char *cache_dir,
                                         const glia_options *options, glia_err *err) {
    glia_model m = {0};
    glia_engine_settings s;
    *json = NULL;
    glia_status status = glia_model_open(&m, model, cache_dir, options, err);
    if (!status) status = glia_engine_resolve(&s, &m, options ? options->engine : NULL, err);
    if (!status) {
        json_t *list = json_array();
        add_engine(list, &m, &s, options);
        add_sampling(list, &m);
        json_t *root = json_pack("{s:s, s:o, s:o}", "model", m.dir, "settings", list, "neuron_config",
                                 glia_settings_file(&m, &s, options));
        *json = root ? json_dumps(root, JSON_COMPACT | JSON_REAL_PRECISION(6)) : NULL;
        json_decref(root);
        if (!*json) status = glia_fail_nomem(err, 0, "the report");
    }
    glia_model_close(&m);
    return status;
}
