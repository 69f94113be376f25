/* foreign.h - flags of vLLM and llama.cpp that people copy: of servers to `glia serve`, of drafts to every
 * command that loads a model. */
#ifndef GLIA_CLI_FOREIGN_H
#define GLIA_CLI_FOREIGN_H

#include <stdbool.h>
#include <stddef.h>

#include "cli/flags.h"

typedef struct {
    const char *names; /* with dashes, separated by spaces */
    bool has_value;
    /* The values that the flag may have, separated by |; "*": every value; NULL: the flag is refused. A flag
     * without a value that is accepted has "*". */
    const char *takes;
    const char *says; /* why the flag has no effect, or what to do instead */
} cli_foreign;

/* The row of word[0..n) among those that the command has; NULL: there is none. Dashes and underscores within
 * a name are the same. */
const cli_foreign *cli_find_foreign(const cli_command *command, const char *word, size_t n);
/* Handle the flag word[0..n) of the command, with its value or NULL. Returns -1 after a warning that the flag
 * has no effect, or the exit status after a usage error. */
int cli_take_foreign(const cli_foreign *f, const cli_command *command, const char *word, size_t n,
                     const char *value);
/* Is `name` one of the names in `list`, which are separated by `separator`? */
bool cli_is_in(const char *list, char separator, const char *name, size_t n);

#endif
