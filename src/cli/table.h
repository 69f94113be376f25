/* table.h - the rows of the table of flags. */
#ifndef GLIA_CLI_TABLE_H
#define GLIA_CLI_TABLE_H

#include "cli/flags.h"

enum {
    C_RUN = 1 << 0,
    C_GENERATE = 1 << 1,
    C_SCORE = 1 << 2,
    C_TOKENIZE = 1 << 3,
    C_DETOKENIZE = 1 << 4,
    C_TEMPLATE = 1 << 5,
    C_INSPECT = 1 << 6,
    C_BENCH = 1 << 7,
    C_COMPILE = 1 << 8,
    C_SERVE = 1 << 9,
    C_PARSE = 1 << 10,
    C_GRAMMAR_CHECK = 1 << 11,
    C_GRAMMAR_SHOW = 1 << 12,
    C_MERGE = 1 << 13,
    C_EMBED = 1 << 14,
    C_RERANK = 1 << 15,
    C_CALIBRATE = 1 << 16,
};

typedef enum {
    KIND_SWITCH,
    KIND_INT,
    KIND_REAL,
    KIND_TEXT,
    KIND_CHOICE,
    KIND_STOPS,
    KIND_CHOICES,
    KIND_IDS,
    KIND_BIASES,
    KIND_MODULES
} cli_kind;
typedef enum { GROUP_TASK, GROUP_SAMPLING, GROUP_ENGINE, N_GROUPS } cli_group;

typedef struct {
    const char *name;    /* without dashes */
    const char *aliases; /* with dashes, separated by spaces; NULL: none */
    cli_kind kind;
    cli_group group;
    unsigned commands;  /* bits of the commands that have the flag */
    double min, max;    /* of a number, both inclusive */
    const char *value;  /* name of the value in help; the choices "a|b|c" of KIND_CHOICE */
    const char *preset; /* a fixed default, which help shows and the parser applies; NULL: none */
    const char *help;
} cli_flag;

extern const cli_flag cli_flags[N_FLAGS];

void cli_help(const cli_command *command);

#endif
