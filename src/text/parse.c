/* parse.c - see parse.h. */
#include "text/parse.h"

#include <string.h>

static const char think[] = "<think>", think_end[] = "</think>";

bool glia_prompt_opens_thinking(const char *prompt, size_t len) {
    while (len && strchr(" \n\r\t", prompt[len - 1])) len--;
    const size_t n = sizeof think - 1;
    return len >= n && memcmp(prompt + len - n, think, n) == 0;
}

void glia_parse_init(glia_parse *p, bool thinking) {
    *p = (glia_parse){.start = true};
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
    const bool content = p->state == GLIA_PIECE_CONTENT;
    tags[0] = content ? think : think_end;
    tags[1] = !content && p->start ? think : NULL;
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

static void enter(glia_parse *p, const char *tag) {
    p->held = 0;
    p->newlines = 0;
    p->trim = true;
    p->state = tag == think ? GLIA_PIECE_THINKING : GLIA_PIECE_CONTENT;
    if (tag == think_end) p->start = false;
}

/* Add `c` to the bytes held back. Returns false if they begin no tag; then all but
 * `c` have been emitted, and the caller must handle `c`. */
static bool hold(glia_parse *p, jsink s, char c) {
    bool complete = false;
    p->hold[p->held++] = c;
    const char *tag = match(p, &complete);
    if (complete) enter(p, tag);
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
