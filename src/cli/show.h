/* show.h - an answer on the terminal as it comes: thinking dimmed, blank lines at
 * the ends of its parts left out, control characters of the model made harmless. */
#ifndef GLIA_CLI_SHOW_H
#define GLIA_CLI_SHOW_H

#include <stdbool.h>
#include <stddef.h>

typedef struct {
    bool terminal; /* standard output is one, and colours are wanted */
    bool verbatim; /* plain completion: nothing is left out */
    bool any, thinking;
    size_t newlines; /* seen and not yet shown: they may be the last */
} cli_show;

void cli_show_begin(cli_show *s, bool verbatim);
void cli_show_text(cli_show *s, const char *text, size_t len, bool thinking);
/* The answer is over: colours off, cursor at the start of a line. */
void cli_show_end(cli_show *s);

#endif
