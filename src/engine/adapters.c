/* adapters.c - see adapters.h. */
#include "engine/adapters.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"

struct glia_known_adapter {
    char *name, *path, *base_model;
    int32_t number;
    int requests; /* that hold it */
    bool gone;    /* replaced or dropped */
    int rank;
    double alpha;
    size_t bytes;                 /* of all ranks of this process */
    glia_packed_adapter **packed; /* [n_ranks]; NULL: not in memory */
    int32_t *invocation;          /* [n_invocation] tokens from which on it acts; 0: it always acts */
    size_t n_invocation;
    uint64_t used;
    glia_known_adapter *next;
};

glia_status glia_adapters_open(glia_adapters *a, glia_err *err) {
    const int why = pthread_mutex_init(&a->lock, NULL);
    a->open = !why;
    return why ? glia_fail(err, GLIA_ERR_NOMEM, "a lock: %s", strerror(why)) : GLIA_OK;
}

static void free_packed(glia_adapters *a, glia_packed_adapter **packed) {
    for (int i = 0; packed && i < a->n_ranks; i++) glia_packed_adapter_free(packed[i]);
    free(packed);
}

static void free_known(glia_adapters *a, glia_known_adapter *k) {
    if (!k) return;
    free_packed(a, k->packed);
    free(k->invocation);
    free(k->name);
    free(k->path);
    free(k->base_model);
    free(k);
}

void glia_adapters_close(glia_adapters *a) {
    for (glia_known_adapter *k = a->first, *next; k; k = next) {
        next = k->next;
        free_known(a, k);
    }
    a->first = NULL;
    if (a->open) pthread_mutex_destroy(&a->lock);
    a->open = false;
}

/* ---- reading ---------------------------------------------------------------- */

static char *copy_of(const char *s) {
    const size_t n = s ? strlen(s) + 1 : 0;
    char *copy = n ? malloc(n) : NULL;
    return copy ? memcpy(copy, s, n) : NULL;
}

static glia_status check_fit(const glia_adapters *a, const char *name, int rank, size_t bytes,
                             glia_err *err) {
    if (rank > a->limits.rank)
        return glia_fail(err, GLIA_ERR_LIMIT,
                         "adapter %.100s has rank %d, the limit is %d: raise max_lora_rank", name, rank,
                         a->limits.rank);
    if (bytes > a->limits.bytes)
        return glia_fail(err, GLIA_ERR_LIMIT,
                         "adapter %.100s takes %zu bytes of a rank, a place has %zu: name it when the engine "
                         "starts, or raise max_lora_rank",
                         name, bytes, a->limits.bytes);
    return GLIA_OK;
}

/* Fail if the directory has a tokenizer that gives an id of the model other bytes than the model's. */
static glia_status check_tokenizer(const glia_adapters *a, const char *dir, glia_err *err) {
    glia_tokenizer *own;
    char *path = glia_path_join(dir, "tokenizer.json");
    const bool found = path && a->tokenizer && glia_name_exists(path);
    free(path);
    if (!found) return GLIA_OK;
    glia_status status = glia_tokenizer_load(&own, dir, err);
    if (status) return status;
    for (int32_t id = 0; !status && id < a->weights[0]->config->vocab; id++) {
        size_t n, m;
        const char *x = glia_tokenizer_bytes(own, id, &n), *y = glia_tokenizer_bytes(a->tokenizer, id, &m);
        if ((x != NULL) != (y != NULL) || (x && (n != m || memcmp(x, y, n) != 0)))
            status = glia_fail(
                err, GLIA_ERR_SHAPE,
                "%s/tokenizer.json: token %d differs from the model's: the adapter belongs to another "
                "tokenizer",
                dir, id);
    }
    glia_tokenizer_free(own);
    return status;
}

static glia_status copy_invocation(glia_known_adapter *k, const json_t *tokens, glia_err *err) {
    k->n_invocation = json_array_size(tokens);
    k->invocation = malloc((k->n_invocation + 1) * sizeof *k->invocation);
    if (!k->invocation) return glia_fail_nomem(err, k->n_invocation * sizeof *k->invocation, "an adapter");
    for (size_t i = 0; i < k->n_invocation; i++)
        k->invocation[i] = (int32_t)json_integer_value(json_array_get(tokens, i));
    return GLIA_OK;
}

/* Read and pack k's directory. Without the lock. */
static glia_status read_known(const glia_adapters *a, glia_known_adapter *k, glia_warning_fn *warning,
                              void *user, glia_err *err) {
    glia_adapter adapter;
    glia_adapter_base base = a->base;
    base.weight = a->weights;
    base.n = a->n_ranks;
    glia_status status =
        glia_adapter_open(&adapter, k->path, a->weights[0]->config, &base, warning, user, err);
    if (status) return status;
    k->packed = calloc((size_t)a->n_ranks, sizeof(glia_packed_adapter *));
    if (!k->packed) status = glia_fail_nomem(err, 0, "an adapter");
    k->rank = adapter.rank;
    k->alpha = adapter.files.alpha;
    k->bytes = 0;
    if (!k->base_model) k->base_model = copy_of(adapter.files.base_model);
    if (!status) status = copy_invocation(k, adapter.files.invocation, err);
    if (!status) status = check_tokenizer(a, k->path, err);
    if (!status) status = check_fit(a, k->name, k->rank, 0, err);
    for (int i = 0; !status && i < a->n_ranks; i++) {
        status = glia_adapter_pack(&k->packed[i], &adapter, a->weights[i], a->cpu_flags, err);
        if (status) break;
        const size_t bytes = glia_packed_adapter_bytes(k->packed[i]);
        k->bytes += bytes;
        status = check_fit(a, k->name, k->rank, bytes, err);
    }
    glia_adapter_close(&adapter);
    return status;
}

/* ---- the list, under the lock ----------------------------------------------- */

static glia_known_adapter *find_name(const glia_adapters *a, const char *name) {
    for (glia_known_adapter *k = a->first; k; k = k->next)
        if (!k->gone && strcmp(k->name, name) == 0) return k;
    return NULL;
}

static glia_known_adapter *find_number(const glia_adapters *a, int32_t number) {
    for (glia_known_adapter *k = a->first; k; k = k->next)
        if (k->number == number) return k;
    return NULL;
}

static void remove_known(glia_adapters *a, glia_known_adapter *k) {
    glia_known_adapter **link = &a->first;
    while (*link != k) link = &(*link)->next;
    *link = k->next;
    free_known(a, k);
}

/* Forget the adapter's name; forget the adapter when its last request has ended. */
static void retire(glia_adapters *a, glia_known_adapter *k) {
    k->gone = true;
    if (!k->requests) remove_known(a, k);
}

/* Free the memory of adapters that no request holds, the least recently used first, until `most` are left. */
static void trim(glia_adapters *a) {
    for (;;) {
        glia_known_adapter *oldest = NULL;
        int n = 0;
        for (glia_known_adapter *k = a->first; k; k = k->next) {
            if (!k->packed) continue;
            n++;
            if (!k->requests && (!oldest || k->used < oldest->used)) oldest = k;
        }
        if (n <= a->most || !oldest) return;
        free_packed(a, oldest->packed);
        oldest->packed = NULL;
    }
}

static glia_status no_such(const glia_adapters *a, const char *name, glia_err *err) {
    glia_buf names = {0};
    for (const glia_known_adapter *k = a->first; k; k = k->next)
        if (!k->gone) glia_buf_printf(&names, "%s%.60s", names.len ? ", " : "", k->name);
    const glia_status status =
        glia_fail(err, GLIA_ERR_ARGUMENT, "there is no adapter %.100s; %s%.300s", name,
                  names.len ? "there are " : "none is loaded", names.len ? names.data : "");
    glia_buf_free(&names);
    return status;
}

/* ---- any thread ------------------------------------------------------------- */

glia_status glia_adapters_load(glia_adapters *a, const char *name, const char *path, bool replace,
                               glia_warning_fn *warning, void *user, glia_err *err) {
    if (!a->limits.places)
        return glia_fail(err, GLIA_ERR_ARGUMENT,
                         "the engine has no places for adapters: it needs enable_lora");
    if (!*name) return glia_fail(err, GLIA_ERR_ARGUMENT, "an adapter needs a name");
    glia_known_adapter *k = calloc(1, sizeof *k);
    if (k) k->name = copy_of(name);
    if (k) k->path = copy_of(path);
    glia_status status = k && k->name && k->path ? GLIA_OK : glia_fail_nomem(err, strlen(path), "an adapter");
    pthread_mutex_lock(&a->lock);
    const bool taken = find_name(a, name) && !replace;
    pthread_mutex_unlock(&a->lock);
    if (!status && taken)
        status = glia_fail(err, GLIA_ERR_ARGUMENT, "adapter %.100s is loaded already", name);
    if (!status) status = read_known(a, k, warning, user, err);
    if (status) {
        free_known(a, k);
        return status;
    }
    pthread_mutex_lock(&a->lock);
    glia_known_adapter *old = find_name(a, name);
    if (old && replace) retire(a, old);
    if (old && !replace) {
        status = glia_fail(err, GLIA_ERR_ARGUMENT, "adapter %.100s is loaded already", name);
    } else {
        k->number = ++a->last_number;
        k->used = ++a->clock;
        k->next = a->first;
        a->first = k;
        trim(a);
    }
    pthread_mutex_unlock(&a->lock);
    if (status) free_known(a, k);
    return status;
}

glia_status glia_adapters_drop(glia_adapters *a, const char *name, glia_err *err) {
    glia_status status = GLIA_OK;
    if (!a->open) return glia_fail(err, GLIA_ERR_ARGUMENT, "there is no adapter %.100s", name);
    pthread_mutex_lock(&a->lock);
    glia_known_adapter *k = find_name(a, name);
    if (k)
        retire(a, k);
    else
        status = no_such(a, name, err);
    pthread_mutex_unlock(&a->lock);
    return status;
}

/* Read an adapter again that gave way. It keeps its number if its files are as before, which nobody can tell,
 * so it gets a new number. The lock is held before and after. */
static glia_status read_again(glia_adapters *a, glia_known_adapter *k, glia_err *err) {
    glia_known_adapter again = {.name = k->name, .path = k->path, .base_model = k->base_model};
    k->requests++; /* so that k stays */
    pthread_mutex_unlock(&a->lock);
    const glia_status status = read_known(a, &again, NULL, NULL, err);
    pthread_mutex_lock(&a->lock);
    k->requests--;
    if (status || k->packed) { /* another thread was faster */
        free_packed(a, again.packed);
        free(again.invocation);
        return k->packed ? GLIA_OK : status;
    }
    free(k->invocation);
    k->invocation = again.invocation;
    k->n_invocation = again.n_invocation;
    k->packed = again.packed;
    k->bytes = again.bytes;
    k->rank = again.rank;
    k->number = ++a->last_number;
    return GLIA_OK;
}

/* Where the adapter begins to act: at the last occurrence of its invocation tokens, as in PEFT. */
static int begins_in(const glia_known_adapter *k, const int32_t *ids, size_t n) {
    const size_t m = k->n_invocation;
    for (size_t at = n; m && at >= m; at--)
        if (memcmp(ids + at - m, k->invocation, m * sizeof *ids) == 0) return (int)(at - m);
    return m ? INT_MAX : 0;
}

glia_status glia_adapters_hold(glia_adapters *a, const char *name, const int32_t *ids, size_t n,
                               int32_t *number, int *begins, glia_err *err) {
    glia_status status = GLIA_OK;
    *number = *begins = 0;
    if (!a->open)
        return glia_fail(err, GLIA_ERR_ARGUMENT, "there is no adapter %.100s: the engine has no adapters",
                         name);
    pthread_mutex_lock(&a->lock);
    glia_known_adapter *k = find_name(a, name);
    if (!k)
        status = no_such(a, name, err);
    else if (!k->packed)
        status = read_again(a, k, err);
    if (!status) {
        k->requests++;
        k->used = ++a->clock;
        *number = k->number;
        *begins = begins_in(k, ids, n);
        trim(a);
    }
    pthread_mutex_unlock(&a->lock);
    return status;
}

bool glia_adapters_release(glia_adapters *a, int32_t number) {
    pthread_mutex_lock(&a->lock);
    glia_known_adapter *k = find_number(a, number);
    assert(k && k->requests > 0);
    k->requests--;
    const bool last = k->gone && !k->requests;
    if (last) remove_known(a, k);
    pthread_mutex_unlock(&a->lock);
    return last;
}

const glia_packed_adapter *glia_adapters_find(glia_adapters *a, int32_t number, int i) {
    pthread_mutex_lock(&a->lock);
    const glia_known_adapter *k = find_number(a, number);
    const glia_packed_adapter *packed = k && k->packed ? k->packed[i] : NULL;
    pthread_mutex_unlock(&a->lock);
    return packed;
}

json_t *glia_adapters_list(glia_adapters *a) {
    json_t *list = json_array();
    if (!a->open) return list;
    pthread_mutex_lock(&a->lock);
    for (const glia_known_adapter *k = a->first; k; k = k->next)
        if (!k->gone)
            json_array_insert_new(list, 0,
                                  json_pack("{s:s, s:s, s:i, s:f, s:s?, s:I, s:i, s:b}", "name", k->name,
                                            "path", k->path, "rank", k->rank, "alpha", k->alpha, "base_model",
                                            k->base_model, "bytes", (json_int_t)k->bytes, "requests",
                                            k->requests, "in_memory", k->packed != NULL));
    pthread_mutex_unlock(&a->lock);
    return list;
}
