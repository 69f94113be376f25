/* template.h - chat templates: Jinja2 as transformers configures it, in a sandbox.
 *
 * Compile a template once; then any number of threads may render it.
 * docs/TEMPLATES.md lists what is supported. A hostile template can neither crash
 * nor hang nor exhaust memory: every render counts its steps, depth, memory and
 * output, and all its memory is one arena, freed at the end. No call here needs more
 * than 160 kB of stack, sanitizers aside. */
#ifndef GLIA_JINJA_TEMPLATE_H
#define GLIA_JINJA_TEMPLATE_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

typedef struct glia_template glia_template;

/* Zero means the default. */
typedef struct {
    const char *now;    /* the time for strftime_now, as "2025-07-08T12:00:00"; NULL: the local time */
    uint64_t max_steps; /* nodes evaluated plus work inside filters; 0: 20,000,000 */
    size_t max_memory;  /* bytes of the render's arena; 0: 256 MiB */
    size_t max_output;  /* bytes of rendered text; 0: 64 MiB */
} glia_template_options;

/* Compile `len` bytes of UTF-8. On success the caller owns *out, which is
 * immutable: threads may share it. Errors: GLIA_ERR_TEMPLATE "chat template, line
 * 12: ..." if Jinja refuses the template, GLIA_ERR_FORMAT with the byte of invalid
 * UTF-8, GLIA_ERR_LIMIT if the template is too large or nested too deeply,
 * GLIA_ERR_NOMEM. */
glia_status glia_template_compile(glia_template **out, const char *source, size_t len, glia_err *err);
void glia_template_free(glia_template *t);

/* Append the rendered text to *out. `context` is a JSON object whose members are
 * the variables; it must not change during the call. `options` may be NULL. On
 * failure *out is unchanged. Errors: GLIA_ERR_TEMPLATE with line, exception and
 * message as in Jinja2 (a raise_exception message is unaltered), GLIA_ERR_LIMIT if
 * a limit is reached, GLIA_ERR_ARGUMENT if `now` is not a date, GLIA_ERR_NOMEM. */
glia_status glia_template_render(const glia_template *t, const json_t *context,
                                 const glia_template_options *options, glia_buf *out, glia_err *err);

#endif
