/* adapters.h - the adapters that an engine knows: loaded, replaced and dropped by any
 * thread while others run.
 *
 * An adapter has a number, which is new for each load, so that sequences of a replaced
 * adapter share no cache block with those of the new one. A request holds the adapter
 * that it names: one that is replaced or dropped lives until its requests have ended.
 * Adapters are packed for the ranks of this process. Besides those that requests hold,
 * at most `most` are kept in memory; the least recently used one gives way and is read
 * from its directory again when a request names it. A lock guards all of it. */
#ifndef GLIA_ENGINE_ADAPTERS_H
#define GLIA_ENGINE_ADAPTERS_H

#include <jansson.h>
#include <pthread.h>

#include "model/adapter_pack.h"
#include "text/tokenizer.h"

typedef struct glia_known_adapter glia_known_adapter;

typedef struct {
    const glia_weights *const *weights; /* [n_ranks] of this process */
    int n_ranks;
    unsigned cpu_flags;
    glia_place_limits limits;
    int most;                        /* adapters kept in memory */
    glia_adapter_base base;          /* its dir must outlive this */
    const glia_tokenizer *tokenizer; /* the model's, with which an adapter's own must agree, or NULL */
    /* private */
    pthread_mutex_t lock;
    bool open;
    glia_known_adapter *first;
    int32_t last_number;
    uint64_t clock;
} glia_adapters;

glia_status glia_adapters_open(glia_adapters *a, glia_err *err);
/* After the last request. A zeroed *a is fine. */
void glia_adapters_close(glia_adapters *a);

/* Read the adapter in directory `path` under a name. With `replace` an adapter of that name is replaced, else
 * it is an error. Errors: as of glia_adapter_open(); GLIA_ERR_ARGUMENT the engine has no places, the name is
 * empty or taken; GLIA_ERR_LIMIT the adapter does not fit in a place. */
glia_status glia_adapters_load(glia_adapters *a, const char *name, const char *path, bool replace,
                               glia_warning_fn *warning, void *user, glia_err *err);
/* Errors: GLIA_ERR_ARGUMENT no such adapter. */
glia_status glia_adapters_drop(glia_adapters *a, const char *name, glia_err *err);
/* Hold the adapter of a name, in memory, for a prompt ids[n]. The caller releases *number. *begins: the first
 * position that the adapter changes; INT_MAX: the prompt lacks its invocation tokens.
 * Errors: GLIA_ERR_ARGUMENT no such adapter, naming those that are there; errors of reading it again. */
glia_status glia_adapters_hold(glia_adapters *a, const char *name, const int32_t *ids, size_t n,
                               int32_t *number, int *begins, glia_err *err);
/* True: the adapter was replaced or dropped, and this was its last request. */
bool glia_adapters_release(glia_adapters *a, int32_t number);
/* An adapter that is held, as rank i of this process has it. */
const glia_packed_adapter *glia_adapters_find(glia_adapters *a, int32_t number, int i);
/* [{"name", "path", "rank", "alpha", "base_model", "bytes", "requests", "in_memory"}, ...]; NULL: no memory.
 */
json_t *glia_adapters_list(glia_adapters *a);

#endif
