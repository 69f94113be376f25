/* parse.h - the stream back: generated text split into thinking and content.
 *
 * Works at any split of the text, allocates nothing and holds back only what may
 * still turn out to be a tag's beginning or a newline that belongs to a tag.
 *
 * The tags <think> and </think> are in neither part. As Qwen's own template does
 * when it reads an answer back, newlines are trimmed on both sides of the
 * thinking and before the content that follows it; nothing else is changed.
 * Thinking that never closes stays thinking; a </think> outside is text; a
 * <think> where the prompt has opened one already is dropped. */
#ifndef GLIA_TEXT_PARSE_H
#define GLIA_TEXT_PARSE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

typedef enum {
    GLIA_PIECE_CONTENT = 0,
    GLIA_PIECE_THINKING,
    GLIA_PIECE_TOOL_CALL, /* <tool_call>...</tool_call>, tags included */
} glia_piece;

/* `len` > 0 bytes of `text`, valid during the call. */
typedef void glia_piece_fn(void *user, glia_piece piece, const char *text, size_t len);

enum { GLIA_PARSE_HELD = 16 };

typedef struct {
    glia_piece state;
    bool tools;      /* tool calls are pieces of their own, else content */
    bool start;      /* nothing but newlines has come */
    bool trim;       /* newlines that come next belong to a tag */
    size_t newlines; /* held back: they may stand before a tag */
    size_t held;     /* bytes of `hold`: the beginning of a tag */
    char hold[GLIA_PARSE_HELD];
} glia_parse;

/* Does this rendered prompt end inside an open <think> (Qwen3-Thinking-2507)? */
bool glia_prompt_opens_thinking(const char *prompt, size_t len);

void glia_parse_init(glia_parse *p, bool thinking, bool tools);
/* Any split will do, inside characters and tags as well; pieces then may be cut
 * inside a character just as the input was, never elsewhere. */
void glia_parse_push(glia_parse *p, const char *text, size_t len, glia_piece_fn *emit, void *user);
/* The text has ended: emit what was held back. */
void glia_parse_end(glia_parse *p, glia_piece_fn *emit, void *user);

/* Take the tool calls out of a whole answer's content (thinking already gone):
 * each <tool_call>{"name": ..., "arguments": {...}}</tool_call>; the closing tag
 * may be missing at the very end. *content: the text without them, trimmed of
 * the white space they leave, owned by the caller (free()). *calls: a JSON array
 * of {"name": string, "arguments": string}, a new reference; arguments are the
 * model's own JSON text of an object, "{}" where there are none. A call that
 * is not such an object stays in the text. Fails only for want of memory. */
glia_status glia_parse_tool_calls(const char *text, size_t len, char **content, json_t **calls,
                                  glia_err *err);

#endif
