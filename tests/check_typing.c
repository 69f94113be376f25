/* check_typing.c - messages of `glia run`: typed at a terminal, or through a pipe. */
#define _GNU_SOURCE
#include "cli.h"

#include <pty.h>
#include <termios.h>
#include <utmp.h>

enum { LONG = 6000 }; /* more than the 4,095 bytes of a line mode */
static char seen[1 << 20];

/* The prompt tokens of the first answer that `text` reports; -1: none. */
static int prompt_tokens(const char *text) {
    const char *at = strstr(text, " prompt tokens");
    if (!at) return -1;
    while (at > text && at[-1] >= '0' && at[-1] <= '9') at--;
    return atoi(at);
}

/* The number of tokens of `text`. */
static int tokens_of(const char *text) {
    json_t *string = json_string(text);
    char *line = json_dumps(string, JSON_ENCODE_ANY);
    outcome o = glia(line, "tokenize %s", models[0]);
    json_t *ids = json_of(&o);
    const int n = (int)json_array_size(ids);
    json_decref(ids);
    json_decref(string);
    free(line);
    return n;
}

/* Start a chat at a new terminal, without a template, and wait for its prompt. */
static pid_t start(int *terminal) {
    const pid_t child = forkpty(terminal, NULL, NULL, NULL);
    assert_true(child >= 0);
    if (child == 0)
        check_exec((const char *[]){program, "run", models[0], "--raw", "--greedy", "--max-tokens", "1",
                                    "--ignore-eos", "--sequence-length", "16000", NULL});
    *seen = '\0';
    CHECK(wait_for(*terminal, seen, sizeof seen, "> "), "no prompt: %s", seen);
    *seen = '\0';
    return child;
}

static void type(int terminal, const char *text, size_t len) {
    for (size_t typed = 0; typed < len;) {
        const ssize_t n = write(terminal, text + typed, len - typed);
        assert_true(n > 0);
        typed += (size_t)n;
    }
}

static void leave(int terminal, pid_t child) {
    int status;
    type(terminal, "\004", 1);
    waitpid(child, &status, 0);
    CHECK(decode(status) == 0, "exit %d", decode(status));
    close(terminal);
}

/* The editing keys of a terminal's line mode. */
static void keys(void **state) {
    static const struct {
        const char *typed, *meant;
    } rows[] = {
        {"Hello wprle\x7f\x7f\x7f\x7fold\n", "Hello wold"},
        {"na\xc3\xafve \xe4\xbd\xa0\xe5\xa5\xbd\x7f\n", "na\xc3\xafve \xe4\xbd\xa0"},
        {"one two  three \x17\x17zwei drei\n", "one zwei drei"},
        {"all of this is gone\x15only this\n", "only this"},
        {"x\x7f\x7f\x7f\x7ftab\tand \x1b[A\n", "tab\tand \x1b[A"},
        {"two \\\nlines\n", "two \nlines"},
        {"not the \x04\x65nd\n", "not the end"},
        {"\n\nempty lines before\n", "empty lines before"},
    };
    int terminal;
    (void)state;
    const pid_t child = start(&terminal);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        *seen = '\0';
        type(terminal, rows[i].typed, strlen(rows[i].typed));
        CHECK(wait_for(terminal, seen, sizeof seen, "prompt tokens"), "row %zu: no answer: %s", i, seen);
        CHECK(prompt_tokens(seen) == tokens_of(rows[i].meant), "row %zu: expected %d tokens: %s", i,
              tokens_of(rows[i].meant), seen);
        CHECK(wait_for(terminal, seen, sizeof seen, "\033[0m\r\n> "), "row %zu: no prompt: %s", i, seen);
    }
    leave(terminal, child);
}

/* What the terminal shows: characters as typed, erased by their width, control characters as ^X. */
static void echo(void **state) {
    static const char typed[] = "a\xe4\xbd\xa0\x7f\x7f\x01\x7f\t\x7f.\n",
                      shown[] = "a\xe4\xbd\xa0\b \b\b \b\b \b^A\b \b\b \b    \b \b\b \b\b \b\b \b.\r\n";
    int terminal;
    (void)state;
    const pid_t child = start(&terminal);
    type(terminal, typed, sizeof typed - 1);
    CHECK(wait_for(terminal, seen, sizeof seen, "\r\n"), "no echo: %s", seen);
    CHECK(strncmp(seen, shown, sizeof shown - 1) == 0, "echoed %s", seen);
    CHECK(wait_for(terminal, seen, sizeof seen, "> "), "no prompt: %s", seen);
    leave(terminal, child);
}

/* A long line is whole, although nobody reads its echo meanwhile. */
static void long_line(void **state) {
    static char text[LONG + 2];
    int terminal;
    (void)state;
    for (size_t i = 0; i < LONG; i++) text[i] = "word "[i % 5];
    const int want = tokens_of(text);
    text[LONG] = '\n';
    const pid_t child = start(&terminal);
    type(terminal, text, LONG + 1);
    CHECK(wait_for(terminal, seen, sizeof seen, "prompt tokens"), "no answer: %.300s", seen);
    CHECK(prompt_tokens(seen) == want, "%d prompt tokens, expected %d", prompt_tokens(seen), want);
    leave(terminal, child);
}

/* A long line that is typed before the program reads is whole too. */
static void early_line(void **state) {
    static char text[LONG + 2];
    int terminal;
    (void)state;
    for (size_t i = 0; i < LONG; i++) text[i] = "early "[i % 6];
    const int want = tokens_of(text);
    const pid_t child = start(&terminal);
    type(terminal, "Hi\n", 3);
    text[LONG] = '\n';
    type(terminal, text, LONG + 1);
    for (int n = 0; n != want;) {
        CHECK(wait_for(terminal, seen, sizeof seen, "prompt tokens"), "no answer of %d tokens: %.300s", want,
              seen);
        n = prompt_tokens(seen);
        char *rest = strstr(seen, "prompt tokens");
        if (!rest) break;
        memmove(seen, rest + 1, strlen(rest));
    }
    leave(terminal, child);
}

/* The terminal's modes are the user's again at the end. */
static void modes(void **state) {
    struct termios before, during, after;
    int terminal, ours, status;
    (void)state;
    assert_int_equal(openpty(&terminal, &ours, NULL, NULL, NULL), 0);
    tcgetattr(ours, &before);
    const pid_t child = fork();
    if (child == 0) {
        login_tty(ours);
        check_exec((const char *[]){program, "run", models[0], NULL});
    }
    *seen = '\0';
    CHECK(wait_for(terminal, seen, sizeof seen, "> "), "no prompt: %s", seen);
    tcgetattr(ours, &during);
    CHECK(!(during.c_lflag & ICANON), "the line mode of the terminal");
    type(terminal, "\004", 1);
    waitpid(child, &status, 0);
    tcgetattr(ours, &after);
    CHECK(decode(status) == 0 && before.c_lflag == after.c_lflag &&
              memcmp(before.c_cc, after.c_cc, sizeof before.c_cc) == 0,
          "exit %d, modes %x, before %x", decode(status), after.c_lflag, before.c_lflag);
    close(terminal);
    close(ours);
}

/* A zero byte ends no message: it is a byte of the prompt like others. */
static void zero_bytes(void **state) {
    static const char input[] = "Hello\0 world\n/exit\0\n";
    (void)state;
    for (int raw = 0; raw < 2; raw++) {
        outcome whole = glia_in(input, sizeof input - 1, -1,
                                raw ? "run models/qwen3-demo --max-tokens 4 --greedy --raw"
                                    : "run models/qwen3-demo --max-tokens 4 --greedy");
        outcome cut = glia("Hello\n", "run %s --max-tokens 4 --greedy %s", models[0], raw ? "--raw" : "");
        const char *second = strstr(whole.err, "]\n");
        CHECK(prompt_tokens(whole.err) > prompt_tokens(cut.err), "%s, without the end: %s", whole.err,
              cut.err);
        CHECK(whole.status == 0 && second && prompt_tokens(second) > 0, "no second answer: %s", whole.err);
        done(&whole);
        done(&cut);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys),       cmocka_unit_test(echo),  cmocka_unit_test(long_line),
        cmocka_unit_test(early_line), cmocka_unit_test(modes), cmocka_unit_test(zero_bytes),
    };
    signal(SIGPIPE, SIG_IGN);
    find_program();
    return check_run_group("typing", tests);
}
