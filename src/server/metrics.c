/* metrics.c - see metrics.h. Names and bounds are those of vLLM's v1/metrics/loggers.py, which dashboards and
 * autoscalers know. */
#include "server/metrics.h"

#include <stdio.h>

/* Upper bounds, ascending; 0 ends a list. */
static const double first_token[SERVER_BUCKETS] = {0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1,
                                                   0.25,  0.5,   0.75, 1,    2.5,  5,    7.5,  10,
                                                   20,    40,    80,   160,  640,  2560};
static const double token[SERVER_BUCKETS] = {0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5,
                                             0.75, 1,     2.5,  5,     7.5, 10,   20,  40,  80};
static const double latency[SERVER_BUCKETS] = {0.3, 0.5, 0.8, 1,  1.5, 2,   2.5, 5,   10,   15,  20,
                                               30,  40,  50,  60, 120, 240, 480, 960, 1920, 7680};
static const double tokens[SERVER_BUCKETS] = {1,   2,    5,    10,   20,    50,    100,   200,
                                              500, 1000, 2000, 5000, 10000, 20000, 50000, 100000};

static const double choices[SERVER_BUCKETS] = {1, 2, 5, 10, 20};
static const double rows[SERVER_BUCKETS] = {1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384};

static const struct {
    const char *name, *help;
    const double *bounds;
} histograms[N_HISTOGRAMS] = {
    [H_FIRST_TOKEN] = {"time_to_first_token_seconds", "Time to the first token in seconds.", first_token},
    [H_INTER_TOKEN] = {"inter_token_latency_seconds", "Time between tokens in seconds.", token},
    [H_OUTPUT_TOKEN] = {"request_time_per_output_token_seconds",
                        "Mean time between tokens of a request in seconds.", token},
    [H_LATENCY] = {"e2e_request_latency_seconds", "Time of a whole request in seconds.", latency},
    [H_PROMPT] = {"request_prompt_tokens", "Tokens of a prompt.", tokens},
    [H_GENERATION] = {"request_generation_tokens", "Tokens that were generated for a request.", tokens},
    [H_QUEUE] = {"request_queue_time_seconds", "Time before the first step in seconds.", latency},
    [H_PREFILL] = {"request_prefill_time_seconds", "Time from the first step to the first token in seconds.",
                   latency},
    [H_DECODE] = {"request_decode_time_seconds", "Time from the first to the last token in seconds.",
                  latency},
    [H_INFERENCE] = {"request_inference_time_seconds",
                     "Time from the first step to the last token in seconds.", latency},
    [H_MAX_GENERATION] = {"request_max_num_generation_tokens", "Tokens of a request's longest sequence.",
                          tokens},
    [H_PARAMS_N] = {"request_params_n", "The parameter n of requests.", choices},
    [H_PARAMS_MAX_TOKENS] = {"request_params_max_tokens", "The parameter max_tokens of requests.", tokens},
    [H_ITERATION] = {"iteration_tokens_total", "Tokens that a step computed.", rows},
};

static size_t buckets_of(server_histogram_id id) {
    size_t n = 0;
    while (n < SERVER_BUCKETS && histograms[id].bounds[n] > 0) n++;
    return n;
}

void server_observe(server_metrics *m, server_histogram_id id, double value) {
    const size_t n = buckets_of(id);
    size_t i = 0;
    while (i < n && value > histograms[id].bounds[i]) i++;
    m->histogram[id].count[i]++;
    m->histogram[id].sum += value;
}

/* A label's value: backslash, quote and newline are escaped. */
static void add_label(server_text *out, const char *value) {
    for (; *value; value++) {
        if (*value == '\n')
            server_puts(out, "\\n");
        else
            server_printf(out, "%s%c", *value == '\\' || *value == '"' ? "\\" : "", *value);
    }
}

static void begin(server_text *out, const char *name, const char *type, const char *help) {
    server_printf(out, "# HELP vllm:%s %s\n# TYPE vllm:%s %s\n", name, help, name, type);
}

/* name{engine="0",model_name="...",label="value"} */
static void add_sample(server_text *out, const char *name, const char *model, const char *label,
                       const char *value, double x) {
    server_printf(out, "vllm:%s{engine=\"0\",model_name=\"", name);
    add_label(out, model);
    server_puts(out, "\"");
    if (label) server_printf(out, ",%s=\"%s\"", label, value);
    server_printf(out, "} %.17g\n", x);
}

static void add_histogram(server_text *out, const server_histogram *h, server_histogram_id id,
                          const char *model) {
    char name[80], bound[40];
    uint64_t sum = 0;
    const size_t n = buckets_of(id);
    begin(out, histograms[id].name, "histogram", histograms[id].help);
    snprintf(name, sizeof name, "%s_bucket", histograms[id].name);
    for (size_t i = 0; i <= n; i++) {
        snprintf(bound, sizeof bound, i < n ? "%g" : "+Inf", i < n ? histograms[id].bounds[i] : 0);
        sum += h->count[i];
        add_sample(out, name, model, "le", bound, (double)sum);
    }
    snprintf(name, sizeof name, "%s_sum", histograms[id].name);
    add_sample(out, name, model, NULL, NULL, h->sum);
    snprintf(name, sizeof name, "%s_count", histograms[id].name);
    add_sample(out, name, model, NULL, NULL, (double)sum);
}

bool server_steps_open(server_steps *s) {
    *s = (server_steps){0};
    return pthread_mutex_init(&s->lock, NULL) == 0;
}

void server_steps_free(server_steps *s) { pthread_mutex_destroy(&s->lock); }

void server_steps_count(server_steps *s, const glia_engine *e) {
    glia_engine_stats now;
    glia_engine_get_stats(e, &now);
    pthread_mutex_lock(&s->lock);
    if (now.steps > s->stats.steps)
        server_observe(&s->metrics, H_ITERATION, (double)(now.rows - s->stats.rows));
    s->stats = now;
    pthread_mutex_unlock(&s->lock);
}

/* One number under its name. */
typedef struct {
    const char *name, *type, *help;
    double value;
} single;

static void add_singles(server_text *out, const single *list, size_t n, const char *model) {
    for (size_t i = 0; i < n; i++) {
        begin(out, list[i].name, list[i].type, list[i].help);
        add_sample(out, list[i].name, model, NULL, NULL, list[i].value);
    }
}

static void add_requests(server_text *out, const server_metrics *m, const char *model) {
    const single singles[] = {
        {"num_requests_running", "gauge", "Sequences that have a first token.", (double)m->running},
        {"num_requests_waiting", "gauge", "Sequences that have no token yet.", (double)m->waiting},
        {"prompt_tokens_total", "counter", "Prompt tokens.", (double)m->prompt_tokens},
        {"generation_tokens_total", "counter", "Generated tokens.", (double)m->generation_tokens},
        {"prefix_cache_queries_total", "counter", "Prompt tokens that were looked up in the prefix cache.",
         (double)m->prompt_tokens},
        {"prefix_cache_hits_total", "counter", "Prompt tokens that were in the prefix cache.",
         (double)m->cached_tokens},
    };
    static const char *const reasons[] = {
        [GLIA_FINISH_STOP] = "stop", [GLIA_FINISH_LENGTH] = "length", [GLIA_FINISH_ABORT] = "abort"};
    add_singles(out, singles, sizeof singles / sizeof *singles, model);
    begin(out, "request_success_total", "counter", "Sequences that have ended, by the reason.");
    for (int i = GLIA_FINISH_STOP; i <= GLIA_FINISH_ABORT; i++)
        add_sample(out, "request_success_total", model, "finished_reason", reasons[i], (double)m->ended[i]);
}

static void add_engine(server_text *out, const glia_engine_stats *s, const char *model) {
    const double blocks = s->kv_blocks > 0 ? s->kv_blocks : 1;
    const single singles[] = {
        {"kv_cache_usage_perc", "gauge", "Blocks of the KV cache that sequences hold, 1 is all.",
         s->kv_blocks_used / blocks},
        {"num_preemptions_total", "counter", "Sequences that were preempted and computed anew.",
         (double)s->preemptions},
    };
    char value[20];
    add_singles(out, singles, sizeof singles / sizeof *singles, model);
    begin(out, "cache_config_info", "gauge", "The KV cache: blocks, and positions of a block.");
    server_puts(out, "vllm:cache_config_info{engine=\"0\",model_name=\"");
    add_label(out, model);
    server_printf(out, "\",num_gpu_blocks=\"%d\",block_size=\"%d\"} 1\n", s->kv_blocks, s->block_size);
    if (!s->draft_method) return;
    const single drafts[] = {
        {"spec_decode_num_drafts_total", "counter", "Proposals of the draft.", (double)s->speculation.drafts},
        {"spec_decode_num_draft_tokens_total", "counter", "Tokens that the draft proposed.",
         (double)s->speculation.draft_tokens},
        {"spec_decode_num_accepted_tokens_total", "counter", "Proposed tokens that became part of an answer.",
         (double)s->speculation.accepted_tokens},
    };
    static const char per_position[] = "spec_decode_num_accepted_tokens_per_pos_total";
    add_singles(out, drafts, sizeof drafts / sizeof *drafts, model);
    begin(out, per_position, "counter", "Accepted tokens by their position in the proposal.");
    for (int i = 0; i < s->draft_depth && i < GLIA_DRAFT_POSITIONS; i++) {
        snprintf(value, sizeof value, "%d", i);
        add_sample(out, per_position, model, "position", value, (double)s->speculation.accepted_at[i]);
    }
}

void server_metrics_write(server_text *out, const server_metrics *m, server_steps *steps, const char *model) {
    pthread_mutex_lock(&steps->lock);
    const glia_engine_stats stats = steps->stats;
    const server_histogram iterations = steps->metrics.histogram[H_ITERATION];
    pthread_mutex_unlock(&steps->lock);
    add_requests(out, m, model);
    add_engine(out, &stats, model);
    for (int id = 0; id < N_HISTOGRAMS; id++)
        add_histogram(out, id == H_ITERATION ? &iterations : &m->histogram[id], (server_histogram_id)id,
                      model);
}
