/* foreign.c - see foreign.h. docs/SERVING.md and docs/SPECULATION.md have the same tables for people;
 * tests/check_serve_flags.c and tests/check_speculative_config.c compare them. */
#include "cli/foreign.h"

#include <stdio.h>
#include <string.h>

#include "cli/table.h"

/* clang-format off */
static const cli_foreign of_servers[] = {
    {"--enable-auto-tool-choice", false, "*", "tool calls are always parsed"},
    {"--tool-call-parser", true, "auto|hermes|qwen|qwen25|qwen3", "the parser of Qwen3 and SmolLM3 is built in"},
    {"--enable-reasoning", false, "*", "thinking is always parsed"},
    {"--reasoning-parser", true, "auto|qwen3|deepseek_r1|deepseek-r1", "the parser of Qwen3 and SmolLM3 is built in"},
    {"--trust-remote-code", false, "*", "no code of a model is run"},
    {"--gpu-memory-utilization --device-memory-utilization --mem-fraction-static", true, "*", "the KV cache has room for --batch-size sequences of --sequence-length tokens"},
    {"--swap-space --cpu-offload-gb", true, "*", "everything is in the machine's memory"},
    {"--enforce-eager --disable-custom-all-reduce", false, "*", "this is a matter of GPUs"},
    {"--max-seq-len-to-capture --compilation-config -cc --optimization-level", true, "*", "nothing is captured or compiled"},
    {"--enable-chunked-prefill --async-scheduling", false, "*", "prompts are always computed in chunks, among the steps of running answers"},
    {"--enable-prefix-caching", false, "*", "the prefix cache is on unless --no-prefix-cache is given"},
    {"--disable-log-requests --disable-log-stats --enable-log-requests --disable-uvicorn-access-log", false, "*", "the log has one line for each request"},
    {"--uvicorn-log-level --log-level --max-log-len", true, "*", "the log has one line for each request"},
    {"--enable-prompt-tokens-details", false, "*", "usage always has the cached tokens"},
    {"--enable-request-id-headers", false, "*", "replies always have X-Request-Id"},
    {"--enable-server-load-tracking", false, "*", "/load always counts"},
    {"--response-role", true, "assistant", "answers have the role assistant"},
    {"--chat-template-content-format", true, "auto|string", "templates get content as text"},
    {"--generation-config", true, "auto", "generation_config.json of the model is read"},
    {"--config-format --tokenizer-mode --model-impl", true, "auto|hf|transformers", "a Hugging Face directory is read"},
    {"--task --runner --convert", true, "auto|none|generate|pooling|embed|embedding|score", "one server generates, embeds and scores"},
    {"--max-logprobs", true, "*", "requests may ask for up to 20"},
    {"--pipeline-parallel-size -pp", true, "1", "use --tensor-parallel-size"},
    {"--data-parallel-size -dp --api-server-count", true, "1", "start several servers behind a router"},
    {"--distributed-executor-backend", true, "mp|uni", "ranks are threads, or processes of mpirun"},
    {"--guided-decoding-backend --structured-outputs-config", true, "*", "constraints are compiled by Glia itself"},
    {"--stream-interval", true, "1", "requests have the field stream_interval"},
    {"--allow-credentials", false, "*", "keys come in headers, not in cookies"},
    {"--allowed-methods --allowed-headers", true, "*", "an allowed origin may send every header, by GET and POST"},
    {"--limit-mm-per-prompt --mm-processor-kwargs --media-io-kwargs", true, "*", "models read text"},
    {"--language-model-only --disable-mm-preprocessor-cache", false, "*", "models read text"},
    {"-ngl --gpu-layers --n-gpu-layers", true, "*", "everything is computed on the CPU"},
    {"--jinja --no-webui -cb --cont-batching", false, "*", "this is always so, or harmless"},
    {"-fa --flash-attn", true, "*", "attention is always computed in blocks"},

    {"--model -m --model-path", true, NULL, "MODEL is the first word: glia serve MODEL"},
    {"--tokenizer --hf-config-path", true, NULL, "they are read from MODEL"},
    {"--revision --code-revision --tokenizer-revision --download-dir", true, NULL, "nothing is downloaded: give the directory of the snapshot as MODEL"},
    {"--hf-overrides", true, NULL, "change config.json in a copy; dimensions of Qwen3-Embedding and scores of Qwen3-Reranker need no change"},
    {"--rope-scaling --rope-theta", true, NULL, "write it into config.json"},
    {"--override-generation-config", true, NULL, "change generation_config.json in a copy, or set the fields in requests"},
    {"--kv-cache-memory-bytes", true, NULL, "use --kv-cache-blocks"},
    {"--no-enable-chunked-prefill", false, NULL, "prompts are always computed in chunks of --prefill-chunk-size tokens"},
    {"--enable-force-include-usage", false, NULL, "clients ask by stream_options"},
    {"--return-tokens-as-token-ids", false, NULL, "clients ask by the field of that name"},
    {"--trust-request-chat-template", false, NULL, "use --chat-template"},
    {"--exclude-tools-when-tool-choice-none", false, NULL, "leave the tools out of the request"},
    {"--enable-expert-parallel", false, NULL, "there are no models with experts"},
    {"--max-num-queued-tokens", true, NULL, "use --max-num-queued-reqs"},
    {"--uds --root-path --middleware --ssl-ca-certs --ssl-cert-reqs --ssl-ciphers", true, NULL, "put nginx or haproxy in front"},
    {"--context-length --ctx-size -c", true, NULL, "use --sequence-length"},
    {"--max-running-requests --parallel -np", true, NULL, "use --batch-size"},
    {"--chunked-prefill-size --ubatch-size -ub", true, NULL, "use --prefill-chunk-size"},
    {"--alias -a", true, NULL, "use --served-model-name"},
}, of_drafts[] = {
    {"--draft-min --draft-n-min --spec-draft-n-min", true, "*", "the length of a proposal is what pays"},
    {"--draft-p-min --spec-draft-p-min --draft-p-split --spec-draft-p-split", true, "*", "a proposal ends behind a token that the draft is unsure of"},
    {"--spec-ngram-min-hits --spec-ngram-simple-min-hits --spec-ngram-map-k-min-hits", true, "*", "the length of a proposal is what pays"},
    {"-cd --ctx-size-draft --spec-draft-ctx-size", true, "*", "the draft has the target's --sequence-length"},
    {"-td --threads-draft --spec-draft-threads -tbd --threads-batch-draft", true, "*", "the draft runs on the threads of rank 0"},
    {"-ctkd --cache-type-k-draft -ctvd --cache-type-v-draft", true, "*", "the draft's cache has the target's --kv-cache-dtype"},
    {"-ngld --gpu-layers-draft --n-gpu-layers-draft --spec-draft-ngl -devd --device-draft --spec-draft-device", true, "*", "everything is computed on the CPU"},

    {"-hfd -hfrd --hf-repo-draft --spec-draft-hf", true, NULL, "give a Hugging Face directory or id as --model-draft"},
    {"--ngram-prompt-lookup-min --ngram-prompt-lookup-max", true, NULL, "use the keys prompt_lookup_min and prompt_lookup_max of --speculative-config"},
    {"--speculative-model-quantization", true, NULL, "use the key quantization of --speculative-config"},
    {"--spec-draft-replace --spec-replace", true, NULL, "a draft must have the target's tokens"},
};
/* clang-format on */

/* Dashes and underscores are the same behind the first two bytes. */
static bool is_same(const char *a, const char *b, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (a[i] != b[i] && !(i > 1 && a[i] == '-' && b[i] == '_')) return false;
    return true;
}

bool cli_is_in(const char *list, char separator, const char *name, size_t n) {
    while (*list) {
        const char *end = strchr(list, separator);
        const size_t len = end ? (size_t)(end - list) : strlen(list);
        if (len == n && is_same(list, name, n)) return true;
        list += len + (end != NULL);
    }
    return false;
}

static const cli_foreign *find(const cli_foreign *rows, size_t n_rows, const char *word, size_t n) {
    for (size_t i = 0; i < n_rows; i++)
        if (cli_is_in(rows[i].names, ' ', word, n)) return &rows[i];
    return NULL;
}

const cli_foreign *cli_find_foreign(const cli_command *command, const char *word, size_t n) {
    const cli_foreign *f = NULL;
    if (command->bit & C_SERVE) f = find(of_servers, sizeof of_servers / sizeof *of_servers, word, n);
    if (!f && (command->bit & cli_flags[F_SPECULATIVE_CONFIG].commands))
        f = find(of_drafts, sizeof of_drafts / sizeof *of_drafts, word, n);
    return f;
}

int cli_take_foreign(const cli_foreign *f, const cli_command *command, const char *word, size_t n,
                     const char *value) {
    if (!f->takes) return cli_usage("%s has no flag %.*s: %s", command->name, (int)n, word, f->says);
    if (f->has_value && strcmp(f->takes, "*") != 0 && !cli_is_in(f->takes, '|', value, strlen(value)))
        return cli_usage("%.*s takes %s, not '%s': %s", (int)n, word, f->takes, value, f->says);
    fprintf(stderr, "glia: warning: %.*s has no effect: %s\n", (int)n, word, f->says);
    return -1;
}
