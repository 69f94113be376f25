/* common.h - what commands share: messages, loading with progress, prompts from
 * files, sampling from flags. */
#ifndef GLIA_CLI_COMMON_H
#define GLIA_CLI_COMMON_H

#include <glia.h>
#include <jansson.h>

#include "base/buf.h"
#include "cli/flags.h"

/* Print the error as "glia: ..." on stderr. Returns EXIT_USAGE if an option or request
 * is out of its range, else EXIT_FAILED. */
int cli_failed(const glia_err *err);

/* The directory of the Hugging Face cache: the first of $HF_HUB_CACHE, $HF_HOME/hub,
 * $XDG_CACHE_HOME/huggingface/hub and ~/.cache/huggingface/hub whose variable is set.
 * The caller frees it; NULL: none. */
char *cli_cache_dir(void);

/* The options of the model and of its engine (o->engine = e) as the flags say, with
 * progress and warnings on stderr. */
void cli_options(const cli_args *args, glia_options *o, glia_engine_options *e);

/* Load MODEL with these options; `text_only`: only the tokenizer and the template.
 * Returns 0, or the exit status after the error was printed. */
int cli_load(glia_model **m, const cli_args *args, const glia_options *o, bool text_only);

/* Number of processes that mpirun or srun started as ranks; 1 without a launcher. */
int cli_processes(void);
/* Whether a launcher started this process as another rank than 0. Such a process
 * reads and prints nothing, and takes the steps of rank 0, whatever the command. */
bool cli_follows(void);
/* Load MODEL and follow rank 0 until its engine is freed. Returns the exit status. */
int cli_follow(const cli_args *args, const glia_options *o);

/* The model's sampling defaults, overridden by flags. The seed is random without --seed. */
void cli_sampling(const cli_args *args, const glia_model *m, glia_sampling *s);

/* The names of --lora for n prompts. The caller frees *names. Returns the exit status. */
int cli_adapters(char **names, const cli_args *args, size_t n);
/* The adapter of prompt i; NULL: none. */
const char *cli_adapter(const char *names, const cli_args *args, size_t i);
/* The text of a JSON Schema: `value` itself if it begins with {, otherwise the file `value`, - for standard
 * input. */
glia_status cli_schema(glia_buf *out, const char *value, glia_err *err);
/* The constraint that the flags ask for, as s->constraint, which the caller frees; *c NULL: none. Warnings go
 * to stderr. Returns 0, or the exit status after the error was printed. */
int cli_constraint(glia_constraint **c, const cli_args *args, const glia_model *m);

/* Read --chat-template into *source, which the caller frees (NULL: not given), and
 * check --now. Returns the exit status. */
int cli_read_template(char **source, size_t *len, const cli_args *args);

/* "bfloat16", "int8 (bfloat16)", ...: the format of the weights; in brackets, of what is
 * not quantised. */
const char *cli_format_name(const glia_model_info *info);
/* Print the model, the engine and the sampling on stderr, for --verbose. */
void cli_tell_model(const glia_model *m, const glia_engine *e, const glia_sampling *s);

typedef struct {
    int32_t *ids;
    size_t n;
} cli_prompt;

typedef struct {
    cli_prompt *prompt;
    size_t n;
    size_t longest;
} cli_prompts;

/* Convert a JSON array to token ids. The caller frees *ids, also on failure. */
glia_status cli_ids_of(const json_t *array, int32_t **ids, size_t *n, glia_err *err);

/* Read FILE ("-": standard input): a JSON array of ids, or an array of arrays. */
glia_status cli_read_ids(cli_prompts *p, const char *path, glia_err *err);
/* Make one prompt: the ids of `text`. Loads MODEL's tokenizer for it. Returns the exit
 * status. */
int cli_tokenize_prompt(cli_prompts *p, const cli_args *args, const glia_options *o, const char *text,
                        size_t len);
void cli_prompts_free(cli_prompts *p);

/* Read all of FILE, which may be a pipe, NUL-terminated. The caller frees *text. */
glia_status cli_read_file(char **text, size_t *len, const char *path, glia_err *err);
/* The same; "-" is standard input. */
glia_status cli_read_all(char **text, size_t *len, const char *path, glia_err *err);

/* Print `object` as one line on stdout and release it. */
void cli_print_json(json_t *object);

/* A JSON number; null for infinity and NaN, which JSON lacks. */
json_t *cli_json_real(double x);

const char *cli_finish_name(glia_finish finish);

#endif
