/* text.c - the text functions of glia.h: ids, text, conversations. */
#include <stdlib.h>
#include <string.h>

#include "api/model.h"
#include "base/buf.h"

static glia_status need_tokenizer(const glia_model *m, glia_err *err) {
    if (m->tokenizer) return GLIA_OK;
    if (m->no_tokenizer.status) return glia_fail(err, m->no_tokenizer.status, "%s", m->no_tokenizer.msg);
    return glia_fail(err, GLIA_ERR_IO, "%s: no tokenizer.json", m->dir);
}

GLIA_API glia_status glia_tokenize(const glia_model *m, const char *text, size_t len, bool special,
                                   int32_t **ids, size_t *n, glia_err *err) {
    *ids = NULL;
    *n = 0;
    const glia_status status = need_tokenizer(m, err);
    return status ? status : glia_tokenizer_encode(m->tokenizer, text, len, special, ids, n, err);
}

/* Hand the buffer's bytes to the caller, or report that there was no memory for them. */
static glia_status give(glia_buf *b, char **text, size_t *len, glia_err *err) {
    if (len) *len = b->len;
    const size_t bytes = b->len;
    *text = glia_buf_steal(b);
    return *text ? GLIA_OK : glia_fail_nomem(err, bytes, "text");
}

GLIA_API glia_status glia_detokenize(const glia_model *m, const int32_t *ids, size_t n, bool skip_special,
                                     char **text, size_t *len, glia_err *err) {
    glia_buf b = {0};
    *text = NULL;
    const glia_status status = need_tokenizer(m, err);
    if (status) return status;
    glia_tokenizer_decode(m->tokenizer, ids, n, skip_special, &b);
    return give(&b, text, len, err);
}

GLIA_API const char *glia_token_bytes(const glia_model *m, int32_t id, size_t *len) {
    *len = 0;
    return m->tokenizer ? glia_tokenizer_bytes(m->tokenizer, id, len) : NULL;
}

GLIA_API glia_status glia_render_chat_bytes(const glia_model *m, const char *conversation,
                                            size_t conversation_len, const char *chat_template,
                                            size_t template_len, const char *now, char **text, size_t *len,
                                            glia_err *err) {
    json_error_t why;
    glia_buf b = {0};
    *text = NULL;
    *len = 0;
    json_t *root = json_loadb(conversation, conversation_len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &why);
    if (!root)
        return glia_fail(err, GLIA_ERR_FORMAT, "the conversation is not JSON: %s, byte %d", why.text,
                         why.position);
    glia_status status = glia_chat_render(m->chat, root, chat_template, template_len, now, &b, err);
    json_decref(root);
    if (!status) status = give(&b, text, len, err);
    glia_buf_free(&b);
    return status;
}

GLIA_API glia_status glia_render_chat(const glia_model *m, const char *conversation,
                                      const char *chat_template, const char *now, char **text,
                                      glia_err *err) {
    size_t len;
    glia_status status =
        glia_render_chat_bytes(m, conversation, strlen(conversation), chat_template,
                               chat_template ? strlen(chat_template) : 0, now, text, &len, err);
    if (status || strlen(*text) == len) return status;
    status =
        glia_fail(err, GLIA_ERR_UNSUPPORTED,
                  "byte %zu of the prompt is zero, which glia_render_chat_bytes() accepts", strlen(*text));
    glia_free(*text);
    *text = NULL;
    return status;
}
