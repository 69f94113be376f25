/* commands.h - one function per command, from parsed flags to an exit status. */
#ifndef GLIA_CLI_COMMANDS_H
#define GLIA_CLI_COMMANDS_H

#include "cli/flags.h"

int cli_run(const cli_args *args);
int cli_generate(const cli_args *args);
int cli_score(const cli_args *args);
int cli_tokenize(const cli_args *args);
int cli_detokenize(const cli_args *args);
int cli_template(const cli_args *args);
int cli_inspect(const cli_args *args);
int cli_bench(const cli_args *args);
int cli_compile(const cli_args *args);
int cli_merge(const cli_args *args);
int cli_calibrate(const cli_args *args);
int cli_serve(const cli_args *args);
int cli_embed(const cli_args *args);
int cli_rerank(const cli_args *args);
int cli_parse_answers(const cli_args *args);
int cli_grammar_check(const cli_args *args);
int cli_grammar_show(const cli_args *args);

#endif
