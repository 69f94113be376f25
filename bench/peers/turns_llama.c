/* turns_llama.c - llama.cpp as an engine of bench/peers/run; the commands are those of turns.h.
 *     turns_llama FILE.gguf none THREADS BATCH SEQUENCE_LENGTH [ADAPTER.gguf]
 * An adapter is that of a context, so at most one is used.
 * One context for each number of sequences; its cache is kept from turn to turn, and a prompt whose
 * beginning the cache holds is computed from there on. VERSION is the release, a string. */
#include "turns.h"
#include <llama.h>

typedef struct {
    struct llama_context *context;
    size_t count[BATCH_MAX];  /* ids that the cache holds, by sequence */
    int32_t *held[BATCH_MAX]; /* `room` of them */
    size_t room, used; /* adapters that the cache was computed with */
} held_context;

typedef struct {
    struct llama_model *model;
    struct llama_adapter_lora *adapter; /* or NULL */
    int threads;
    size_t length;                        /* of one sequence */
    held_context contexts[BATCH_MAX + 1]; /* by number of sequences */
    struct llama_batch batch;
} llama;

/* Compute with the adapters of the command from now on. */
static held_context *adapted(const engine *e, held_context *h, size_t batch) {
    llama *l = e->self;
    float scale = 1;
    if (h->used == e->used) return h;
    llama_set_adapters_lora(h->context, &l->adapter, e->used, &scale);
    for (size_t s = 0; s < batch; s++) h->count[s] = 0;
    h->used = e->used;
    return h;
}

static held_context *context_of(engine *e, size_t batch, size_t length) {
    llama *l = e->self;
    held_context *h = &l->contexts[batch];
    if (h->context) return adapted(e, h, batch);
    struct llama_context_params p = llama_context_default_params();
    h->room = (length + 255) / 256 * 256;
    p.n_ctx = (uint32_t)(batch * h->room);
    p.n_batch = p.n_ubatch = CHUNK;
    p.n_seq_max = (uint32_t)batch;
    p.n_threads = p.n_threads_batch = l->threads;
    h->context = llama_init_from_model(l->model, p);
    bool ok = h->context;
    for (size_t s = 0; s < batch && ok; s++) ok = (h->held[s] = calloc(h->room, sizeof **h->held));
    if (!ok) snprintf(e->error, sizeof e->error, "no memory for a context of %zu sequences", batch);
    return ok ? adapted(e, h, batch) : NULL;
}

static void add(llama *l, int32_t id, size_t position, size_t sequence, bool wanted) {
    struct llama_batch *b = &l->batch;
    const int i = b->n_tokens++;
    b->token[i] = id;
    b->pos[i] = (llama_pos)position;
    b->n_seq_id[i] = 1;
    b->seq_id[i][0] = (llama_seq_id)sequence;
    b->logits[i] = wanted;
}

/* Compute the rows that were added. */
static bool flush(engine *e, held_context *h) {
    llama *l = e->self;
    const int status = l->batch.n_tokens ? llama_decode(h->context, l->batch) : 0;
    l->batch.n_tokens = 0;
    llama_synchronize(h->context);
    if (status) snprintf(e->error, sizeof e->error, "llama_decode: %d", status);
    return !status;
}

/* Compute ids[from..n) of a sequence, in chunks; logits of the last one if `wanted`. */
static bool feed(engine *e, held_context *h, const int32_t *ids, size_t from, size_t n, size_t sequence,
                 bool wanted) {
    llama *l = e->self;
    bool ok = true;
    for (size_t i = from; i < n && ok; i++) {
        add(l, ids[i], i, sequence, wanted && i + 1 == n);
        if (l->batch.n_tokens == CHUNK || i + 1 == n) ok = flush(e, h);
    }
    memcpy(h->held[sequence], ids, n * sizeof *ids);
    h->count[sequence] = n;
    return ok;
}

/* Make the cache hold exactly ids[0..n) of a sequence. */
static bool hold(engine *e, held_context *h, const int32_t *ids, size_t n, size_t sequence) {
    size_t same = 0;
    while (same < n && same < h->count[sequence] && h->held[sequence][same] == ids[same]) same++;
    llama_memory_seq_rm(llama_get_memory(h->context), (llama_seq_id)sequence, (llama_pos)same, -1);
    h->count[sequence] = same;
    return feed(e, h, ids, same, n, sequence, false);
}

static bool prefill(engine *e, const int32_t *ids, size_t n, size_t from, turn_time *took) {
    llama *l = e->self;
    held_context *h = context_of(e, 1, l->length);
    if (!h || !hold(e, h, ids, from, 0)) return false;
    const double start = seconds();
    const bool ok = feed(e, h, ids, from, n, 0, true);
    *took = (turn_time){seconds() - start, n - from};
    return ok;
}

static int32_t likeliest(const float *row, size_t n) {
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (row[i] > row[best]) best = i;
    return (int32_t)best;
}

static bool decode(engine *e, const int32_t *ids, size_t batch, size_t prompt, size_t steps,
                   turn_time *took) {
    llama *l = e->self;
    int32_t next[BATCH_MAX];
    const size_t length = prompt + steps;
    held_context *h = context_of(e, batch, batch == 1 && l->length > length ? l->length : length);
    bool ok = h;
    for (size_t s = 0; s < batch && ok; s++) {
        ok = hold(e, h, ids + s * prompt, prompt - 1, s);
        next[s] = ids[(s + 1) * prompt - 1];
    }
    double start = 0;
    for (size_t step = 0; step <= steps && ok; step++) { /* the first one ends the prompts */
        for (size_t s = 0; s < batch; s++) add(l, next[s], prompt - 1 + step, s, true);
        ok = flush(e, h);
        if (step == 0) start = seconds();
        for (size_t s = 0; s < batch && ok; s++)
            next[s] = likeliest(llama_get_logits_ith(h->context, (int32_t)s), e->vocabulary);
    }
    *took = (turn_time){seconds() - start, batch * steps};
    return ok;
}

static const float *logits(engine *e, const int32_t *ids, size_t n) {
    llama *l = e->self;
    held_context *h = context_of(e, 1, l->length);
    if (!h || !hold(e, h, ids, n - 1, 0) || !feed(e, h, ids, n - 1, n, 0, true)) return NULL;
    return llama_get_logits_ith(h->context, -1);
}

static void be_silent(enum ggml_log_level level, const char *text, void *user) {
    (void)user;
    if (level >= GGML_LOG_LEVEL_WARN) fputs(text, stderr);
}

int main(int argc, char **argv) {
    static llama l;
    if (argc < 6 || argc > 7) return 2;
    llama_log_set(be_silent, NULL);
    llama_backend_init();
    struct llama_model_params p = llama_model_default_params();
    p.n_gpu_layers = 0;
    l.model = llama_model_load_from_file(argv[1], p);
    l.threads = atoi(argv[3]);
    l.length = (size_t)atoi(argv[5]);
    if (l.model && argc > 6) l.adapter = llama_adapter_lora_init(l.model, argv[6]);
    if (!l.model || (argc > 6 && !l.adapter)) {
        printf("{\"error\": \"llama.cpp does not load %s\"}\n", argv[l.model ? 6 : 1]);
        return 1;
    }
    l.batch = llama_batch_init(CHUNK, 0, 1);
    engine e = {.prefill = prefill,
                .decode = decode,
                .logits = logits,
                .adapters = l.adapter != NULL,
                .vocabulary = (size_t)llama_vocab_n_tokens(llama_model_get_vocab(l.model)),
                .self = &l};
    printf("{\"version\": \"%s\", \"note\": \"%s\"}\n", VERSION, llama_print_system_info());
    take_turns(&e, "peer-llama");
    return 0;
}
