/* common.h - what commands share: messages, loading with progress, prompts read
 * from files, sampling from flags. */
#ifndef GLIA_CLI_COMMON_H
#define GLIA_CLI_COMMON_H

#include <glia.h>
#include <jansson.h>

#include "cli/flags.h"

/* Tell the error as "glia: ..." and return the exit status: EXIT_USAGE where an
 * option or request is out of its range, else EXIT_FAILED. */
int cli_failed(const glia_err *err);

/* The HF cache: $HF_HUB_CACHE, $HF_HOME/hub, $XDG_CACHE_HOME/huggingface/hub,
 * ~/.cache/huggingface/hub; the first that can be told. Owned by the caller;
 * NULL: none. */
char *cli_cache_dir(void);

/* The options of the model and of its engine (o->engine = e) as the flags say, with
 * progress and warnings on stderr. */
void cli_options(const cli_args *args, glia_options *o, glia_engine_options *e);

/* Load MODEL with those options. On failure it was told, and the exit status is
 * returned; 0: loaded. `text_only`: the tokenizer and the template. */
int cli_load(glia_model **m, const cli_args *args, const glia_options *o, bool text_only);

/* Number of processes that mpirun or srun started as ranks; 1 without a launcher. */
int cli_processes(void);
/* Whether a launcher started this process as another rank than 0. Such a process
 * reads and prints nothing, and takes the steps of rank 0, whatever the command. */
bool cli_follows(void);
/* Load MODEL and follow until rank 0 has ended. Returns the exit status. */
int cli_follow(const cli_args *args, const glia_options *o);

/* Sampling defaults of the model, then the flags. A random seed where none was given. */
void cli_sampling(const cli_args *args, const glia_model *m, glia_sampling *s);

/* The text of --chat-template into *source, owned by the caller (NULL: not given),
 * and a check of --now. Returns the exit status. */
int cli_read_template(char **source, const cli_args *args);

/* "bfloat16", "int8 (bfloat16)", ...: weights, and what is not quantised. */
const char *cli_format_name(const glia_model_info *info);
/* For --verbose: the model, the engine, and how it samples, on stderr. */
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

/* A JSON array as token ids. The caller free()s *ids, also on failure. */
glia_status cli_ids_of(const json_t *array, int32_t **ids, size_t *n, glia_err *err);

/* Read FILE ("-": standard input): a JSON array of ids, or an array of arrays. */
glia_status cli_read_ids(cli_prompts *p, const char *path, glia_err *err);
/* One prompt: `text` as the ids of MODEL's tokenizer, which is loaded alone for
 * it. Returns the exit status. */
int cli_tokenize_prompt(cli_prompts *p, const cli_args *args, const glia_options *o, const char *text,
                        size_t len);
void cli_prompts_free(cli_prompts *p);

/* The whole of FILE ("-": standard input), NUL-terminated; release with free(). */
glia_status cli_read_all(char **text, size_t *len, const char *path, glia_err *err);

/* Print `object` on one line of stdout and release it. */
void cli_print_json(json_t *object);

/* A JSON number; null for what JSON cannot say (infinity, NaN). */
json_t *cli_json_real(double x);

const char *cli_finish_name(glia_finish finish);

#endif
