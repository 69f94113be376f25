/* special.c - see special.h. */
#define _GNU_SOURCE /* strdup */
#include "text/special.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "format/json.h"

enum { FILE_MAX = 64 << 20 };

static const char extra_key[] = "extra_special_tokens", old_extra_key[] = "additional_special_tokens",
                  decoder_key[] = "added_tokens_decoder";
static const char *const names[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                    "pad_token", "cls_token", "mask_token"};
enum { N_NAMES = sizeof names / sizeof *names };

/* Tokens that a class names if the file does not mention them. */
static const char qwen2[] = "Qwen2Tokenizer", gpt2[] = "GPT2Tokenizer";
static const struct {
    const char *class_name, *key;
} class_tokens[] = {
    {qwen2, "eos_token"}, {qwen2, "unk_token"}, {qwen2, "pad_token"},
    {gpt2, "bos_token"},  {gpt2, "eos_token"},  {gpt2, "unk_token"},
};

void glia_special_free(glia_special *s) {
    json_decref(s->config);
    json_decref(s->named);
    json_decref(s->extra);
    for (size_t i = 0; i < s->n; i++) free(s->token[i].content);
    free(s->token);
    memset(s, 0, sizeof *s);
}

/* ---- files ------------------------------------------------------------------ */

typedef struct {
    glia_special *s;
    glia_json_reader r; /* of tokenizer_config.json, after the overrides */
    const char *dir;
} reader;

/* *out is {} if the file does not exist. Returns the path, which names the file in
 * messages; the caller frees it. */
static char *load(reader *r, json_t **out, const char *file) {
    char *path = glia_path_join(r->dir, file);
    bool found = false;
    *out = NULL;
    if (!path)
        r->r.status = glia_fail_nomem(r->r.err, strlen(r->dir), "a path");
    else
        r->r.status = glia_file_find(&found, path, r->r.err);
    if (found) r->r.status = glia_json_load(out, path, FILE_MAX, JSON_ALLOW_NUL, r->r.err);
    if (!r->r.status && !found && !(*out = json_object())) r->r.status = glia_fail_nomem(r->r.err, 0, file);
    return path;
}

static bool is_empty(const json_t *value) { return !value || glia_json_is_neutral(value, 0); }

/* additional_special_tokens is the older name of extra_special_tokens. */
static void rename_extra(json_t *config, bool if_empty) {
    json_t *old = json_object_get(config, old_extra_key), *now = json_object_get(config, extra_key);
    if (!old || (if_empty ? !is_empty(now) : now != NULL)) return;
    json_object_set(config, extra_key, old);
    json_object_del(config, old_extra_key);
}

static void override(json_t *config, json_t *map) {
    const char *key;
    json_t *value;
    json_object_foreach(map, key, value) {
        json_t *list = json_object_get(config, extra_key);
        if (strcmp(key, extra_key) == 0 && json_is_array(value) && json_is_array(list))
            json_array_extend(list, value);
        else if (strcmp(key, extra_key) == 0 && json_is_array(value) && json_is_object(list))
            json_object_set(config, old_extra_key, value); /* the names stay */
        else
            json_object_set(config, key, value);
    }
}

/* The class, by the rules of transformers' AutoTokenizer: qwen2 has one class, whatever
 * the file says; qwen3 has one if the file says nothing. `model` is config.json. */
static const char *class_of(const json_t *config, const json_t *model) {
    const char *type = json_string_value(json_object_get(model, "model_type"));
    const char *name = json_string_value(json_object_get(config, "tokenizer_class"));
    if (!name) name = json_string_value(json_object_get(model, "tokenizer_class"));
    if (type && strcmp(type, "qwen2") == 0) return qwen2;
    if (!name) return type && strcmp(type, "qwen3") == 0 ? qwen2 : NULL;
    const size_t n = strlen(name), fast = n > 4 && strcmp(name + n - 4, "Fast") == 0 ? n - 4 : n;
    if (fast == strlen(qwen2) && strncmp(name, qwen2, fast) == 0) return qwen2;
    return fast == strlen(gpt2) && strncmp(name, gpt2, fast) == 0 ? gpt2 : NULL;
}

static void find_class(reader *r) {
    json_t *model = NULL;
    char *path = glia_path_join(r->dir, "config.json");
    if (path) glia_json_load(&model, path, FILE_MAX, JSON_ALLOW_NUL, NULL); /* others report what is wrong */
    r->s->class_name = class_of(r->s->config, model);
    r->s->plain = r->s->class_name == qwen2;
    for (size_t i = 0; r->s->class_name && i < sizeof class_tokens / sizeof *class_tokens; i++)
        if (r->s->class_name == class_tokens[i].class_name &&
            !json_object_get(r->s->config, class_tokens[i].key))
            json_object_set_new(r->s->config, class_tokens[i].key, json_string("<|endoftext|>"));
    json_decref(model);
    free(path);
}

/* ---- tokens ----------------------------------------------------------------- */

/* The text of a token, which is a string or an object with "content"; else NULL. */
static const char *text_of(const json_t *token) {
    const json_t *text = json_is_object(token) ? json_object_get(token, "content") : token;
    const char *s = json_string_value(text);
    return s && strlen(s) == json_string_length(text) ? s : NULL;
}

static bool flag(const json_t *token, const char *key, bool fallback) {
    const json_t *value = json_object_get(token, key);
    return json_is_boolean(value) ? json_is_true(value) : fallback;
}

/* Append a token. `special` is its flag if `token` has no such flag. */
static void keep(reader *r, const json_t *token, const char *text, int64_t id, bool special) {
    glia_special *s = r->s;
    if (r->r.status || !*text) return;
    char *copy = strdup(text);
    glia_added_token *grown = copy ? realloc(s->token, (s->n + 1) * sizeof *grown) : NULL;
    if (!grown) {
        free(copy);
        r->r.status = glia_fail_nomem(r->r.err, (s->n + 1) * sizeof *grown, "added tokens");
        return;
    }
    special = flag(token, "special", special);
    s->token = grown;
    s->token[s->n++] = (glia_added_token){.content = copy,
                                          .len = strlen(copy),
                                          .id = (int32_t)id,
                                          .special = special,
                                          .single_word = flag(token, "single_word", false),
                                          .lstrip = flag(token, "lstrip", false),
                                          .rstrip = flag(token, "rstrip", false),
                                          .normalized = flag(token, "normalized", !special)};
}

static const char *need_text(reader *r, const json_t *token, const char *key) {
    const char *text = text_of(token);
    if (!text)
        glia_json_fail(&r->r, GLIA_ERR_FORMAT,
                       "special token \"%.60s\": expected a string or an object with \"content\"", key);
    return text;
}

static void name_token(reader *r, const char *key, const json_t *token) {
    const char *text = json_is_null(token) ? NULL : need_text(r, token, key);
    if (text && !r->r.status) json_object_set_new(r->s->named, key, json_string(text));
}

static bool is_name(const char *key) {
    for (size_t i = 0; i < N_NAMES; i++)
        if (strcmp(names[i], key) == 0) return true;
    return false;
}

/* True for a model's own name, such as "image_token". */
static bool is_own_name(const char *key, const json_t *token) {
    const size_t n = strlen(key);
    return n > 6 && strcmp(key + n - 6, "_token") == 0 && !is_name(key) && text_of(token);
}

/* The list of tokens without a name. If extra_special_tokens has names, the older key
 * has the list. */
static const json_t *extra_list(const json_t *config) {
    const json_t *extra = json_object_get(config, extra_key);
    return json_is_object(extra) ? json_object_get(config, old_extra_key) : extra;
}

static void read_names(reader *r) {
    const char *key;
    json_t *token, *extra = json_object_get(r->s->config, extra_key);
    const json_t *list = extra_list(r->s->config);
    for (size_t i = 0; i < N_NAMES; i++)
        if ((token = json_object_get(r->s->config, names[i]))) name_token(r, names[i], token);
    json_object_foreach(r->s->config, key, token) {
        if (is_own_name(key, token)) name_token(r, key, token);
    }
    if (json_is_object(extra)) {
        json_object_foreach(extra, key, token) name_token(r, key, token);
    }
    if (list && !json_is_null(list) && !json_is_array(list))
        glia_json_fail(&r->r, GLIA_ERR_FORMAT,
                       "special token \"%s\": expected an array or an object, found %s", extra_key,
                       glia_json_type_name(list));
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *text = need_text(r, json_array_get(list, i), extra_key);
        if (text) json_array_append_new(r->s->extra, json_string(text));
    }
}

static bool is_special_text(const glia_special *s, const char *text) {
    const char *key;
    json_t *value;
    size_t i;
    json_object_foreach(s->named, key, value) {
        if (strcmp(json_string_value(value), text) == 0) return true;
    }
    json_array_foreach(s->extra, i, value) {
        if (strcmp(json_string_value(value), text) == 0) return true;
    }
    return false;
}

static int by_id(const void *a, const void *b) {
    const glia_added_token *x = a, *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

static void read_decoder(reader *r) {
    const json_t *decoder = glia_json_object(&r->r, decoder_key);
    const char *key;
    json_t *token;
    json_object_foreach((json_t *)(uintptr_t)decoder, key, token) {
        char *end;
        const long long id = strtoll(key, &end, 10);
        const char *text = json_is_object(token) ? text_of(token) : NULL;
        if (!text || *end || end == key || id < 0 || id > INT32_MAX)
            glia_json_fail(&r->r, GLIA_ERR_FORMAT, "%s.%.40s: expected an id and an object with \"content\"",
                           decoder_key, key);
        else
            keep(r, token, text, id, false);
    }
}

/* added_tokens.json has ids by text. */
static void read_old_added(reader *r) {
    json_t *file, *value;
    const char *text;
    char *path = load(r, &file, "added_tokens.json");
    json_object_foreach(file, text, value) {
        const json_int_t id = json_integer_value(value);
        if (!r->r.status && (!json_is_integer(value) || id < 0 || id > INT32_MAX))
            r->r.status = glia_fail(r->r.err, GLIA_ERR_FORMAT, "%s: \"%.60s\": expected an id", path, text);
        keep(r, NULL, text, id, is_special_text(r->s, text));
    }
    json_decref(file);
    free(path);
}

static void read_tokens(reader *r) {
    glia_special *s = r->s;
    const char *key;
    json_t *value;
    size_t i;
    read_names(r);
    if (s->has_decoder)
        read_decoder(r);
    else if (!r->r.status)
        read_old_added(r);
    if (s->n) qsort(s->token, s->n, sizeof *s->token, by_id);
    const json_t *extra = json_object_get(s->config, extra_key), *list = extra_list(s->config);
    json_object_foreach(s->named, key, value) {
        const json_t *token = json_object_get(s->config, key);
        keep(r, token ? token : json_object_get(extra, key), json_string_value(value), -1, true);
    }
    json_array_foreach(s->extra, i, value)
        keep(r, json_array_get(list, i), json_string_value(value), -1, true);
    for (i = 0; i < s->n; i++) {
        json_object_foreach(s->named, key, value) {
            s->token[i].special |= strcmp(json_string_value(value), s->token[i].content) == 0;
        }
    }
}

glia_status glia_special_read(glia_special *s, const char *dir, glia_err *err) {
    reader r = {.s = s, .dir = dir, .r = {.err = err}};
    json_t *map = NULL;
    *s = (glia_special){.named = json_object(), .extra = json_array()};
    char *path = load(&r, &s->config, "tokenizer_config.json"), *map_path = NULL;
    const json_t *decoder = json_object_get(s->config, decoder_key);
    s->has_decoder = decoder && !json_is_null(decoder);
    if (!r.r.status && !s->has_decoder) map_path = load(&r, &map, "special_tokens_map.json");
    if (!r.r.status && (!s->named || !s->extra)) r.r.status = glia_fail_nomem(err, 0, "special tokens");
    if (!r.r.status) {
        rename_extra(s->config, true);
        override(s->config, map);
        rename_extra(s->config, false);
        find_class(&r);
        r.r.object = s->config;
        r.r.where = path;
        read_tokens(&r);
    }
    json_decref(map);
    free(map_path);
    free(path);
    if (r.r.status) glia_special_free(s);
    return r.r.status;
}
