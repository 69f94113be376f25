/* show.h - print an answer while it is generated. Thinking is dimmed. Newlines at the
 * ends of thinking and of the answer are dropped. Control characters are replaced. */
#ifndef GLIA_CLI_SHOW_H
#define GLIA_CLI_SHOW_H

#include <stdbool.h>
#include <stddef.h>

typedef struct {
    bool terminal; /* standard output is a terminal, and colours are wanted */
    bool verbatim; /* plain completion: print every character */
    bool any, thinking;
    size_t newlines; /* held back, since they may be the last */
} cli_show;

void cli_show_begin(cli_show *s, bool verbatim);
void cli_show_text(cli_show *s, const char *text, size_t len, bool thinking);
/* End the answer: reset colours and end the line. */
void cli_show_end(cli_show *s);

#endif
