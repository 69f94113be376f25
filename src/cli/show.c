/* show.c - see show.h. */
#include "cli/show.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char dim[] = "\033[2m", plain[] = "\033[0m";

void cli_show_begin(cli_show *s, bool verbatim) {
    const char *no_color = getenv("NO_COLOR"); /* https://no-color.org */
    *s = (cli_show){.verbatim = verbatim, .terminal = isatty(STDOUT_FILENO) && !(no_color && *no_color)};
}

/* A model's output must not steer the terminal. */
static void put(const cli_show *s, char c) {
    const unsigned char byte = (unsigned char)c;
    if (s->terminal && ((byte < 0x20 && byte != '\n' && byte != '\t') || byte == 0x7f))
        fputs("\xef\xbf\xbd", stdout);
    else
        putchar(c);
}

void cli_show_text(cli_show *s, const char *text, size_t len, bool thinking) {
    if (len == 0) return;
    if (!s->verbatim && thinking != s->thinking) {
        if (s->thinking && s->terminal) fputs(plain, stdout);
        if (s->any) fputs("\n\n", stdout);
        if (thinking && s->terminal) fputs(dim, stdout);
        s->thinking = thinking;
        s->any = false;
        s->newlines = 0;
    }
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '\n' && !s->verbatim) {
            s->newlines++;
            continue;
        }
        for (; s->newlines > 0; s->newlines--)
            if (s->any) putchar('\n');
        put(s, text[i]);
        s->any = true;
    }
    fflush(stdout);
}

void cli_show_end(cli_show *s) {
    if (s->thinking && s->terminal) fputs(plain, stdout);
    putchar('\n');
    fflush(stdout);
}
