/* call.c - see call.h. */
#include "text/call.h"

#include <jansson.h>
#include <string.h>

#include "text/jsonscan.h"

/* A part of a text. */
typedef struct {
    const char *at;
    size_t n;
} span;

static bool is_space(char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }

static const char *skip_string(const char *p) {
    for (p++; *p != '"'; p++) p += *p == '\\';
    return p + 1;
}

/* The end of the JSON value at p, in a valid object. */
static const char *skip_value(const char *p) {
    int depth = 0;
    do {
        if (*p == '"') {
            p = skip_string(p);
            continue;
        }
        depth += *p == '{' || *p == '[' ? 1 : *p == '}' || *p == ']' ? -1 : 0;
        p++;
    } while (depth > 0 || (*p != ',' && *p != '}' && *p != ']' && !is_space(*p)));
    return p;
}

/* The value of `key` in the valid object at p; its last one if there are several. n is 0 if there is none. */
static span find(const char *p, const char *key) {
    span found = {NULL, 0};
    while (*p != '{') p++;
    for (p++;;) {
        while (is_space(*p) || *p == ',') p++;
        if (*p == '}') return found;
        const char *name = p + 1;
        p = skip_string(p);
        const bool ours = (size_t)(p - name - 1) == strlen(key) && memcmp(name, key, strlen(key)) == 0;
        while (is_space(*p) || *p == ':') p++;
        const char *value = p;
        p = skip_value(p);
        if (ours) found = (span){value, (size_t)(p - value)};
    }
}

/* Append the string that the JSON value is. Returns false if it is no string, or not Unicode. */
static bool decode(glia_buf *out, span value) {
    json_t *string = value.n && *value.at == '"'
                         ? json_loadb(value.at, value.n, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL)
                         : NULL;
    if (string) glia_buf_add(out, json_string_value(string), json_string_length(string));
    json_decref(string);
    return string != NULL;
}

static void read_arguments(glia_buf *out, const char *text) {
    span value = find(text, "arguments");
    glia_buf inner = {0};
    if (!value.n) value = find(text, "parameters");
    if (!value.n || *value.at == 'n') value = (span){"{}", 2};
    if (decode(&inner, value) && inner.len && glia_is_json_object(inner.data, inner.len))
        glia_buf_add(out, inner.data, inner.len);
    else
        glia_buf_add(out, value.at, value.n);
    out->oom |= inner.oom;
    glia_buf_free(&inner);
}

bool glia_call_read(glia_call *call, const char *text) {
    *call = (glia_call){0};
    if (!decode(&call->name, find(text, "name")) || (!call->name.len && !call->name.oom)) return false;
    read_arguments(&call->arguments, text);
    return true;
}

void glia_call_free(glia_call *call) {
    glia_buf_free(&call->name);
    glia_buf_free(&call->arguments);
}
