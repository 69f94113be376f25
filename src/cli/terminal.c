/* terminal.c - see terminal.h. */
#define _GNU_SOURCE
#include "cli/terminal.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>
#include <utf8proc.h>

enum { TAB_WIDTH = 4, NO_BYTE = -1 };

static struct {
    struct termios saved, ours;
    char in[4096]; /* in[from] .. in[to - 1] are read and not yet taken */
    size_t from, to;
    char out[64]; /* the echo that is not written yet */
    size_t n_out;
    int echo; /* the descriptor; -1: no echo */
} tty;

/* Ctrl-Z: the shell gets the terminal as it was. */
static void on_suspend(int signal_number) {
    const int error = errno;
    (void)signal_number;
    tcsetattr(STDIN_FILENO, TCSANOW, &tty.saved);
    raise(SIGSTOP);
    tcsetattr(STDIN_FILENO, TCSANOW, &tty.ours);
    errno = error;
}

bool cli_terminal_begin(void) {
    if (!isatty(STDIN_FILENO) || tcgetattr(STDIN_FILENO, &tty.saved) != 0) return false;
    tty.ours = tty.saved;
    tty.ours.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    tty.ours.c_cc[VMIN] = 1;
    tty.ours.c_cc[VTIME] = 0;
    tcsetattr(STDIN_FILENO, TCSANOW, &tty.ours);
    const struct sigaction suspend = {.sa_handler = on_suspend, .sa_flags = SA_RESTART};
    sigaction(SIGTSTP, &suspend, NULL);
    return true;
}

void cli_terminal_end(void) {
    signal(SIGTSTP, SIG_DFL);
    tcsetattr(STDIN_FILENO, TCSANOW, &tty.saved);
}

/* A program that types a long line and does not read the echo must not stop the reading of its line. */
static void flush_echo(void) {
    enum { PATIENCE_MS = 1000 };
    struct pollfd ready = {.fd = tty.echo, .events = POLLOUT};
    if (tty.n_out && tty.echo >= 0 &&
        (poll(&ready, 1, PATIENCE_MS) == 0 || write(tty.echo, tty.out, tty.n_out) < 0))
        tty.echo = -1;
    tty.n_out = 0;
}

static void echo(const char *bytes, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (tty.n_out == sizeof tty.out) flush_echo();
        tty.out[tty.n_out++] = bytes[i];
    }
}

static void echo_byte(char c) {
    const unsigned char byte = (unsigned char)c;
    if (c == '\t')
        echo("    ", TAB_WIDTH);
    else if (byte < 0x20 || byte == 0x7f)
        echo((const char[]){'^', (char)(byte ^ 0x40)}, 2);
    else
        echo(&c, 1);
}

/* Columns of the echo of one character. */
static int columns(const char *text, size_t n) {
    utf8proc_int32_t code;
    const unsigned char byte = (unsigned char)*text;
    if (*text == '\t') return TAB_WIDTH;
    if (byte < 0x20 || byte == 0x7f) return 2;
    return utf8proc_iterate((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)n, &code) > 0
               ? utf8proc_charwidth(code)
               : 1;
}

static void erase(glia_buf *line, size_t start) {
    if (line->len == start) return;
    size_t at = line->len - 1;
    while (at > start && ((unsigned char)line->data[at] & 0xc0) == 0x80) at--;
    for (int i = columns(line->data + at, line->len - at); i > 0; i--) echo("\b \b", 3);
    line->data[line->len = at] = '\0';
}

static void erase_word(glia_buf *line, size_t start) {
    while (line->len > start && strchr(" \t", line->data[line->len - 1])) erase(line, start);
    while (line->len > start && !strchr(" \t", line->data[line->len - 1])) erase(line, start);
}

/* The next byte. NO_BYTE: the terminal is gone, or *stop is true. */
static int next_byte(const volatile sig_atomic_t *stop) {
    while (tty.from == tty.to) {
        flush_echo();
        const ssize_t n = read(STDIN_FILENO, tty.in, sizeof tty.in);
        if (n < 0 && errno == EINTR && !*stop) continue;
        if (n <= 0) return NO_BYTE;
        tty.from = 0;
        tty.to = (size_t)n;
    }
    return (unsigned char)tty.in[tty.from++];
}

/* Whether the terminal has this control character, and c is it. */
static bool is(int c, int which) {
    return tty.saved.c_cc[which] != _POSIX_VDISABLE && c == tty.saved.c_cc[which];
}

cli_line_status cli_terminal_line(glia_buf *line, const volatile sig_atomic_t *stop) {
    const size_t start = line->len;
    tty.echo = !(tty.saved.c_lflag & ECHO) ? -1 : isatty(STDERR_FILENO) ? STDERR_FILENO : STDIN_FILENO;
    for (int c; (c = next_byte(stop)) != NO_BYTE;) {
        if (c == '\n') {
            echo("\n", 1);
            flush_echo();
            return CLI_LINE;
        }
        if (is(c, VEOF)) {
            if (line->len == start) return CLI_LINE_END;
        } else if (is(c, VERASE)) {
            erase(line, start);
        } else if (is(c, VWERASE)) {
            erase_word(line, start);
        } else if (is(c, VKILL)) {
            while (line->len > start) erase(line, start);
        } else {
            glia_buf_putc(line, (char)c);
            echo_byte((char)c);
        }
    }
    return *stop ? CLI_LINE_INTERRUPTED : CLI_LINE_END;
}
