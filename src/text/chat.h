/* chat.h - a model directory's chat templates, and conversations rendered by them.
 *
 * Which file wins is as in transformers 4.57: chat_template.jinja and
 * additional_chat_templates/NAME.jinja together replace "chat_template" of
 * tokenizer_config.json, a string or a list of {"name", "template"}. Of several,
 * "tool_use" renders a conversation with tools, otherwise "default". */
#ifndef GLIA_TEXT_CHAT_H
#define GLIA_TEXT_CHAT_H

#include <stdbool.h>

#include "jinja/template.h"

typedef struct glia_chat glia_chat;

/* Read and compile the templates of model directory `dir`, and its special
 * tokens. A directory without a template, or with one that does not compile, is
 * fine until something is to be rendered. On success the caller owns *out, which
 * is immutable. Errors name the file. */
glia_status glia_chat_open(glia_chat **out, const char *dir, glia_err *err);
void glia_chat_free(glia_chat *c);
bool glia_chat_has_template(const glia_chat *c);

/* Append the rendering of `conversation` to *out: a JSON object with "messages"
 * (an array of objects with a "role"), and optionally "tools" (an array of
 * objects), "documents" (likewise), "add_generation_prompt" (a boolean) and any
 * other template variable; those win over special tokens of the same name.
 * `chat_template`: NULL for the model's own, the name of one of the model's
 * several, or Jinja source. Errors: GLIA_ERR_ARGUMENT for a conversation of
 * another shape, naming the key, and those of template.h. */
glia_status glia_chat_render(const glia_chat *c, const json_t *conversation, const char *chat_template,
                             const glia_template_options *options, glia_buf *out, glia_err *err);

#endif
