/* parse.h - splits generated text, as it streams, into thinking and content. answer.c parses tool calls too.
 *
 * The text may arrive in chunks of any size. The parser allocates nothing. It
 * holds back only bytes that may begin a tag, and newlines that may belong to one.
 *
 * The tags <think> and </think> are never emitted. Newlines are trimmed on both
 * sides of the thinking and before the content after it, as Qwen's template does
 * when it reads an answer; nothing else changes. Thinking that never closes stays
 * thinking. A </think> outside of thinking is text. A <think> at the very start is
 * dropped if the prompt has opened the thinking already. */
#ifndef GLIA_TEXT_PARSE_H
#define GLIA_TEXT_PARSE_H

#include <stdbool.h>
#include <stddef.h>

#include <glia.h>

typedef enum {
    GLIA_PIECE_CONTENT = 0,
    GLIA_PIECE_THINKING,
} glia_piece;

/* `len` > 0 bytes of `text`, valid during the call. */
typedef void glia_piece_fn(void *user, glia_piece piece, const char *text, size_t len);

enum { GLIA_PARSE_HELD = 16 };

typedef struct {
    glia_piece state;
    bool start;                 /* only newlines have arrived so far */
    bool trim;                  /* drop the next newlines: they belong to a tag */
    size_t newlines;            /* newlines held back: a tag may follow */
    size_t held;                /* bytes in `hold` */
    char hold[GLIA_PARSE_HELD]; /* bytes held back: the beginning of a tag */
} glia_parse;

/* `thinking`: the text begins inside of thinking. */
void glia_parse_init(glia_parse *p, bool thinking);
/* Parse the next chunk, which may end inside a character or a tag. A piece is cut
 * inside a character only if the chunk was. */
void glia_parse_push(glia_parse *p, const char *text, size_t len, glia_piece_fn *emit, void *user);
/* The text has ended: emit what was held back. */
void glia_parse_end(glia_parse *p, glia_piece_fn *emit, void *user);

#endif
