/* tokenizer_tables.c - see tokenizer_tables.h.
 *
 * The file is read into memory, so that a later change of the file changes no table. The
 * hash tables of tokens and merges are used where they lie in it. Tokens and their bytes
 * are copied, because added tokens may follow. */
#include "text/tokenizer_tables.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "format/safetensors.h"
#include "text/tokenizer_read.h"

enum { ALIGN = 64, FILE_MAX = 1 << 30 };

/* Tables in file order. The sizes of all but the last three are multiples of ALIGN. */
enum { T_SLOTS, T_MERGES, T_TOKENS, T_BYTE_IDS, T_COUNTS, T_BYTES, T_REST, T_HASH, N_TABLES };
static const char *const names[N_TABLES] = {"slots",  "merges", "tokens", "byte_ids",
                                            "counts", "bytes",  "rest",   "hash"};
/* Elements of one entry. */
static const int64_t widths[N_TABLES] = {2, 4, 2, 1, 1, 1, 1, 1};

static const char layout_key[] = "glia_tokenizer_layout", hash_key[] = "tokenizer_hash";

/* ---- write ------------------------------------------------------------------ */

typedef struct {
    const void *at;
    size_t n;
    glia_tensor_dtype dtype;
} table;

static void list_tables(table t[N_TABLES], const glia_bpe *b, const uint64_t counts[2], const char *rest,
                        const uint64_t *hash) {
    const table all[N_TABLES] = {
        [T_SLOTS] = {b->slot, b->slot_mask + 1, GLIA_TENSOR_U32},
        [T_MERGES] = {b->merge, b->merge ? b->merge_mask + 1 : 0, GLIA_TENSOR_U32},
        [T_TOKENS] = {b->token, b->n_ids, GLIA_TENSOR_U32},
        [T_BYTE_IDS] = {b->byte_id, 256, GLIA_TENSOR_I32},
        [T_COUNTS] = {counts, 2, GLIA_TENSOR_U64},
        [T_BYTES] = {b->bytes.data, b->bytes.len, GLIA_TENSOR_U8},
        [T_REST] = {rest, strlen(rest), GLIA_TENSOR_U8},
        [T_HASH] = {hash, 1, GLIA_TENSOR_U64},
    };
    memcpy(t, all, sizeof all);
}

static glia_status write_tables(const glia_bpe *b, const char *rest, const char *hash, const char *path,
                                glia_err *err) {
    const uint64_t counts[2] = {b->n_tokens, b->n_merges};
    uint64_t sum;
    char layout[16];
    table t[N_TABLES];
    glia_tensor_spec spec[N_TABLES];
    size_t bytes[N_TABLES];
    glia_safetensors_writer *w;
    list_tables(t, b, counts, rest, &sum);
    for (int i = 0; i < N_TABLES; i++) {
        spec[i] =
            (glia_tensor_spec){names[i], t[i].dtype, widths[i] > 1 ? 2 : 1, {(int64_t)t[i].n, widths[i]}};
        if (!glia_tensor_bytes(spec[i].dtype, spec[i].shape, spec[i].n_dims, &bytes[i])) bytes[i] = 0;
    }
    snprintf(layout, sizeof layout, "%d", GLIA_TOKENIZER_TABLES_LAYOUT);
    json_t *metadata = json_pack("{s:s, s:s, s:s}", "format", "glia", layout_key, layout, hash_key, hash);
    glia_status status = glia_safetensors_create_with(&w, path, spec, N_TABLES, metadata, ALIGN, &sum, err);
    json_decref(metadata);
    if (status) return status;
    for (int i = 0; !status && i < N_TABLES; i++) {
        status = glia_safetensors_append(w, t[i].at, bytes[i], err);
        if (i < T_HASH) sum = glia_hash(t[i].at, bytes[i], sum);
    }
    if (!status) return glia_safetensors_finish(w, err);
    glia_safetensors_abandon(w);
    return status;
}

glia_status glia_tokenizer_tables_write(const char *dir, const char *path, glia_err *err) {
    glia_bpe b = {0};
    json_t *rest = NULL;
    size_t len;
    char hex[GLIA_HASH_HEX], *json = NULL, *text = NULL, *from = glia_path_join(dir, "tokenizer.json");
    glia_status status =
        from ? glia_read_file(&json, &len, from, FILE_MAX, err) : glia_fail_nomem(err, strlen(dir), "a path");
    if (!status) status = glia_tokenizer_read(&b, &rest, json, len, from, err);
    if (!status && !(text = json_dumps(rest, JSON_COMPACT)))
        status = glia_fail_nomem(err, 0, "the tokenizer");
    if (!status) {
        glia_hash_hex(hex, glia_hash(json, len, 0));
        status = write_tables(&b, text, hex, path, err);
    }
    free(text);
    json_decref(rest);
    glia_bpe_free(&b);
    free(json);
    free(from);
    return status;
}

/* ---- read ------------------------------------------------------------------- */

static bool says(const glia_safetensors *file, const char *key, const char *value) {
    const char *found = json_string_value(json_object_get(file->metadata, key));
    return found && strcmp(found, value) == 0;
}

/* True if tensor i is a hash table: its number of entries must be a power of two. */
static bool is_table(const glia_tensor_view *t, int i) {
    const int64_t n = t->shape[0];
    return t->dtype == GLIA_TENSOR_U32 && t->n_dims == 2 && t->shape[1] == widths[i] && n > 0 &&
           (n & (n - 1)) == 0;
}

static bool have_shapes(const glia_tensor_view *t) {
    return is_table(&t[T_SLOTS], T_SLOTS) && (t[T_MERGES].bytes == 0 || is_table(&t[T_MERGES], T_MERGES)) &&
           t[T_TOKENS].dtype == GLIA_TENSOR_U32 && t[T_TOKENS].n_dims == 2 && t[T_TOKENS].shape[1] == 2 &&
           t[T_BYTE_IDS].bytes == 256 * sizeof(int32_t) && t[T_COUNTS].bytes == 2 * sizeof(uint64_t) &&
           t[T_HASH].bytes == sizeof(uint64_t);
}

/* True if the file has this layout, belongs to this tokenizer.json and is unchanged. */
static bool holds(const glia_safetensors *file, const char *text, size_t len) {
    char layout[16], hex[GLIA_HASH_HEX];
    uint64_t sum, stored;
    snprintf(layout, sizeof layout, "%d", GLIA_TOKENIZER_TABLES_LAYOUT);
    if (!says(file, layout_key, layout) || file->n != N_TABLES) return false;
    for (int i = 0; i < N_TABLES; i++)
        if (strcmp(file->tensor[i].name, names[i]) != 0) return false;
    if (!have_shapes(file->tensor)) return false;
    sum = glia_hash(file->bytes, file->header_bytes, 0);
    for (int i = 0; i < T_HASH; i++) sum = glia_hash(file->tensor[i].data, file->tensor[i].bytes, sum);
    memcpy(&stored, file->tensor[T_HASH].data, sizeof stored);
    if (sum != stored) return false;
    glia_hash_hex(hex, glia_hash(text, len, 0));
    return says(file, hash_key, hex);
}

/* A hash is not a signature: the file may have another author. Check that no index
 * is out of range and that every search of a hash table ends. */
static bool is_sound(const glia_bpe *b) {
    size_t bad = 0, empty_slots = 0, empty_merges = b->merge ? 0 : 1;
    for (size_t i = 0; i < b->n_ids; i++) bad += (size_t)b->token[i].at + b->token[i].len > b->bytes.len;
    for (size_t i = 0; i <= b->slot_mask; i++) {
        empty_slots += b->slot[i].id < 0;
        bad += b->slot[i].id >= (int64_t)b->n_ids;
    }
    for (size_t i = 0; b->merge && i <= b->merge_mask; i++) {
        const bool empty = b->merge[i].rank == UINT32_MAX;
        empty_merges += empty;
        bad += !empty &&
               (b->merge[i].left >= b->n_ids || b->merge[i].right >= b->n_ids || b->merge[i].id >= b->n_ids);
    }
    for (int i = 0; i < 256; i++) bad += b->byte_id[i] >= (int64_t)b->n_ids;
    return bad == 0 && empty_slots > 0 && empty_merges > 0 && b->n_ids <= GLIA_VOCAB_MAX &&
           b->n_tokens <= b->n_ids;
}

static bool bind(glia_bpe *b, const glia_safetensors *file) {
    const glia_tensor_view *t = file->tensor;
    uint64_t counts[2];
    memcpy(counts, t[T_COUNTS].data, sizeof counts);
    *b = (glia_bpe){
        .token = malloc(t[T_TOKENS].bytes + 1),
        .n_ids = (size_t)t[T_TOKENS].shape[0],
        .token_cap = (size_t)t[T_TOKENS].shape[0],
        .n_tokens = counts[0],
        .slot = (glia_bpe_slot *)(uintptr_t)t[T_SLOTS].data, /* only read from here on */
        .slot_mask = (size_t)t[T_SLOTS].shape[0] - 1,
        .merge = t[T_MERGES].bytes ? (glia_bpe_merge *)(uintptr_t)t[T_MERGES].data : NULL,
        .merge_mask = (size_t)t[T_MERGES].shape[0] - 1,
        .n_merges = counts[1],
        .cached = *file,
    };
    glia_buf_add(&b->bytes, t[T_BYTES].data, t[T_BYTES].bytes);
    memcpy(b->byte_id, t[T_BYTE_IDS].data, sizeof b->byte_id);
    if (b->token) memcpy(b->token, t[T_TOKENS].data, t[T_TOKENS].bytes);
    return b->token && !b->bytes.oom && is_sound(b);
}

bool glia_tokenizer_tables_read(glia_bpe *b, json_t **rest, const char *dir, const char *text, size_t len) {
    glia_safetensors file = {0};
    char *path = glia_path_join(dir, "weights/tokenizer.safetensors");
    *rest = NULL;
    bool good = path && !glia_safetensors_read(&file, path, NULL) && holds(&file, text, len);
    free(path);
    if (good) {
        const glia_tensor_view *t = &file.tensor[T_REST];
        good = bind(b, &file) && (*rest = json_loadb(t->data, t->bytes, JSON_REJECT_DUPLICATES, NULL));
        if (!good) glia_bpe_free(b); /* closes the file too */
    } else {
        glia_safetensors_close(&file);
    }
    return good;
}
