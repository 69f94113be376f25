/* run.c - `glia run`: one answer, or a chat that keeps its history.
 *
 * Ctrl-C ends the answer, not the program: the handler sets a flag, and the next step
 * aborts the running request. At the prompt a second Ctrl-C in a row, or Ctrl-D, ends
 * the chat. The history passes the thinking of earlier answers to the template as
 * reasoning_content, and the template decides whether the model sees it. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "cli/answer.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "cli/show.h"
#include "cli/speculation.h"
#include "cli/terminal.h"

typedef struct {
    const cli_args *args;
    const glia_model *model;
    glia_constraint *constraint; /* NULL: none */
    glia_engine *engine;
    char *template; /* NULL: the model's own */
    size_t template_len;
    bool raw;
    bool terminal; /* messages are typed at a terminal, by terminal.h */
    char *adapter; /* the name of /lora or --lora; NULL: the model alone */
    int think;     /* enable_thinking; -1 leaves it to the template */
    json_t *messages;
    cli_answer answer;
    cli_show show;
} chat;

/* State that the signal handler uses. */
static volatile sig_atomic_t interrupted;
static pthread_t main_thread;

static void on_interrupt(int signal_number) {
    if (!pthread_equal(pthread_self(), main_thread)) { /* the signal must interrupt its getline() */
        pthread_kill(main_thread, signal_number);
        return;
    }
    interrupted = 1;
}

static void on_event(void *user, const glia_event *e) {
    chat *c = user;
    cli_answer_add(&c->answer, e);
    if (!c->args->given[F_JSON]) cli_show_text(&c->show, e->text, e->text_len, e->thinking);
}

/* Render {"messages", "add_generation_prompt", "enable_thinking"?} of the chat so far. */
static glia_status render(const chat *c, char **text, size_t *len, glia_err *err) {
    json_t *root = json_pack("{s:O, s:b}", "messages", c->messages, "add_generation_prompt", 1);
    if (c->think >= 0) json_object_set_new(root, "enable_thinking", json_boolean(c->think));
    char *conversation = json_dumps(root, JSON_COMPACT);
    json_decref(root);
    if (!conversation) return glia_fail(err, GLIA_ERR_FORMAT, "the conversation is not UTF-8");
    const glia_status status =
        glia_render_chat_bytes(c->model, conversation, strlen(conversation), c->template, c->template_len,
                               c->args->text[F_NOW], text, len, err);
    free(conversation);
    return status;
}

/* Let the model continue `text`, into c->answer and onto the terminal. */
static glia_status complete(chat *c, const char *text, size_t len, bool special, const glia_sampling *s,
                            size_t *n_prompt, glia_err *err) {
    int32_t *ids = NULL;
    uint64_t request;
    size_t left = 1;
    glia_status status = glia_tokenize(c->model, text, len, special, &ids, n_prompt, err);
    cli_answer_begin(&c->answer, s->logprobs);
    cli_show_begin(&c->show, c->raw);
    interrupted = 0;
    if (!status) status = glia_engine_submit(c->engine, ids, *n_prompt, s, on_event, c, &request, err);
    glia_free(ids);
    if (status) return status;
    while (!status && left) {
        if (interrupted) glia_request_abort(c->engine, request);
        status = glia_engine_step(c->engine, &left, err);
    }
    if (!c->args->given[F_JSON]) cli_show_end(&c->show);
    if (!status && c->answer.oom) status = glia_fail_nomem(err, c->answer.ids.len, "an answer");
    return status;
}

/* The text without newlines at its ends. */
static json_t *trimmed(const glia_buf *b) {
    size_t from = 0, to = b->len;
    while (from < to && b->data[from] == '\n') from++;
    while (to > from && b->data[to - 1] == '\n') to--;
    return json_stringn(to > from ? b->data + from : "", to - from);
}

static json_t *message_of(const cli_answer *a) {
    json_t *message = json_pack("{s:s, s:o}", "role", "assistant", "content", trimmed(&a->text));
    if (a->reasoning.len) json_object_set_new(message, "reasoning_content", trimmed(&a->reasoning));
    return message;
}

static void tell_times(const chat *c, size_t n_prompt, uint64_t cached, const glia_draft_counts *before,
                       const glia_engine_stats *after) {
    enum { ENOUGH = 16 }; /* tokens; the speed of a shorter answer is chance */
    const cli_answer *a = &c->answer;
    const size_t n = cli_answer_tokens(a);
    const bool colour = isatty(STDERR_FILENO) && c->show.terminal;
    fprintf(stderr, "%s[%zu prompt tokens, %llu cached; ", colour ? "\033[2m" : "", n_prompt,
            (unsigned long long)cached);
    if (n > 0) fprintf(stderr, "first token after %.2f s; ", a->first - a->submitted);
    fprintf(stderr, "%zu tokens", n);
    if (n >= ENOUGH) fprintf(stderr, ", %.1f tokens/s from the first to the last", cli_answer_rate(a));
    if (after->draft_method) fputs("; ", stderr);
    cli_tell_speculation(stderr, before, after);
    fprintf(stderr, "; %s]%s\n", cli_finish_name(a->finish), colour ? "\033[0m" : "");
}

static void print_json(const chat *c, size_t n_prompt, uint64_t cached, const glia_sampling *s,
                       const glia_engine_stats *stats) {
    const cli_answer *a = &c->answer;
    json_t *root = cli_answer_json(a), *message = message_of(a);
    json_object_update(root, message);
    json_object_del(root, "role");
    json_decref(message);
    json_object_set_new(root, "usage",
                        json_pack("{s:I, s:I, s:I}", "prompt_tokens", (json_int_t)n_prompt, "cached_tokens",
                                  (json_int_t)cached, "output_tokens", (json_int_t)cli_answer_tokens(a)));
    json_object_set_new(root, "timing",
                        json_pack("{s:o, s:o}", "ttft_s",
                                  a->ids.len ? cli_json_real(a->first - a->submitted) : json_null(),
                                  "tokens_per_s", cli_json_real(cli_answer_rate(a))));
    cli_add_speculation(root, stats);
    if (s->do_sample) json_object_set_new(root, "seed", json_integer((json_int_t)s->seed));
    cli_print_json(root);
}

/* Answer one message of the user. If that fails, the message is removed from the history. */
static glia_status turn(chat *c, const char *said, size_t said_len, glia_err *err) {
    glia_sampling s;
    glia_engine_stats before, after;
    char *text = NULL;
    size_t n_prompt = 0, len = said_len;
    glia_status status = GLIA_OK;
    cli_sampling(c->args, c->model, &s);
    s.constraint = c->constraint;
    s.may_think = !c->raw && c->think != 0;
    s.raw_text = c->raw;
    s.adapter = c->adapter;
    if (c->args->given[F_VERBOSE]) cli_tell_model(c->model, c->engine, &s);
    json_t *message = json_pack("{s:s, s:s%}", "role", "user", "content", said, said_len);
    if (!message) return glia_fail(err, GLIA_ERR_FORMAT, "the prompt is not UTF-8");
    const size_t place = json_array_size(c->messages);
    json_array_append_new(c->messages, message);
    if (!c->raw) status = render(c, &text, &len, err);
    glia_engine_get_stats(c->engine, &before);
    if (!status) status = complete(c, c->raw ? said : text, len, c->raw, &s, &n_prompt, err);
    glia_engine_get_stats(c->engine, &after);
    glia_free(text);
    if (!status) {
        const uint64_t cached = after.cached_tokens - before.cached_tokens;
        json_array_append_new(c->messages, message_of(&c->answer));
        if (c->args->given[F_JSON])
            print_json(c, n_prompt, cached, &s, &after);
        else
            tell_times(c, n_prompt, cached, &before.speculation, &after);
    } else {
        json_array_remove(c->messages, place);
    }
    cli_answer_free(&c->answer);
    return status;
}

static void clear(chat *c) {
    json_array_clear(c->messages);
    const char *system = c->args->text[F_SYSTEM];
    if (system)
        json_array_append_new(c->messages, json_pack("{s:s, s:s}", "role", "system", "content", system));
}

/* Answer with the adapter of this name from now on; NULL or "": with the model alone. */
static void use_adapter(chat *c, const char *name) {
    free(c->adapter);
    c->adapter = name && *name ? strdup(name) : NULL;
}

/* /lora NAME, or /lora. */
static void choose_adapter(chat *c, const char *name) {
    char *list = NULL;
    glia_engine_list_adapters(c->engine, &list, NULL);
    json_t *all = list ? json_loads(list, 0, NULL) : NULL, *one;
    size_t i;
    bool found = !*name;
    json_array_foreach(all, i, one) found |=
        strcmp(json_string_value(json_object_get(one, "name")), name) == 0;
    if (found) {
        use_adapter(c, name);
        fprintf(stderr,
                *name ? "the next answers are adapter %s's\n" : "the next answers are the model's own%s\n",
                name);
    } else {
        fprintf(stderr, "there is no adapter %s; %s", name,
                json_array_size(all) ? "there are:" : "none is loaded");
        json_array_foreach(all, i, one)
            fprintf(stderr, " %s", json_string_value(json_object_get(one, "name")));
        fputc('\n', stderr);
    }
    json_decref(all);
    glia_free(list);
}

/* Run a line that is a command of the chat. Returns 0 if it is none, 1 if it was run, 2 to leave the chat. */
static int obey(chat *c, const char *line) {
    if (strcmp(line, "/exit") == 0 || strcmp(line, "/quit") == 0) return 2;
    if (strcmp(line, "/clear") == 0) {
        clear(c);
        fputs("the history is empty\n", stderr);
    } else if (strcmp(line, "/think") == 0 || strcmp(line, "/no_think") == 0) {
        c->think = line[1] == 't';
        fprintf(stderr, "the next answers are asked for %s thinking\n", c->think ? "with" : "without");
    } else if (strcmp(line, "/lora") == 0 || strncmp(line, "/lora ", 6) == 0) {
        choose_adapter(c, line + 5 + strspn(line + 5, " "));
    } else if (strcmp(line, "/help") == 0) {
        fputs("/clear        forget the history\n"
              "/think        ask for thinking; /no_think for none\n"
              "/lora NAME    answer with this adapter; /lora with the model alone\n"
              "/exit, /quit  leave, as Ctrl-D does\n"
              "A line that ends in a backslash continues in the next one. Ctrl-C stops an answer.\n",
              stderr);
    } else if (line[0] == '/' && !strpbrk(line, " \t\n")) {
        fprintf(stderr, "there is no command %s; /help lists them\n", line);
    } else {
        return 0;
    }
    return 1;
}

/* Append the next line of standard input, without its newline. */
static cli_line_status read_line(const chat *c, glia_buf *line) {
    if (c->terminal) return cli_terminal_line(line, &interrupted);
    char *text = NULL;
    size_t cap = 0;
    const ssize_t n = getline(&text, &cap, stdin);
    if (n > 0) glia_buf_add(line, text, (size_t)n - (text[n - 1] == '\n'));
    free(text);
    if (n >= 0) return CLI_LINE;
    if (interrupted) clearerr(stdin);
    return interrupted ? CLI_LINE_INTERRUPTED : CLI_LINE_END;
}

/* Read one message. A line that ends in a backslash continues in the next line.
 * Returns false at the end of the input, or after two Ctrl-C in a row. */
static bool read_message(const chat *c, glia_buf *message) {
    bool warned = false, more = true;
    message->len = 0;
    while (more || message->len == 0) { /* skip empty lines */
        const size_t before = message->len;
        interrupted = 0;
        if (c->terminal) fputs(before ? ". " : "> ", stderr);
        const cli_line_status status = read_line(c, message);
        if (status == CLI_LINE_INTERRUPTED && !warned) {
            fputs("\nCtrl-C again or Ctrl-D ends the chat\n", stderr);
            warned = true;
            message->len = 0;
            continue;
        }
        if (status != CLI_LINE) {
            if (c->terminal) fputc('\n', stderr);
            message->len = status == CLI_LINE_INTERRUPTED ? 0 : before;
            break;
        }
        warned = false;
        more = message->len > before && message->data[message->len - 1] == '\\';
        if (more) message->data[message->len - 1] = '\n';
    }
    return message->len > 0 && !message->oom;
}

static int interactive(chat *c) {
    glia_buf message = {0};
    int status = EXIT_OK;
    if (c->terminal) fputs("/help lists commands; Ctrl-D ends\n", stderr);
    for (bool more = true; more && read_message(c, &message);) {
        glia_err err = {0};
        const int obeyed = strlen(message.data) == message.len ? obey(c, message.data) : 0;
        more = obeyed != 2;
        if (obeyed || !turn(c, message.data, message.len, &err)) continue;
        status = cli_failed(&err);
        if (err.status == GLIA_ERR_LIMIT || err.status == GLIA_ERR_ARGUMENT)
            fputs("/clear makes room by forgetting the history\n", stderr);
    }
    glia_err err = {0};
    if (message.oom)
        glia_fail_nomem(&err, message.len, "a message");
    else if (ferror(stdin))
        glia_fail(&err, GLIA_ERR_IO, "standard input: %s", strerror(errno));
    glia_buf_free(&message);
    if (err.status) return cli_failed(&err);
    return c->terminal ? EXIT_OK : status; /* at a terminal the user has seen the error */
}

static int converse(chat *c, const glia_engine_options *o) {
    glia_err err = {0};
    glia_model_info info;
    glia_model_get_info(c->model, &info);
    c->raw = c->args->given[F_RAW];
    if (!info.has_tokenizer)
        return glia_fail(&err, GLIA_ERR_UNSUPPORTED,
                         "%s has no tokenizer.json that Glia reads, which run needs", c->args->model),
               cli_failed(&err);
    if (!c->raw && !info.has_chat_template && !c->template) {
        fputs("glia: warning: the model has no chat template, so the prompt is continued as it stands\n",
              stderr);
        c->raw = true;
    }
    const int refused = cli_constraint(&c->constraint, c->args, c->model);
    if (refused) return refused;
    if (glia_engine_create(&c->engine, c->model, o, &err)) return cli_failed(&err);
    main_thread = pthread_self();
    struct sigaction action = {.sa_handler = on_interrupt}; /* no SA_RESTART: getline returns */
    sigaction(SIGINT, &action, NULL);
    clear(c);
    if (!c->args->given[F_PROMPT]) return interactive(c);
    const char *said = c->args->text[F_PROMPT];
    const int status = turn(c, said, strlen(said), &err) ? cli_failed(&err) : EXIT_OK;
    return !status && interrupted ? EXIT_INTERRUPTED : status;
}

int cli_run(const cli_args *args) {
    glia_options o;
    glia_engine_options engine;
    glia_model *m = NULL;
    chat c = {.args = args, .think = args->given[F_NO_THINK] ? 0 : -1};
    if (args->given[F_JSON] && !args->given[F_PROMPT]) return cli_usage("--json needs --prompt TEXT");
    if (args->given[F_LOGPROBS] && !args->given[F_JSON]) return cli_usage("--logprobs needs --json");
    if (args->given[F_RAW] &&
        (args->given[F_SYSTEM] || args->given[F_CHAT_TEMPLATE] || args->given[F_NO_THINK]))
        return cli_usage("--raw uses no template, so --%s has no meaning with it",
                         args->given[F_SYSTEM]          ? "system"
                         : args->given[F_CHAT_TEMPLATE] ? "chat-template"
                                                        : "no-think");
    cli_options(args, &o, &engine);
    if (cli_follows()) return cli_follow(args, &o);
    c.terminal = !args->given[F_PROMPT] && cli_terminal_begin(); /* now: a line may be typed while loading */
    int status = cli_read_template(&c.template, &c.template_len, args);
    if (!status) status = cli_load(&m, args, &o, false);
    c.messages = json_array();
    use_adapter(&c, args->text[F_LORA]);
    c.model = m;
    if (!status) status = converse(&c, &engine);
    glia_engine_free(c.engine);
    glia_constraint_free(c.constraint);
    glia_model_free(m);
    json_decref(c.messages);
    free(c.template);
    free(c.adapter);
    if (c.terminal) cli_terminal_end();
    return status;
}
