/* app.h - what the files of the server share: the app, an answer in the making, and its wire formats. */
#ifndef GLIA_SERVER_APP_H
#define GLIA_SERVER_APP_H

#include <stdatomic.h>
#include <time.h>

#include "server/events.h"
#include "server/http.h"
#include "server/metrics.h"
#include "server/params.h"
#include "server/server.h"
#include "server/work.h"

typedef struct server_answer server_answer;
typedef struct server_pool server_pool;
typedef struct server_app server_app;
typedef struct server_listener server_listener;

/* Who gets the events of a sequence, on the network thread: the first member of its owner, which is the user
 * data of server_on_engine_event(). */
struct server_listener {
    void (*tell)(server_listener *l, const glia_event *e);
    server_app *app;
};

/* All but `engine`, `events` and `stopping` is the network thread's. Workers read what does not change:
 * `options`, `model`, `engine`, `info`, `defaults`, `sequence_length`, `text_arguments`. */
struct server_app {
    const server_options *options;
    const glia_model *model;
    glia_engine *engine;
    server_http *http;
    server_work work;
    server_events events;
    atomic_bool stopping; /* the engine thread shall end */
    atomic_bool dead;     /* no step can follow */
    glia_model_info info;
    glia_sampling defaults;
    int sequence_length;
    time_t started;
    server_answer *answers; /* all that are in the making */
    server_pool *pools;     /* the same */
    size_t n_sequences;     /* submitted and not ended */
    size_t n_jobs;          /* requests that workers prepare */
    int signals;            /* how many came; after the first one requests are refused */
    double now;             /* seconds, when the network thread was woken */
    server_metrics metrics;
    server_steps steps;
    bool no_workers;     /* memory ran out at the beginning */
    bool cut;            /* requests that run are aborted by the shutdown */
    bool text_arguments; /* the chat template takes the arguments of a tool call as text */
};

/* How a kind of POST request is answered. */
typedef struct {
    /* Worker thread: check and prepare the request. Returns what begin() takes; fills *problem instead. Of a
     * problem it may return something, which drop() gets. */
    void *(*prepare)(const server_app *app, const server_params *params, unsigned kind,
                     server_problem *problem);
    /* Network thread: take `prepared` over, and reply now or later, or fill *problem. The body of the request
     * is valid until this function returns. */
    void (*begin)(server_app *app, server_exchange *x, void *prepared, server_problem *problem);
    /* Network thread, instead of begin(). */
    void (*drop)(void *prepared);
} server_post;

/* A number that names the client, of SERVER_FAIR; 0 of other policies. */
uint64_t server_client(const server_app *app, const server_exchange *x);
/* Refuse `more` sequences beside those that are queued if the limit does not allow them. */
void server_check_queue(const server_app *app, size_t queued, size_t more, server_problem *problem);
void server_shutting_down(server_problem *problem);

/* ---- prompts ------------------------------------------------------------------ */

typedef struct {
    int32_t *ids; /* [n] owned */
    size_t n;
    char *text; /* [len] for echo, from the library; NULL: not known */
    size_t len;
    bool opens_thinking; /* the answer begins with thinking */
} server_prompt;

/* Tokenize. Problems go to *problem. The caller frees prompt->ids. */
void server_tokenize(server_prompt *prompt, const server_app *app, const char *text, size_t len, bool special,
                     server_problem *problem);
/* Whether the template renders the arguments of an earlier tool call that are text as they are. Then history
 * has the bytes that the model wrote, and the prefix cache has them. */
bool server_takes_text_arguments(const server_app *app);
/* Render and tokenize the conversation of a chat or of /tokenize. Problems go to *problem. The caller frees
 * prompt->ids. */
void server_chat_prompt(server_prompt *prompt, const server_app *app, const server_params *params,
                        server_problem *problem);
/* A problem from a failing call of the library. */
void server_library_problem(server_problem *problem, const glia_err *err);

/* ---- sampling ----------------------------------------------------------------- */

/* Sampling as a request says, with lists that it owns. */
typedef struct {
    glia_sampling s;
    bool seeded;
    int32_t *stop_ids, *logprob_ids, *allowed_ids;
    glia_token_list *bad_words;
    size_t n_bad_words;
    const char **stop;
    glia_logit_bias *bias;
} server_sampling;

/* Problems go to *problem. Release *s with server_sampling_free(). */
void server_sampling_read(server_sampling *s, const server_app *app, const server_params *params,
                          unsigned kind, server_problem *problem);
void server_sampling_free(server_sampling *s);
/* Set s->priority and s->cache_salt, which is the body's. Problems go to *problem. */
void server_schedule_read(glia_sampling *s, const server_app *app, const server_params *params,
                          server_problem *problem);

/* ---- an answer ------------------------------------------------------------------ */

enum { SERVER_LOGPROB_LISTS = 4 };

/* One sequence: one element of "choices". */
typedef struct {
    server_listener listener; /* first */
    server_answer *of;
    int index;
    uint64_t id;     /* of the engine's request; 0: not submitted */
    bool begun;      /* the first event has come */
    bool told_first; /* the client knows of the choice */
    bool ended;
    int tokens;
    double began, first, told;      /* seconds: the first step, when its first and its last token came */
    int32_t last;                   /* the token before; -1: none */
    int sent;                       /* tokens up to the last piece */
    size_t characters;              /* of the tokens so far, for text_offset */
    glia_parser *parser;            /* NULL: all text is content */
    server_text content, reasoning; /* of a stream: since the last piece */
    server_text calls;              /* elements of "tool_calls" */
    int n_calls, reasoning_tokens;
    server_text logprobs[SERVER_LOGPROB_LISTS]; /* elements of JSON arrays, as the wire format says */
    server_text prompt_logprobs;                /* elements of a JSON array */
    server_text ids;                            /* of tokens, as the parts */
    glia_finish finish;
    server_text stop_reason; /* a string that stopped it; empty: none */
} server_choice;

/* A wire format: how answers are written. */
typedef struct {
    const char *id_prefix;
    bool parses; /* thinking and tool calls are parsed out of the text */
    /* Prepare the answer, before anything is written; NULL: nothing to prepare. */
    void (*begin)(server_answer *a);
    /* Append the logprobs of the event's token to c->logprobs. */
    void (*add_logprob)(server_choice *c, const glia_event *e);
    /* Of a stream. Each function appends whole events to a->out: the first ones of a choice, the parts and
     * log-probabilities since the last piece, the end of a choice with c->finish, the end of the answer, and
     * the end of an answer that fails. */
    void (*first)(server_choice *c);
    void (*piece)(server_choice *c);
    void (*last)(server_choice *c);
    void (*end)(server_answer *a);
    void (*failed)(server_answer *a, const server_problem *problem);
    /* Append the whole answer to a->out. */
    void (*whole)(server_answer *a);
} server_wire;

extern const server_wire server_wire_chat, server_wire_completion, server_wire_responses,
    server_wire_messages;

/* The parts of a streamed answer as items or blocks, one after the other; at most one is open. */
typedef enum { SERVER_NO_ITEM, SERVER_REASONING, SERVER_MESSAGE } server_item_kind;
typedef struct {
    server_item_kind open;
    int index;           /* of the open item, or of the next one */
    int sequence;        /* number of the next event */
    server_text id;      /* of the open item */
    server_text text;    /* of the open item so far */
    server_text lists;   /* its log-probabilities: elements of a JSON array */
    server_text done;    /* finished items: elements of a JSON array */
    server_text pending; /* elements of a JSON array: logprobs of tokens whose text is not told yet */
} server_items;

/* The tools of a request. */
typedef struct {
    glia_tools choice;
    const char *name; /* of GLIA_TOOLS_NAMED; the body's */
} server_tools;

struct server_answer {
    server_app *app;
    server_exchange *x; /* NULL: nobody waits for the answer any more */
    const server_wire *wire;
    server_answer *next, **before;
    bool stream, include_usage, running_usage, include_reasoning, logprobs, echo, prompt_logprobs, token_ids;
    bool tokens_as_ids; /* log-probabilities name tokens "token_id:N" */
    bool only_prompts;  /* max_tokens 0 with echo: the token that the engine draws is dropped */
    int top;            /* logprobs of the most likely tokens */
    int interval;       /* tokens of a piece of a stream; the first and the last piece may have fewer */
    server_tools tools;
    glia_constraint *constraint; /* NULL: none */
    server_sampling sampling;    /* its texts are valid until all sequences are submitted */
    json_t *asked;               /* the body as it came */
    const char *model;           /* the name that the request says, else the served one */
    server_text id, head, out;
    time_t created;
    server_items items;
    server_prompt *prompts; /* [n_prompts] each has `n` choices in a row */
    int n_prompts, n;
    size_t prompt_tokens, cached_tokens;
    double arrived, submitted; /* seconds */
    int n_choices, n_left;
    server_choice *choices;
};

/* Answers requests FOR_CHAT, FOR_COMPLETION, FOR_RESPONSES and FOR_MESSAGES by events. The params are those
 * of a chat, except FOR_COMPLETION. */
extern const server_post server_post_answer;
/* Tokens that were generated, of all choices. */
int server_tokens_of(const server_answer *a);
int server_reasoning_tokens_of(const server_answer *a);
/* The calls of a choice since the last piece as a JSON array of OpenAI's objects; NULL: none. The caller owns
 * it. */
json_t *server_calls_of(const server_choice *c);
/* Append `prefix` and 24 random hexadecimal digits. */
void server_add_id(server_text *out, const char *prefix);

/* A glia_event_fn whose user data is a server_listener. */
void server_on_engine_event(void *user, const glia_event *e);
/* Abort all answers. */
void server_answer_abort_all(server_app *app);

/* ---- other interfaces as chats ---------------------------------------------------- */

/* The body of a chat that asks for the same as a request FOR_RESPONSES, FOR_MESSAGES or FOR_COUNT. Problems
 * go to *problem. The caller owns it. NULL: no memory. */
typedef json_t *server_translation(const server_params *params, server_problem *problem);
server_translation server_responses_chat, server_messages_chat;

/* ---- embeddings, reranking, scores ------------------------------------------------ */

/* Answers requests FOR_EMBED, FOR_RERANK and FOR_SCORE by events. */
extern const server_post server_post_pool;
/* Abort all of them. */
void server_pool_abort_all(server_app *app);

/* ---- LoRA adapters ------------------------------------------------------------------ */

/* Answers requests FOR_LORA_LOAD and FOR_LORA_UNLOAD. */
extern const server_post server_post_lora;
bool server_has_adapter(const server_app *app, const char *name);
/* Append the model and the adapters as elements of a list. `id`: only that one; a slash at its end makes no
 * difference; NULL: all. */
void server_list_models(server_text *out, const server_app *app, const char *id);

/* ---- parts -------------------------------------------------------------------------- */

/* Check "tools" and "tool_choice". */
void server_tools_read(server_tools *out, const server_params *params, server_problem *problem);
/* Say what the constraint (NULL: none) does not enforce, in the reply's header X-Constraint-Warning. */
void server_constraint_warn(server_exchange *x, const glia_constraint *constraint);
/* The constraint that a request asks for; *out NULL: none. The caller frees it. Problems go to *problem. */
void server_constraint_read(glia_constraint **out, const server_app *app, const server_params *params,
                            const server_tools *tools, server_problem *problem);
/* Begin to parse an answer. Returns false if memory ran out. */
bool server_parts_begin(server_choice *c);
/* Add an event's text to the content, reasoning and calls. */
void server_parts_add(server_choice *c, const glia_event *e);
/* The client does not want what comes next: reasoning. */
bool server_parts_hidden(const server_choice *c);

/* Append {token id: {logprob, rank, decoded_token}} of a prompt token to c->prompt_logprobs. */
void server_add_prompt_logprob(server_choice *c, const glia_event *e);

/* ---- routes --------------------------------------------------------------------- */

void server_handle(server_app *app, server_exchange *x);

enum { SERVER_STREAMS = FOR_CHAT | FOR_COMPLETION | FOR_RESPONSES | FOR_MESSAGES };

typedef struct {
    const char *path;
    unsigned kind;     /* of POST requests; 0: GET */
    bool open;         /* needs no key */
    const char *media; /* of a reply that is not JSON; NULL: JSON, or nothing */
} server_route;
/* The i-th route; false behind the last. */
bool server_route_at(size_t i, server_route *out);
/* Reply to GET /openapi.json. */
void server_get_openapi(server_app *app, server_exchange *x);
/* Write the line of the log. `user`: the app. */
void server_log(void *user, const server_log_entry *e);

#endif
