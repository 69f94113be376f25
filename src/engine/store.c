/* store.c - see store.h. */
#define _GNU_SOURCE
#include "engine/store.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "engine/store_index.h"

enum { STAGED_BYTES = 64 << 20, STAGED_MIN = 4, STAGED_MAX = 256, ENTRIES_MAX = 1 << 22, NAME = 48 };

static const char suffix[] = ".kv";

/* What a file begins with. The tokens follow, then the block. */
typedef struct {
    char magic[8];
    uint64_t fingerprint, tenant, n_tokens, block_bytes;
    uint64_t hash; /* of this header with hash 0, the tokens and the block */
} header;

static const char magic[8] = "gliakv1";

/* A file in the making: [file_bytes] header, tokens, block. */
typedef struct {
    char *bytes;
    size_t size;
    glia_store_key key;
} staged;

struct glia_store {
    glia_store_config config;
    int dir, n_staged;
    staged *staged; /* [n_staged] a ring */
    char *read;     /* one file */
    char *memory;
    pthread_t writer;
    bool has_writer;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    unsigned first, end; /* staged[first .. end) modulo n_staged are waiting */
    bool closing;
    glia_store_index index;
    glia_store_counts counts;
};

/* ---- keys and names ------------------------------------------------------------------- */

glia_store_key glia_store_root(const glia_store *s, uint64_t tenant) {
    const uint64_t seed[2] = {s->config.fingerprint, tenant};
    return (glia_store_key){{glia_hash(seed, sizeof seed, 1), glia_hash(seed, sizeof seed, 2)}};
}

glia_store_key glia_store_next(const glia_store *s, glia_store_key key, const int32_t *tokens) {
    const size_t n = (size_t)s->config.block_size * sizeof *tokens;
    return (glia_store_key){{glia_hash(tokens, n, key.word[0]), glia_hash(tokens, n, key.word[1])}};
}

static void name_of(char name[NAME], glia_store_key key) {
    snprintf(name, NAME, "%016" PRIx64 "%016" PRIx64 "%s", key.word[0], key.word[1], suffix);
}

/* Is this the name of an entry? */
static bool read_name(const char *name, glia_store_key *key) {
    char again[NAME];
    if (sscanf(name, "%16" SCNx64 "%16" SCNx64, &key->word[0], &key->word[1]) != 2) return false;
    name_of(again, *key);
    return strcmp(name, again) == 0;
}

static size_t file_bytes(const glia_store *s, int n_tokens) {
    return sizeof(header) + (size_t)n_tokens * sizeof(int32_t) + s->config.block_bytes;
}

/* ---- the directory ----------------------------------------------------------------------- */

typedef struct {
    glia_store_key key;
    uint64_t bytes;
    struct timespec used;
} found;

static int by_use(const void *a, const void *b) {
    const found *x = a, *y = b;
    if (x->used.tv_sec != y->used.tv_sec) return x->used.tv_sec < y->used.tv_sec ? -1 : 1;
    return (x->used.tv_nsec > y->used.tv_nsec) - (x->used.tv_nsec < y->used.tv_nsec);
}

/* Delete the part of a file that a process left that is no longer there. */
static void clean(const glia_store *s, const char *name) {
    long pid;
    uintptr_t store;
    int end = 0;
    const bool ours = sscanf(name, ".%ld-%" SCNxPTR ".tmp%n", &pid, &store, &end) == 2 && end && !name[end];
    if (ours && pid > 0 && kill((pid_t)pid, 0) && errno == ESRCH) unlinkat(s->dir, name, 0);
}

/* Append the entry of a name. Returns false if memory ran out. */
static bool look(const glia_store *s, const char *name, found **list, size_t *n, size_t *cap) {
    struct stat info;
    found one;
    if (!read_name(name, &one.key)) return clean(s, name), true;
    if (fstatat(s->dir, name, &info, AT_SYMLINK_NOFOLLOW) || !S_ISREG(info.st_mode)) return true;
    if (*n == *cap) {
        found *more = realloc(*list, (*cap = *cap * 2 + 1024) * sizeof *more);
        if (!more) return false;
        *list = more;
    }
    one.bytes = (uint64_t)info.st_size;
    one.used = info.st_mtim;
    (*list)[(*n)++] = one;
    return true;
}

static void delete_oldest(glia_store *s) {
    char name[NAME];
    const int32_t i = s->index.oldest;
    name_of(name, s->index.entry[i].key);
    glia_store_index_remove(&s->index, i);
    unlinkat(s->dir, name, 0);
}

/* Delete entries until one of so many bytes has room. */
static void make_room(glia_store *s, uint64_t bytes) {
    while (s->index.n > 0 && (s->index.n == s->index.most || s->index.bytes + bytes > s->config.most_bytes))
        delete_oldest(s);
}

static glia_status list_entries(glia_store *s, glia_err *err) {
    found *list = NULL;
    size_t n = 0, cap = 0;
    bool fits = true;
    const int copy = openat(s->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = copy >= 0 ? fdopendir(copy) : NULL;
    if (!dir) {
        if (copy >= 0) close(copy);
        return glia_fail(err, GLIA_ERR_IO, "%s: %s", s->config.dir, strerror(errno));
    }
    for (const struct dirent *e; fits && (e = readdir(dir)) != NULL;)
        fits = look(s, e->d_name, &list, &n, &cap);
    closedir(dir);
    if (n) qsort(list, n, sizeof *list, by_use);
    for (size_t i = 0; fits && i < n; i++) {
        make_room(s, list[i].bytes);
        glia_store_index_add(&s->index, list[i].key, list[i].bytes);
    }
    free(list);
    return fits ? GLIA_OK : glia_fail_nomem(err, cap, "the list of cached prefixes");
}

/* ---- the writer ----------------------------------------------------------------------------- */

static bool write_all(int fd, const char *bytes, size_t n) {
    while (n > 0) {
        const ssize_t k = write(fd, bytes, n);
        if (k < 0 && errno == EINTR) continue;
        if (k <= 0) return false;
        bytes += k;
        n -= (size_t)k;
    }
    return true;
}

/* Write the file under another name and rename it. */
static bool write_file(const glia_store *s, const staged *f) {
    char temp[NAME], name[NAME];
    snprintf(temp, sizeof temp, ".%ld-%" PRIxPTR ".tmp", (long)getpid(), (uintptr_t)s);
    name_of(name, f->key);
    const int fd = openat(s->dir, temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) return false;
    bool good = write_all(fd, f->bytes, f->size);
    good = close(fd) == 0 && good;
    good = good && renameat(s->dir, temp, s->dir, name) == 0;
    if (!good) unlinkat(s->dir, temp, 0);
    return good;
}

static void write_next(glia_store *s) {
    staged *f = &s->staged[s->first % (unsigned)s->n_staged];
    header *h = (header *)(void *)f->bytes;
    const bool fits = f->size <= s->config.most_bytes;
    if (fits) make_room(s, f->size);
    pthread_mutex_unlock(&s->lock);
    h->hash = glia_hash(f->bytes, f->size, 0);
    const bool good = fits && write_file(s, f);
    pthread_mutex_lock(&s->lock);
    if (good && glia_store_index_find(&s->index, f->key) < 0) {
        make_room(s, 0);
        glia_store_index_add(&s->index, f->key, f->size);
    }
    s->counts.stored += good;
    s->counts.dropped += !good;
    s->first++;
}

static void *writer(void *user) {
    glia_store *s = user;
    pthread_mutex_lock(&s->lock);
    while (!s->closing || s->first != s->end) {
        if (s->first == s->end)
            pthread_cond_wait(&s->changed, &s->lock);
        else
            write_next(s);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* ---- opening and closing ------------------------------------------------------------------------ */

static glia_status open_dir(glia_store *s, glia_err *err) {
    const char *dir = s->config.dir;
    if (mkdir(dir, 0700) && errno != EEXIST)
        return glia_fail(err, GLIA_ERR_IO, "%s: %s", dir, strerror(errno));
    s->dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (s->dir < 0) return glia_fail(err, GLIA_ERR_IO, "%s: %s", dir, strerror(errno));
    if (faccessat(s->dir, ".", R_OK | W_OK | X_OK, 0))
        return glia_fail(err, GLIA_ERR_IO, "%s: %s", dir, strerror(errno));
    return GLIA_OK;
}

static glia_status allocate(glia_store *s, glia_err *err) {
    const glia_store_config *c = &s->config;
    const size_t file = (file_bytes(s, c->most_tokens) + 63) / 64 * 64;
    const uint64_t entries = c->most_bytes / c->block_bytes + 2;
    size_t n = STAGED_BYTES / file;
    n = n < STAGED_MIN ? STAGED_MIN : n > STAGED_MAX ? STAGED_MAX : n;
    s->memory = malloc((n + 1) * file);
    s->staged = calloc(n, sizeof *s->staged);
    if (!s->memory || !s->staged ||
        !glia_store_index_open(&s->index, entries < ENTRIES_MAX ? (int32_t)entries : ENTRIES_MAX))
        return glia_fail_nomem(err, (n + 1) * file, "buffers of cached prefixes");
    s->n_staged = (int)n;
    for (size_t i = 0; i < n; i++) s->staged[i].bytes = s->memory + i * file;
    s->read = s->memory + n * file;
    return GLIA_OK;
}

glia_status glia_store_open(glia_store **out, const glia_store_config *config, glia_err *err) {
    *out = NULL;
    glia_store *s = calloc(1, sizeof *s);
    if (!s) return glia_fail_nomem(err, sizeof *s, "the store of prefixes");
    s->config = *config;
    s->dir = -1;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    glia_status status = open_dir(s, err);
    if (!status) status = allocate(s, err);
    if (!status) status = list_entries(s, err);
    if (!status && pthread_create(&s->writer, NULL, writer, s))
        status = glia_fail(err, GLIA_ERR_NOMEM, "a thread that writes cached prefixes");
    s->has_writer = !status;
    if (status)
        glia_store_close(s);
    else
        *out = s;
    return status;
}

void glia_store_close(glia_store *s) {
    if (!s) return;
    pthread_mutex_lock(&s->lock);
    s->closing = true;
    pthread_cond_signal(&s->changed);
    pthread_mutex_unlock(&s->lock);
    if (s->has_writer) pthread_join(s->writer, NULL);
    glia_store_index_close(&s->index);
    if (s->dir >= 0) close(s->dir);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    free(s->staged);
    free(s->memory);
    free(s);
}

/* ---- the engine thread ------------------------------------------------------------------------------ */

bool glia_store_has(glia_store *s, glia_store_key key) {
    pthread_mutex_lock(&s->lock);
    const int32_t i = glia_store_index_find(&s->index, key);
    if (i >= 0) glia_store_index_use(&s->index, i);
    bool waits = false;
    for (unsigned k = s->first; k != s->end && i < 0; k++)
        waits |= memcmp(&s->staged[k % (unsigned)s->n_staged].key, &key, sizeof key) == 0;
    pthread_mutex_unlock(&s->lock);
    return i >= 0 || waits;
}

char *glia_store_buffer(glia_store *s) {
    pthread_mutex_lock(&s->lock);
    const bool full = s->end - s->first == (unsigned)s->n_staged;
    s->counts.dropped += full;
    pthread_mutex_unlock(&s->lock);
    /* The block stands at the end of the longest file, so that it needs no move when the tokens are known. */
    return full ? NULL
                : s->staged[s->end % (unsigned)s->n_staged].bytes +
                      (file_bytes(s, s->config.most_tokens) - s->config.block_bytes);
}

void glia_store_put(glia_store *s, glia_store_key key, uint64_t tenant, const int32_t *tokens, int n) {
    staged *f = &s->staged[s->end % (unsigned)s->n_staged];
    const size_t token_bytes = (size_t)n * sizeof *tokens, longest = file_bytes(s, s->config.most_tokens);
    assert(n <= s->config.most_tokens);
    f->key = key;
    f->size = file_bytes(s, n);
    header *h = (header *)(void *)f->bytes;
    *h = (header){.fingerprint = s->config.fingerprint,
                  .tenant = tenant,
                  .n_tokens = (uint64_t)n,
                  .block_bytes = s->config.block_bytes};
    memcpy(h->magic, magic, sizeof magic);
    memcpy(f->bytes + sizeof *h, tokens, token_bytes);
    memmove(f->bytes + sizeof *h + token_bytes, f->bytes + longest - s->config.block_bytes,
            s->config.block_bytes);
    pthread_mutex_lock(&s->lock);
    s->end++;
    pthread_cond_signal(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

/* Read the file into s->read. Returns its bytes; 0: there is no such file, or it is no longer readable. */
static size_t read_file(const glia_store *s, const char *name, size_t size) {
    const int fd = openat(s->dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    size_t n = 0;
    if (fd < 0) return 0;
    for (ssize_t k = 1; k > 0 && n<size; n += k> 0 ? (size_t)k : 0) k = read(fd, s->read + n, size - n);
    char more;
    if (n == size && read(fd, &more, 1) != 0) n = 0;
    close(fd);
    return n;
}

static bool is_whole(const glia_store *s, size_t size, uint64_t tenant, const int32_t *tokens, int n) {
    header *h = (header *)(void *)s->read;
    const uint64_t hash = h->hash;
    h->hash = 0;
    return memcmp(h->magic, magic, sizeof magic) == 0 && h->fingerprint == s->config.fingerprint &&
           h->tenant == tenant && h->n_tokens == (uint64_t)n && h->block_bytes == s->config.block_bytes &&
           hash == glia_hash(s->read, size, 0) &&
           memcmp(s->read + sizeof *h, tokens, (size_t)n * sizeof *tokens) == 0;
}

static void forget(glia_store *s, glia_store_key key, const char *name) {
    pthread_mutex_lock(&s->lock);
    const int32_t i = glia_store_index_find(&s->index, key);
    if (i >= 0) glia_store_index_remove(&s->index, i);
    s->counts.dropped++;
    pthread_mutex_unlock(&s->lock);
    unlinkat(s->dir, name, 0);
}

const char *glia_store_get(glia_store *s, glia_store_key key, uint64_t tenant, const int32_t *tokens, int n) {
    char name[NAME];
    const size_t size = file_bytes(s, n);
    pthread_mutex_lock(&s->lock);
    const int32_t i = glia_store_index_find(&s->index, key);
    if (i >= 0) glia_store_index_use(&s->index, i);
    pthread_mutex_unlock(&s->lock);
    if (i < 0) return NULL;
    name_of(name, key);
    if (read_file(s, name, size) != size || !is_whole(s, size, tenant, tokens, n))
        return forget(s, key, name), NULL;
    utimensat(s->dir, name, NULL, 0); /* the next process deletes by last use */
    pthread_mutex_lock(&s->lock);
    s->counts.fetched++;
    pthread_mutex_unlock(&s->lock);
    return s->read + size - s->config.block_bytes;
}

glia_store_counts glia_store_count(glia_store *s) {
    pthread_mutex_lock(&s->lock);
    const glia_store_counts c = s->counts;
    pthread_mutex_unlock(&s->lock);
    return c;
}
