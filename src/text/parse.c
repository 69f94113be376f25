/* parse.c - see parse.h. */
#include "text/parse.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

static const char think[] = "<think>", think_end[] = "</think>";
static const char call[] = "<tool_call>", call_end[] = "</tool_call>";

bool glia_prompt_opens_thinking(const char *prompt, size_t len) {
    while (len && strchr(" \n\r\t", prompt[len - 1])) len--;
    const size_t n = sizeof think - 1;
    return len >= n && memcmp(prompt + len - n, think, n) == 0;
}

void glia_parse_init(glia_parse *p, bool thinking, bool tools) {
    *p = (glia_parse){.tools = tools, .start = true};
    if (thinking) p->state = GLIA_PIECE_THINKING;
    if (thinking) p->trim = true;
}

/* ---- pieces ------------------------------------------------------------------------------------ */

typedef struct {
    glia_piece_fn *emit;
    void *user;
} jsink;

static void flush_newlines(glia_parse *p, jsink s) {
    static const char newlines[] = "\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n";
    while (p->newlines) {
        const size_t n = p->newlines < sizeof newlines - 1 ? p->newlines : sizeof newlines - 1;
        s.emit(s.user, p->state, newlines, n);
        p->newlines -= n;
    }
}

static void put(glia_parse *p, jsink s, const char *text, size_t n) {
    if (n == 0) return;
    flush_newlines(p, s);
    p->trim = p->start = false;
    s.emit(s.user, p->state, text, n);
}

/* ---- tags ---------------------------------------------------------------------------------------- */

/* The tags that may begin in the current state, at most two; unused entries are NULL. */
static void candidates(const glia_parse *p, const char *tags[2]) {
    tags[0] = tags[1] = NULL;
    if (p->state == GLIA_PIECE_CONTENT) {
        tags[0] = think;
        if (p->tools) tags[1] = call;
    } else if (p->state == GLIA_PIECE_THINKING) {
        tags[0] = think_end;
        if (p->start) tags[1] = think;
    } else {
        tags[0] = call_end;
    }
}

/* The tag whose first bytes are in `hold`; NULL: none. *complete is set if all are. */
static const char *match(const glia_parse *p, bool *complete) {
    const char *tags[2];
    candidates(p, tags);
    for (int i = 0; i < 2; i++) {
        if (!tags[i] || strncmp(tags[i], p->hold, p->held) != 0) continue;
        *complete = tags[i][p->held] == '\0';
        return tags[i];
    }
    return NULL;
}

static void enter(glia_parse *p, jsink s, const char *tag) {
    const size_t n = p->held;
    p->held = 0;
    if (tag == think || tag == think_end) {
        p->newlines = 0;
        p->trim = true;
        p->state = tag == think ? GLIA_PIECE_THINKING : GLIA_PIECE_CONTENT;
        if (tag == think_end) p->start = false;
    } else if (tag == call) {
        flush_newlines(p, s);
        p->state = GLIA_PIECE_TOOL_CALL;
        put(p, s, p->hold, n);
    } else {
        put(p, s, p->hold, n);
        p->state = GLIA_PIECE_CONTENT;
    }
}

/* Add `c` to the bytes held back. Returns false if they begin no tag; then all but
 * `c` have been emitted, and the caller must handle `c`. */
static bool hold(glia_parse *p, jsink s, char c) {
    bool complete = false;
    p->hold[p->held++] = c;
    const char *tag = match(p, &complete);
    if (complete) enter(p, s, tag);
    if (tag) return true;
    const size_t n = p->held - 1;
    p->held = 0;
    put(p, s, p->hold, n);
    return false;
}

static bool holds_newlines(const glia_parse *p) {
    return p->trim || p->state == GLIA_PIECE_THINKING || (p->start && p->state == GLIA_PIECE_CONTENT);
}

void glia_parse_push(glia_parse *p, const char *text, size_t len, glia_piece_fn *emit, void *user) {
    const jsink s = {emit, user};
    size_t run = 0; /* text[run, i) is plain text, not yet emitted */
    for (size_t i = 0; i < len;) {
        if (p->held) {
            if (hold(p, s, text[i])) i++;
            run = i;
        } else if (text[i] == '<') {
            put(p, s, text + run, i - run);
            hold(p, s, '<'); /* '<' begins a tag in every state, so hold() returns true */
            run = ++i;
        } else if (text[i] == '\n' && (run < i || holds_newlines(p))) {
            put(p, s, text + run, i - run);
            run = i;
            if (!holds_newlines(p)) {
                i++;
                continue;
            }
            if (!p->trim) p->newlines++;
            run = ++i;
        } else {
            i++;
        }
    }
    put(p, s, text + run, len - run);
}

void glia_parse_end(glia_parse *p, glia_piece_fn *emit, void *user) {
    const jsink s = {emit, user};
    const size_t n = p->held;
    p->held = 0;
    put(p, s, p->hold, n);
    if (p->state == GLIA_PIECE_THINKING) p->newlines = 0;
    flush_newlines(p, s);
}

/* ---- tool calls ------------------------------------------------------------------------------------ */

static const char *find(const char *from, const char *end, const char *tag) {
    const size_t n = strlen(tag);
    for (; (size_t)(end - from) >= n; from++) {
        if (*from == '<' && memcmp(from, tag, n) == 0) return from;
    }
    return NULL;
}

static bool is_space(char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }

static const char *skip_string(const char *p) {
    for (p++; *p != '"'; p++) p += *p == '\\';
    return p + 1;
}

/* The end of the JSON value at p. The text must be valid JSON. */
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

/* Find the text [*from, *to) of the value of "arguments" in the valid JSON object
 * at p. Returns false if the object has no such key. */
static bool find_arguments(const char *p, const char **from, const char **to) {
    static const char key[] = "\"arguments\"";
    bool found = false;
    while (*p != '{') p++;
    for (p++;;) {
        while (is_space(*p) || *p == ',') p++;
        if (*p == '}') return found;
        const char *name = p;
        p = skip_string(p);
        const bool ours = (size_t)(p - name) == sizeof key - 1 && memcmp(name, key, sizeof key - 1) == 0;
        while (is_space(*p) || *p == ':') p++;
        const char *value = p;
        p = skip_value(p);
        if (!ours) continue;
        *from = value;
        *to = p;
        found = true;
    }
}

/* The call {"name": ..., "arguments": ...} as a new object; NULL if the text is not
 * such a call. */
static json_t *read_call(const char *text, size_t len) {
    json_t *call_json = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, NULL);
    const char *name = json_string_value(json_object_get(call_json, "name"));
    const json_t *arguments = json_object_get(call_json, "arguments");
    json_t *out = NULL;
    if (name && (!arguments || json_is_object(arguments))) {
        const char *from = "{}", *to = from + 2;
        if (find_arguments(text, &from, &to) == (arguments != NULL))
            out = json_pack("{s:s, s:s%}", "name", name, "arguments", from, (size_t)(to - from));
    }
    json_decref(call_json);
    return out;
}

/* Append the text between two calls, without white space next to a call. */
static void add_content(glia_buf *b, const char *from, const char *to, bool after_call, bool before_call) {
    while (after_call && from < to && is_space(*from)) from++;
    while (before_call && to > from && is_space(to[-1])) to--;
    if (b->len && from < to) glia_buf_putc(b, '\n');
    glia_buf_add(b, from, (size_t)(to - from));
}

glia_status glia_parse_tool_calls(const char *text, size_t len, char **content, json_t **calls,
                                  glia_err *err) {
    const char *end = text + len, *from = text, *at = text;
    glia_buf b = {0};
    bool after = false;
    *content = NULL;
    *calls = json_array();
    while ((at = find(at, end, call)) != NULL) {
        const char *body = at + sizeof call - 1;
        const char *close = find(body, end, call_end);
        json_t *one = read_call(body, (size_t)((close ? close : end) - body));
        if (!one) {
            at = body;
            continue;
        }
        json_array_append_new(*calls, one);
        add_content(&b, from, at, after, true);
        after = true;
        from = at = close ? close + sizeof call_end - 1 : end;
    }
    add_content(&b, from, end, after, false);
    *content = *calls ? glia_buf_steal(&b) : NULL;
    if (*content) return GLIA_OK;
    glia_buf_free(&b);
    json_decref(*calls);
    *calls = NULL;
    return glia_fail_nomem(err, len, "the answer's content");
}
