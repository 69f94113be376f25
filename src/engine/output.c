/* output.c - see output.h. */
#include "engine/output.h"

#include <string.h>

size_t glia_output_room(const glia_tokenizer *t, const char *const *stop, size_t n_stop) {
    size_t longest = 0;
    for (size_t i = 0; i < n_stop; i++) longest = strlen(stop[i]) > longest ? strlen(stop[i]) : longest;
    return longest + glia_detok_room(t) + 3; /* held text, a token, the end of an incomplete character */
}

void glia_output_begin(glia_output *o, const glia_tokenizer *t, bool thinking) {
    glia_detok_init(&o->detok, t, !o->keep_special);
    glia_parse_init(&o->parse, thinking);
    o->held = 0;
    o->stopped_by = NULL;
}

/* The longest stop string that ends at text[end], or NULL. */
static const char *stop_ending_at(const glia_output *o, size_t end) {
    const char *found = NULL;
    for (size_t i = 0; i < o->n_stop; i++) {
        const size_t n = strlen(o->stop[i]);
        if (n <= end && !memcmp(o->text + end - n, o->stop[i], n) && (!found || n > strlen(found)))
            found = o->stop[i];
    }
    return found;
}

/* Bytes at the end that may be the beginning of a stop string. */
static size_t held_back(const glia_output *o, size_t len) {
    size_t most = 0;
    for (size_t i = 0; i < o->n_stop; i++) {
        size_t n = strlen(o->stop[i]) - 1;
        if (n > len) n = len;
        while (n > most && memcmp(o->text + len - n, o->stop[i], n) != 0) n--;
        if (n > most) most = n;
    }
    return most;
}

bool glia_output_push(glia_output *o, int32_t token, bool may_stop, bool last, glia_piece_fn *emit,
                      void *user) {
    size_t len = o->held;
    if (token >= 0) len += glia_detok_push(&o->detok, token, o->text + len);
    if (last) len += glia_detok_finish(&o->detok, o->text + len);
    for (size_t end = o->held + 1; may_stop && end <= len && !o->stopped_by; end++) {
        o->stopped_by = stop_ending_at(o, end);
        if (o->stopped_by) len = o->include_stop ? end : end - strlen(o->stopped_by);
    }
    last |= o->stopped_by != NULL;
    o->held = last ? 0 : held_back(o, len);
    len -= o->held;
    if (o->raw && len) emit(user, GLIA_PIECE_CONTENT, o->text, len);
    if (!o->raw) {
        if (len) glia_parse_push(&o->parse, o->text, len, emit, user);
        if (last) glia_parse_end(&o->parse, emit, user);
    }
    memmove(o->text, o->text + len, o->held);
    return o->stopped_by != NULL;
}
