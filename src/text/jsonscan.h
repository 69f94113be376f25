/* jsonscan.h - a strict check of one JSON object or array that arrives in pieces: where it ends, and the
 * first byte that breaks RFC 8259. Nothing is allocated. */
#ifndef GLIA_TEXT_JSONSCAN_H
#define GLIA_TEXT_JSONSCAN_H

#include <stdbool.h>
#include <stddef.h>

enum { GLIA_JSONSCAN_DEPTH = 1024 };

/* Zero the struct before the first byte. */
typedef struct {
    int state; /* of jsonscan.c */
    size_t depth;
    const char *rest;                               /* of a literal: the bytes that must follow */
    unsigned char objects[GLIA_JSONSCAN_DEPTH / 8]; /* bit d: level d is an object */
} glia_jsonscan;

typedef enum { GLIA_JSONSCAN_MORE, GLIA_JSONSCAN_END, GLIA_JSONSCAN_BAD } glia_jsonscan_result;

/* Scan text [n] from *at on, and advance *at past the scanned bytes. END: *at is behind the value. BAD: the
 * byte at *at is wrong, or the nesting is deeper than GLIA_JSONSCAN_DEPTH. MORE: all bytes are right so far.
 */
glia_jsonscan_result glia_jsonscan_feed(glia_jsonscan *s, const char *text, size_t n, size_t *at);

/* True if text [n] is one JSON object, with white space around it. */
bool glia_is_json_object(const char *text, size_t n);

#endif
