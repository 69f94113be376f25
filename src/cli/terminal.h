/* terminal.h - lines of any length, typed at the terminal that is standard input.
 *
 * The terminal's own line mode keeps 4,095 bytes of a line and drops the rest. This reader takes
 * bytes as they come and does the same editing: the terminal's characters for erase, word erase,
 * kill and end of file, usually Backspace, Ctrl-W, Ctrl-U and Ctrl-D. Signals stay with the
 * terminal. One terminal in a process, one thread. */
#ifndef GLIA_CLI_TERMINAL_H
#define GLIA_CLI_TERMINAL_H

#include <signal.h>
#include <stdbool.h>

#include "base/buf.h"

typedef enum { CLI_LINE, CLI_LINE_END, CLI_LINE_INTERRUPTED } cli_line_status;

/* Take the terminal out of its line mode until cli_terminal_end(). Returns false, and does nothing,
 * if standard input is no terminal. What is typed before a line is read appears when it is read. */
bool cli_terminal_begin(void);
void cli_terminal_end(void);

/* Append the next line to *line, without its newline. CLI_LINE_END: Ctrl-D on an empty line, or the
 * terminal is gone. CLI_LINE_INTERRUPTED: a signal made *stop true. */
cli_line_status cli_terminal_line(glia_buf *line, const volatile sig_atomic_t *stop);

#endif
