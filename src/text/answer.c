/* answer.c - glia_parser of glia.h: thinking, content and tool calls of an answer that arrives in pieces.
 *
 * The parser is one state machine for whole and streamed answers. `in` holds the bytes that are not decided
 * yet; a state consumes what it can decide and returns false if it needs more bytes. Each state remembers in
 * `seen` how far it has looked, so that a long call is scanned once. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "text/call.h"
#include "text/jsonscan.h"

static const char think[] = "<think>", think_end[] = "</think>";
static const char call_tag[] = "<tool_call>", call_end[] = "</tool_call>";

/* What a block of calls waits for. */
typedef enum { BLOCK_OBJECT, BLOCK_SCAN, BLOCK_NEXT } block_step;

/* Returns true if bytes were consumed or the state has changed. */
typedef bool state_fn(glia_parser *p);

struct glia_parser {
    glia_parser_options options;
    char *name;
    glia_part_fn *emit;
    void *user;
    state_fn *state;
    glia_buf in;     /* from `at` on: not decided yet */
    size_t at, seen; /* seen: from `at` on, bytes that the state has examined */
    glia_buf space;  /* white space of the content that a call may follow */
    bool ended, by_length;
    bool bare;        /* the content may begin with calls without tags */
    bool content;     /* content that is not white space has been emitted */
    bool called;      /* a call was emitted after the content in `space` */
    bool said;        /* reasoning or a call was emitted */
    bool cut;         /* a call ended the thinking: a </think> may follow */
    bool absorbed;    /* a second </think> was absorbed */
    bool start;       /* no thinking has been emitted */
    block_step block; /* of the block of calls at `at` */
    bool first, list, tagged;
    bool plain;    /* the block has no tag */
    size_t object; /* where its current object begins, from `at` on */
    glia_jsonscan scan;
    bool oom;
};

static state_fn begin, undecided, thinking, after_think, content, block, after_call;

/* ---- the undecided bytes ------------------------------------------------------------------- */

static const char *bytes(const glia_parser *p) { return p->in.data ? p->in.data + p->at : ""; }
static size_t left(const glia_parser *p) { return p->in.len - p->at; }
static bool is_space(char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }

static bool go(glia_parser *p, state_fn *state) {
    p->state = state;
    p->seen = 0;
    return true;
}

static bool consume(glia_parser *p, size_t n) {
    p->at += n;
    p->seen = 0;
    return true;
}

typedef enum { TAG_NO, TAG_PART, TAG_WHOLE } tag_match;

/* Does `tag` begin at byte i? TAG_PART: more bytes must say. */
static tag_match tag_at(const glia_parser *p, size_t i, const char *tag) {
    const size_t n = strlen(tag), have = left(p) - i < n ? left(p) - i : n;
    if (memcmp(bytes(p) + i, tag, have) != 0) return TAG_NO;
    return have == n ? TAG_WHOLE : p->ended ? TAG_NO : TAG_PART;
}

static size_t skip_space(const glia_parser *p, size_t i) {
    while (i < left(p) && is_space(bytes(p)[i])) i++;
    return i;
}

/* The byte behind the <tool_call> at byte i and the white space after it. A tag may be written twice. */
static size_t behind_tags(const glia_parser *p, size_t i) {
    for (int n = 0; n < 2 && tag_at(p, i, call_tag) == TAG_WHOLE; n++)
        i = skip_space(p, i + strlen(call_tag));
    return i;
}

/* Does a block of calls begin at byte i? */
static tag_match call_at(const glia_parser *p, size_t i) {
    if (p->options.tools == GLIA_TOOLS_NONE) return TAG_NO;
    const tag_match tag = tag_at(p, i, call_tag);
    if (tag != TAG_WHOLE) return tag;
    i = behind_tags(p, i);
    if (i == left(p)) return !p->ended ? TAG_PART : p->by_length ? TAG_WHOLE : TAG_NO;
    if (bytes(p)[i] == '{' || bytes(p)[i] == '[') return TAG_WHOLE;
    return tag_at(p, i, call_tag) == TAG_PART ? TAG_PART : TAG_NO;
}

/* ---- parts ------------------------------------------------------------------------------------ */

static void emit(glia_parser *p, glia_part part, const char *text, size_t n) {
    if (n && !p->oom) p->emit(p->user, part, text, n);
}

static void flush_space(glia_parser *p) {
    emit(p, GLIA_PART_CONTENT, p->space.data, p->space.len);
    p->space.len = 0;
}

/* Emit the first n bytes as content. White space at their end is held back, for a call may follow. */
static bool emit_content(glia_parser *p, size_t n) {
    const char *text = bytes(p);
    size_t black = n;
    while (black && is_space(text[black - 1]) && p->options.tools != GLIA_TOOLS_NONE) black--;
    if (black) {
        flush_space(p);
        emit(p, GLIA_PART_CONTENT, text, black);
        p->content = true;
        p->called = false;
    }
    glia_buf_add(&p->space, text + black, n - black);
    return consume(p, n);
}

/* Emit the first n bytes as thinking. */
static bool emit_thinking(glia_parser *p, size_t n) {
    emit(p, GLIA_PART_REASONING, bytes(p), n);
    if (n) p->said = true;
    if (n) p->start = false;
    return consume(p, n);
}

static void emit_call(glia_parser *p, const char *name, size_t name_len, const char *arguments, size_t n) {
    emit(p, GLIA_PART_CALL, name, name_len);
    emit(p, GLIA_PART_ARGUMENTS, arguments, n);
    p->said = p->called = true;
}

/* ---- thinking ----------------------------------------------------------------------------------- */

static bool begin(glia_parser *p) {
    const size_t i = skip_space(p, 0);
    if (i == left(p) && !p->ended) return false;
    const tag_match opens = tag_at(p, i, think), closes = tag_at(p, i, think_end);
    if (opens == TAG_WHOLE) return consume(p, i + strlen(think)) && go(p, thinking);
    if (p->options.opened && opens == TAG_NO) return go(p, thinking);
    if (opens == TAG_PART || closes == TAG_PART) return false;
    if (closes == TAG_WHOLE) return consume(p, i + strlen(think_end)) && go(p, after_think);
    return go(p, p->options.may_lack_think ? undecided : content);
}

/* Thinking or content: a </think> that comes before any <think> and any call says. */
static bool undecided(glia_parser *p) {
    for (size_t i = p->seen; i < left(p); i++) {
        if (bytes(p)[i] != '<') continue;
        const tag_match call = call_at(p, i), opens = tag_at(p, i, think), closes = tag_at(p, i, think_end);
        if (closes == TAG_WHOLE) return go(p, thinking);
        if (call == TAG_WHOLE || opens == TAG_WHOLE) return go(p, content);
        p->seen = i;
        if (call == TAG_PART || opens == TAG_PART || closes == TAG_PART) return false;
    }
    p->seen = left(p);
    return p->ended ? go(p, content) : false;
}

/* Emit the thinking before byte i, but not the newlines at its end, which a tag may follow. */
static void think_before(glia_parser *p, size_t i) {
    const char *text = bytes(p);
    size_t black = i, first = 0;
    while (black && text[black - 1] == '\n') black--;
    if (p->start && skip_space(p, 0) >= black) return; /* nothing but white space */
    while (p->start && text[first] == '\n') first++;
    consume(p, first);
    emit_thinking(p, black - first);
}

static bool thinking(glia_parser *p) {
    size_t i = p->seen;
    for (; i < left(p); i++) {
        if (bytes(p)[i] != '<') continue;
        const tag_match call = call_at(p, i), closes = tag_at(p, i, think_end);
        if (call == TAG_NO && closes == TAG_NO) continue;
        const size_t rest = left(p) - i;
        think_before(p, i);
        const size_t newlines = left(p) - rest;
        if (closes == TAG_WHOLE) return consume(p, newlines + strlen(think_end)) && go(p, after_think);
        p->cut = call == TAG_WHOLE;
        if (p->cut) return consume(p, newlines) && go(p, content);
        p->seen = newlines;
        return false;
    }
    think_before(p, i);
    p->seen = left(p);
    if (p->ended) consume(p, left(p)); /* newlines */
    return false;
}

/* Newlines, and a second </think>, belong to the tag. */
static bool after_think(glia_parser *p) {
    const size_t i = skip_space(p, 0);
    if (i == left(p) && !p->ended) return false;
    const tag_match closes = p->absorbed ? TAG_NO : tag_at(p, i, think_end);
    if (closes == TAG_PART) return false;
    p->absorbed = true;
    if (closes == TAG_WHOLE) return consume(p, i + strlen(think_end));
    size_t newlines = 0;
    while (newlines < i && (bytes(p)[newlines] == '\n' || bytes(p)[newlines] == '\r')) newlines++;
    if (p->ended && i == left(p)) newlines = i;
    return consume(p, newlines) && go(p, content);
}

/* ---- content -------------------------------------------------------------------------------------- */

/* Do calls without tags begin here? */
static tag_match bare_at(const glia_parser *p, size_t i) {
    if (!p->bare) return TAG_NO;
    if (i == left(p)) return p->ended ? TAG_NO : TAG_PART;
    const char c = bytes(p)[i];
    return c == '{' || (c == '[' && p->options.tools == GLIA_TOOLS_REQUIRED) ? TAG_WHOLE : TAG_NO;
}

static bool begin_block(glia_parser *p, bool tagged) {
    p->tagged = tagged;
    p->plain = !tagged;
    p->first = true;
    p->list = false;
    p->block = BLOCK_OBJECT;
    p->bare = false;
    return go(p, block);
}

static bool content(glia_parser *p) {
    const size_t first = p->bare ? skip_space(p, 0) : 0;
    const tag_match bare = bare_at(p, first);
    if (bare == TAG_WHOLE) return emit_content(p, first) && begin_block(p, false);
    if (bare == TAG_PART) return false;
    size_t i = 0;
    tag_match call = TAG_NO;
    while (i < left(p) && (bytes(p)[i] != '<' || (call = call_at(p, i)) == TAG_NO)) i++;
    p->bare = p->bare && i == first && i < left(p);
    emit_content(p, i);
    return call == TAG_WHOLE && left(p) ? begin_block(p, true) : false;
}

/* ---- calls ------------------------------------------------------------------------------------------ */

/* The block is no call: its first bytes are content, and what follows them may be anything. */
static bool give_up(glia_parser *p) {
    emit_content(p, p->tagged ? strlen(call_tag) : left(p) > 0);
    return go(p, content);
}

/* The answer has ended within the block. */
static bool end_block(glia_parser *p) {
    if (!p->ended) return false;
    if (p->block == BLOCK_NEXT) return go(p, after_call);
    if (!p->by_length) return give_up(p);
    p->called = true;
    return consume(p, left(p)) && go(p, content);
}

/* Emit the object [object, end) as a call. Returns false if it is none. */
static bool read_object(glia_parser *p, size_t end) {
    const char *object = bytes(p) + p->object;
    const bool named = p->options.tools == GLIA_TOOLS_NAMED && p->plain;
    glia_call call;
    bool good = glia_call_read(&call, object);
    if (named && !(good && strcmp(call.name.data ? call.name.data : "", p->name) == 0)) {
        emit_call(p, p->name, strlen(p->name), object, end - p->object);
        good = true;
    } else if (good) {
        p->oom |= call.name.oom || call.arguments.oom;
        emit_call(p, call.name.data, call.name.len, call.arguments.data, call.arguments.len);
    }
    glia_call_free(&call);
    return good;
}

static bool scan_object(glia_parser *p) {
    size_t end = p->seen;
    const glia_jsonscan_result result = glia_jsonscan_feed(&p->scan, bytes(p), left(p), &end);
    p->seen = end;
    if (result == GLIA_JSONSCAN_MORE) return end_block(p);
    if (result == GLIA_JSONSCAN_BAD || !read_object(p, end)) return give_up(p);
    consume(p, end);
    p->tagged = false; /* the tag is consumed */
    p->block = BLOCK_NEXT;
    return p->list ? true : go(p, after_call);
}

static bool find_object(glia_parser *p) {
    size_t i = skip_space(p, p->tagged ? behind_tags(p, 0) : 0);
    const bool list = p->first && i < left(p) && bytes(p)[i] == '[';
    if (list) i = skip_space(p, i + 1);
    if (i == left(p)) return end_block(p);
    if (bytes(p)[i] != '{') return give_up(p);
    p->list |= list;
    p->first = false;
    p->object = p->seen = i;
    p->scan = (glia_jsonscan){0};
    p->block = BLOCK_SCAN;
    return true;
}

static bool find_next(glia_parser *p) {
    const size_t i = skip_space(p, 0);
    if (i == left(p)) return end_block(p);
    if (bytes(p)[i] == ']') return consume(p, i + 1) && go(p, after_call);
    if (bytes(p)[i] != ',') return go(p, after_call);
    consume(p, i + 1);
    p->block = BLOCK_OBJECT;
    return true;
}

static bool block(glia_parser *p) {
    switch (p->block) {
    case BLOCK_OBJECT: return find_object(p);
    case BLOCK_SCAN: return scan_object(p);
    default: return find_next(p);
    }
}

/* Drop what belongs to the call: white space, closing brackets too many, the tag. */
static bool after_call(glia_parser *p) {
    size_t i = 0;
    while (i < left(p) && (is_space(bytes(p)[i]) || bytes(p)[i] == '}' || bytes(p)[i] == ']')) i++;
    const tag_match closes = tag_at(p, i, call_end);
    if (closes == TAG_PART || (i == left(p) && !p->ended)) return false;
    const size_t rest = left(p) - i;
    if (closes == TAG_WHOLE) i += strlen(call_end);
    if (p->ended && rest < strlen(call_end) && memcmp(bytes(p) + i, call_end, rest) == 0)
        i += rest; /* the end of the answer cuts the tag */
    const size_t next = skip_space(p, i);
    if (next == left(p) && !p->ended) return false;
    const tag_match late = p->cut ? tag_at(p, next, think_end) : TAG_NO;
    if (late == TAG_PART) return false;
    if (late == TAG_WHOLE) {
        p->cut = false;
        p->absorbed = true;
        return consume(p, next + strlen(think_end)) && go(p, after_think);
    }
    if (p->content && !p->space.len) glia_buf_add(&p->space, bytes(p) + i, next - i);
    return consume(p, next) && go(p, content);
}

/* ---- the parser --------------------------------------------------------------------------------------- */

static glia_status run(glia_parser *p, glia_err *err) {
    while (!p->oom && p->state(p)) {
    }
    p->oom |= p->in.oom || p->space.oom;
    return p->oom ? glia_fail_nomem(err, p->in.len, "an answer") : GLIA_OK;
}

GLIA_API glia_status glia_parser_create(glia_parser **out, const glia_parser_options *options,
                                        glia_part_fn *on_part, void *user, glia_err *err) {
    glia_parser *p = calloc(1, sizeof *p);
    *out = NULL;
    if (!p) return glia_fail_nomem(err, sizeof *p, "a parser");
    p->options = *options;
    p->name = strdup(options->name ? options->name : "");
    p->emit = on_part;
    p->user = user;
    p->state = begin;
    p->start = true;
    p->bare = options->tools == GLIA_TOOLS_REQUIRED || options->tools == GLIA_TOOLS_NAMED;
    if (!p->name) return glia_parser_free(p), glia_fail_nomem(err, 1, "a parser");
    *out = p;
    return GLIA_OK;
}

GLIA_API glia_status glia_parser_push(glia_parser *p, const char *text, size_t len, glia_err *err) {
    if (p->at) memmove(p->in.data, p->in.data + p->at, left(p));
    p->in.len -= p->at;
    p->at = 0;
    glia_buf_add(&p->in, text, len);
    return run(p, err);
}

GLIA_API glia_status glia_parser_end(glia_parser *p, bool by_length, glia_err *err) {
    p->ended = true;
    p->by_length = by_length;
    const glia_status status = run(p, err);
    if (!status && !p->called && (p->content || !p->said)) flush_space(p);
    return status;
}

GLIA_API bool glia_parser_thinking(const glia_parser *p) {
    return p->state == thinking || (p->state == begin && p->options.opened);
}

GLIA_API void glia_parser_free(glia_parser *p) {
    if (!p) return;
    glia_buf_free(&p->in);
    glia_buf_free(&p->space);
    free(p->name);
    free(p);
}
