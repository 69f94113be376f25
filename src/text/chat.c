/* chat.c - see chat.h. Source of the rules: transformers 5.24,
 * tokenization_utils_base.py (_from_pretrained, get_chat_template,
 * apply_chat_template, special_tokens_map). */
#define _POSIX_C_SOURCE 200809L
#include "text/chat.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "text/special.h"

enum { FILE_MAX = 64 << 20 };

typedef struct {
    char *name; /* NULL if it is the only template */
    glia_template *t;
    glia_err err; /* if t is NULL, why it did not compile */
} named_template;

struct glia_chat {
    char *dir;
    named_template *templates;
    size_t n;
    json_t *special; /* special tokens: an object from name to string or to an array of strings */
};

void glia_chat_free(glia_chat *c) {
    if (!c) return;
    for (size_t i = 0; i < c->n; i++) {
        free(c->templates[i].name);
        glia_template_free(c->templates[i].t);
    }
    free(c->templates);
    json_decref(c->special);
    free(c->dir);
    free(c);
}

bool glia_chat_has_template(const glia_chat *c) { return c->n > 0; }

static glia_status add_template(glia_chat *c, const char *name, const char *source, size_t len,
                                glia_err *err) {
    named_template *grown = realloc(c->templates, (c->n + 1) * sizeof *grown);
    if (!grown) return glia_fail_nomem(err, (c->n + 1) * sizeof *grown, "chat templates");
    c->templates = grown;
    named_template *one = &grown[c->n];
    *one = (named_template){.name = name ? strdup(name) : NULL};
    if (name && !one->name) return glia_fail_nomem(err, strlen(name), "a template's name");
    c->n++;
    glia_template_compile(&one->t, source, len, &one->err);
    return GLIA_OK;
}

/* ---- templates in files ---------------------------------------------------------------------------- */

static glia_status add_file(glia_chat *c, const char *dir, const char *file, const char *name,
                            glia_err *err) {
    char *path = glia_path_join(dir, file), *text = NULL;
    size_t len;
    if (!path) return glia_fail_nomem(err, strlen(dir), "a path");
    glia_status status = glia_read_file(&text, &len, path, FILE_MAX, err);
    if (!status) status = add_template(c, name, text, len, err);
    free(text);
    free(path);
    return status;
}

static int by_name(const void *a, const void *b) {
    const named_template *x = a, *y = b;
    return strcmp(x->name, y->name);
}

/* Add all additional_chat_templates/NAME.jinja, sorted by name. */
static glia_status add_directory(glia_chat *c, const char *path, glia_err *err) {
    static const char suffix[] = ".jinja";
    bool found;
    glia_status status = glia_dir_find(&found, path, err);
    const size_t first = c->n;
    DIR *d = found ? opendir(path) : NULL;
    if (found && !d) return glia_fail(err, GLIA_ERR_IO, "%s: %s", path, strerror(errno));
    if (!d) return status;
    for (const struct dirent *e; !status && (e = readdir(d)) != NULL;) {
        const size_t n = strlen(e->d_name);
        if (n < sizeof suffix || strcmp(e->d_name + n - (sizeof suffix - 1), suffix) != 0) continue;
        char name[256] = {0};
        memcpy(name, e->d_name, n - (sizeof suffix - 1));
        status = add_file(c, path, e->d_name, name, err);
    }
    closedir(d);
    if (c->n > first) qsort(c->templates + first, c->n - first, sizeof *c->templates, by_name);
    return status;
}

static glia_status add_files(glia_chat *c, glia_err *err) {
    char *single = glia_path_join(c->dir, "chat_template.jinja");
    char *more = glia_path_join(c->dir, "additional_chat_templates");
    glia_status status = single && more ? GLIA_OK : glia_fail_nomem(err, strlen(c->dir), "a path");
    bool found = false;
    if (!status) status = glia_file_find(&found, single, err);
    if (found) status = add_file(c, c->dir, "chat_template.jinja", "default", err);
    if (!status) status = add_directory(c, more, err);
    if (!status && c->n == 1 && strcmp(c->templates[0].name, "default") == 0) {
        free(c->templates[0].name); /* the only one needs no name */
        c->templates[0].name = NULL;
    }
    free(single);
    free(more);
    return status;
}

/* ---- tokenizer_config.json ----------------------------------------------------------------------------- */

static glia_status add_named(glia_chat *c, const char *name, const json_t *source, glia_err *err) {
    if (name && json_is_string(source))
        return add_template(c, name, json_string_value(source), json_string_length(source), err);
    return glia_fail(err, GLIA_ERR_FORMAT,
                     "%s/tokenizer_config.json: \"chat_template\": expected a string, a list of {\"name\", "
                     "\"template\"}, or an object from name to template",
                     c->dir);
}

static glia_status add_configured(glia_chat *c, json_t *config, glia_err *err) {
    json_t *t = json_object_get(config, "chat_template"), *source;
    const char *name;
    glia_status status = GLIA_OK;
    if (!t || json_is_null(t)) return GLIA_OK;
    if (json_is_string(t)) return add_template(c, NULL, json_string_value(t), json_string_length(t), err);
    for (size_t i = 0; i < json_array_size(t) && !status; i++) {
        const json_t *one = json_array_get(t, i);
        status = add_named(c, json_string_value(json_object_get(one, "name")),
                           json_object_get(one, "template"), err);
    }
    json_object_foreach(t, name, source) {
        if (!status) status = add_named(c, name, source, err);
    }
    return json_is_array(t) || json_is_object(t) ? status : add_named(c, NULL, t, err);
}

static glia_status read_all(glia_chat *c, glia_err *err) {
    glia_special s;
    glia_status status = glia_special_read(&s, c->dir, err);
    if (status) return status;
    status = add_files(c, err);
    if (!status && c->n == 0) status = add_configured(c, s.config, err);
    c->special = json_incref(s.named);
    if (json_array_size(s.extra)) json_object_set(c->special, "additional_special_tokens", s.extra);
    glia_special_free(&s);
    return status;
}

glia_status glia_chat_open(glia_chat **out, const char *dir, glia_err *err) {
    *out = NULL;
    glia_chat *c = calloc(1, sizeof *c);
    if (!c || !(c->dir = strdup(dir))) {
        glia_chat_free(c);
        return glia_fail_nomem(err, sizeof *c, "a chat");
    }
    const glia_status status = read_all(c, err);
    if (!status)
        *out = c;
    else
        glia_chat_free(c);
    return status;
}

/* ---- rendering ---------------------------------------------------------------- */

static const char *kind_of(const json_t *j) {
    static const char *const names[] = {
        [JSON_OBJECT] = "an object", [JSON_ARRAY] = "an array", [JSON_STRING] = "a string",
        [JSON_INTEGER] = "a number", [JSON_REAL] = "a number",  [JSON_TRUE] = "true",
        [JSON_FALSE] = "false",      [JSON_NULL] = "null",
    };
    return j ? names[json_typeof(j)] : "nothing";
}

static glia_status check_objects(const json_t *list, const char *key, glia_err *err) {
    if (!json_is_array(list))
        return glia_fail(err, GLIA_ERR_ARGUMENT, "conversation: \"%s\": expected an array, found %s", key,
                         kind_of(list));
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *one = json_array_get(list, i);
        if (!json_is_object(one))
            return glia_fail(err, GLIA_ERR_ARGUMENT,
                             "conversation: \"%s\"[%zu]: expected an object, found %s", key, i, kind_of(one));
    }
    return GLIA_OK;
}

static glia_status check_conversation(const json_t *conversation, glia_err *err) {
    static const char *const optional[] = {"tools", "documents"};
    if (!json_is_object(conversation))
        return glia_fail(err, GLIA_ERR_ARGUMENT,
                         "conversation: expected an object with \"messages\", found %s",
                         kind_of(conversation));
    const json_t *messages = json_object_get(conversation, "messages");
    glia_status status = check_objects(messages, "messages", err);
    for (size_t i = 0; i < json_array_size(messages) && !status; i++) {
        const json_t *role = json_object_get(json_array_get(messages, i), "role");
        if (!json_is_string(role))
            status = glia_fail(err, GLIA_ERR_ARGUMENT,
                               "conversation: \"messages\"[%zu]: \"role\": expected a string, found %s", i,
                               kind_of(role));
    }
    for (size_t i = 0; i < 2 && !status; i++) {
        const json_t *list = json_object_get(conversation, optional[i]);
        if (list && !json_is_null(list)) status = check_objects(list, optional[i], err);
    }
    const json_t *prompt = json_object_get(conversation, "add_generation_prompt");
    if (!status && prompt && !json_is_boolean(prompt))
        status = glia_fail(err, GLIA_ERR_ARGUMENT,
                           "conversation: \"add_generation_prompt\": expected true or false, found %s",
                           kind_of(prompt));
    if (!status && json_is_true(json_object_get(conversation, "continue_final_message")))
        status =
            glia_fail(err, GLIA_ERR_UNSUPPORTED, "conversation: \"continue_final_message\" is not supported");
    return status;
}

/* Of several templates with this name the last one counts. */
static const named_template *find_named(const glia_chat *c, const char *name) {
    for (size_t i = c->n; i-- > 0;) {
        if (c->templates[i].name && strcmp(c->templates[i].name, name) == 0) return &c->templates[i];
    }
    return NULL;
}

static glia_status choose(const glia_chat *c, bool tools, const named_template **out, glia_err *err) {
    if (c->n == 0)
        return glia_fail(err, GLIA_ERR_UNSUPPORTED,
                         "%s: no chat template: expected chat_template.jinja, or \"chat_template\" in "
                         "tokenizer_config.json",
                         c->dir);
    *out = c->templates[0].name ? NULL : &c->templates[0];
    if (!*out && tools) *out = find_named(c, "tool_use");
    if (!*out) *out = find_named(c, "default");
    if (*out) return GLIA_OK;
    glia_buf names = {0};
    for (size_t i = 0; i < c->n; i++) glia_buf_printf(&names, "%s%s", i ? ", " : "", c->templates[i].name);
    const glia_status status = glia_fail(
        err, GLIA_ERR_ARGUMENT, "%s: several chat templates and none is \"default\"; choose one of: %s",
        c->dir, names.data ? names.data : "");
    glia_buf_free(&names);
    return status;
}

/* The template's variables: special tokens, overridden by `conversation`, then
 * defaults for variables that templates may test. */
static json_t *make_context(const glia_chat *c, const json_t *conversation) {
    json_t *context = json_deep_copy(c->special);
    if (!context || json_object_update(context, (json_t *)(uintptr_t)conversation) != 0) {
        json_decref(context);
        return NULL;
    }
    json_object_update_missing_new(
        context, json_pack("{s:n, s:n, s:b}", "tools", "documents", "add_generation_prompt", 0));
    return context;
}

glia_status glia_chat_render(const glia_chat *c, const json_t *conversation, const char *chat_template,
                             size_t template_len, const char *now, glia_buf *out, glia_err *err) {
    const glia_template_options options = {.now = now};
    const named_template *chosen = NULL;
    glia_template *own = NULL;
    glia_status status = check_conversation(conversation, err);
    const json_t *tools = json_object_get(conversation, "tools");
    if (status) return status;
    if (chat_template && strlen(chat_template) == template_len) chosen = find_named(c, chat_template);
    if (chat_template && !chosen)
        status = glia_template_compile(&own, chat_template, template_len, err);
    else if (!chosen)
        status = choose(c, tools && !json_is_null(tools), &chosen, err);
    if (status) return status;
    if (chosen && !chosen->t) return glia_fail(err, chosen->err.status, "%s", chosen->err.msg);
    json_t *context = make_context(c, conversation);
    status = context ? glia_template_render(own ? own : chosen->t, context, &options, out, err)
                     : glia_fail_nomem(err, 0, "a template's variables");
    json_decref(context);
    glia_template_free(own);
    return status;
}
