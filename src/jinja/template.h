/* template.h - chat templates: Jinja2 as transformers sets it up, in a sandbox.
 *
 * A template is compiled once and may then be rendered by many threads. What is
 * covered, and what is not, stands in docs/TEMPLATES.md. A hostile template can
 * neither crash nor hang nor eat memory: every render counts its steps, depth,
 * memory and output, and all of its memory is one arena, freed at the end. */
#ifndef GLIA_JINJA_TEMPLATE_H
#define GLIA_JINJA_TEMPLATE_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

typedef struct glia_template glia_template;

/* Zero always means the default. */
typedef struct {
    const char *now;    /* strftime_now's clock, "2025-07-08T12:00:00"; NULL: local time */
    uint64_t max_steps; /* nodes evaluated, plus work done inside filters; 0: 20,000,000 */
    size_t max_memory;  /* bytes of values alive or dead in one render; 0: 256 MiB */
    size_t max_output;  /* bytes of rendered text; 0: 64 MiB */
} glia_template_options;

/* Compile `len` bytes of UTF-8. On success the caller owns *out, which is
 * immutable. Errors: GLIA_ERR_TEMPLATE "chat template, line 12: ..." for what
 * Jinja refuses, GLIA_ERR_FORMAT for invalid UTF-8 with the byte,
 * GLIA_ERR_LIMIT for a template that is too large or nested too deeply. */
glia_status glia_template_compile(glia_template **out, const char *source, size_t len, glia_err *err);
void glia_template_free(glia_template *t);

/* Append the rendered text to *out. `context` is a JSON object whose members
 * are the variables; it must not change during the call. `options` may be NULL.
 * Errors: GLIA_ERR_TEMPLATE with line, exception and message as in Jinja2 (the
 * message of raise_exception unaltered), GLIA_ERR_LIMIT for a limit reached,
 * GLIA_ERR_ARGUMENT for a `now` that is no date; *out is then as it was. */
glia_status glia_template_render(const glia_template *t, const json_t *context,
                                 const glia_template_options *options, glia_buf *out, glia_err *err);

#endif
