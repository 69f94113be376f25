/* fuzz_request.c - any bytes as the body of a request of each kind: its fields, and the chat that Responses
 * and Messages become. A refusal has a status of the client and a short message; what is accepted can be read
 * as a chat. */
#include <stdlib.h>
#include <string.h>

#include "server/app.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static void require(bool true_thing) {
    if (!true_thing) abort();
}

/* What replies to a client is not linked. */
const char *server_path(const server_exchange *x) { return (const char *)x; }
void server_set_header(server_exchange *x, const char *name, const char *value) {
    (void)x, (void)name, (void)value;
}
void server_reply(server_exchange *x, int status, const char *type, const char *body, size_t len) {
    (void)x, (void)type;
    json_t *root = json_loadb(body, len, 0, NULL);
    require(status == 400 && root && len < 8000);
    json_decref(root);
}

static void refuse(server_problem *problem, const char *path) {
    char text[20];
    strcpy(text, path);
    server_reply_problem((server_exchange *)(void *)text, problem);
}

static void read_kind(json_t *body, unsigned kind) {
    server_problem problem = {0};
    server_text unknown = {0};
    server_params params;
    json_t *chat = NULL;
    server_params_read(&params, body, kind, &problem, &unknown);
    require(unknown.len < 200);
    if (!problem.status && kind == FOR_RESPONSES) chat = server_responses_chat(&params, &problem);
    if (!problem.status && kind & (FOR_MESSAGES | FOR_COUNT)) chat = server_messages_chat(&params, &problem);
    if (chat && !problem.status) {
        const json_t *messages = json_object_get(chat, "messages");
        for (size_t i = 0; i < json_array_size(messages); i++)
            require(json_is_string(json_object_get(json_array_get(messages, i), "role")));
        server_params_read(&params, chat, FOR_CHAT, &problem, &unknown);
        char *text = json_dumps(chat, JSON_COMPACT);
        require(text);
        free(text);
    }
    if (problem.status) refuse(&problem, kind & (FOR_MESSAGES | FOR_COUNT) ? "/v1/messages" : "/v1/other");
    server_problem_free(&problem);
    server_text_free(&unknown);
    json_decref(chat);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size) {
    json_t *body = json_loadb((const char *)data, size, JSON_ALLOW_NUL, NULL);
    for (unsigned kind = FOR_CHAT; json_is_object(body) && kind <= FOR_COUNT; kind <<= 1)
        read_kind(body, kind);
    json_decref(body);
    return 0;
}
