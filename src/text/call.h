/* call.h - reads one tool call: {"name": ..., "arguments": {...}}. */
#ifndef GLIA_TEXT_CALL_H
#define GLIA_TEXT_CALL_H

#include "base/buf.h"

typedef struct {
    glia_buf name;      /* decoded */
    glia_buf arguments; /* JSON text */
} glia_call;

/* Read the valid JSON object that begins at `text`. "parameters" may stand for "arguments". The arguments are
 * the text as the model wrote it; "{}" if they are absent or null; the text in a string that holds an object.
 * The last of several equal keys counts. Returns false if "name" is not a string. Memory that ran out is
 * `oom` of a buffer. The caller frees *call with glia_call_free() in any case. */
bool glia_call_read(glia_call *call, const char *text);
void glia_call_free(glia_call *call);

#endif
