/* chat.h - reads a model directory's chat templates and renders conversations.
 *
 * The files are those of transformers 5: chat_template.jinja and
 * additional_chat_templates/NAME.jinja, if any exists, replace "chat_template" of
 * tokenizer_config.json, which is a string, a list of {"name", "template"}, or an
 * object from name to template. Of
 * several templates, "tool_use" renders a conversation that has tools and
 * "default" any other. */
#ifndef GLIA_TEXT_CHAT_H
#define GLIA_TEXT_CHAT_H

#include <stdbool.h>

#include "jinja/template.h"

typedef struct glia_chat glia_chat;

/* Read the special tokens and compile the templates of model directory `dir`. A
 * missing template, or a template that does not compile, is reported by
 * glia_chat_render() and not here. On success the caller owns *out, which is
 * immutable: threads may share it. Errors: GLIA_ERR_IO, GLIA_ERR_FORMAT,
 * GLIA_ERR_LIMIT, GLIA_ERR_NOMEM; the message names the file. */
glia_status glia_chat_open(glia_chat **out, const char *dir, glia_err *err);
void glia_chat_free(glia_chat *c);
bool glia_chat_has_template(const glia_chat *c);

/* Append the rendered conversation to *out.
 *
 * `conversation` is a JSON object. It has "messages" (an array of objects with a
 * "role"). It may have "tools" and "documents" (arrays of objects),
 * "add_generation_prompt" (a boolean) and other template variables. A variable
 * wins over a special token of the same name.
 * `chat_template` is NULL for the model's default, the name of one of the model's
 * templates, or Jinja source; it has template_len bytes. `now` is what strftime_now sees, as template.h says;
 * NULL: the clock.
 * Errors: GLIA_ERR_ARGUMENT if the conversation has another shape (the message
 * names the key), GLIA_ERR_UNSUPPORTED if there is no template, and the errors of
 * template.h. */
glia_status glia_chat_render(const glia_chat *c, const json_t *conversation, const char *chat_template,
                             size_t template_len, const char *now, glia_buf *out, glia_err *err);

#endif
