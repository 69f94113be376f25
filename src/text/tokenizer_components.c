/* tokenizer_components.c - reads the components of tokenizer.json. Each is checked
 * completely: an unknown key, or a value that Glia does not support and that would
 * change a result, is an error that names it. */
#define _GNU_SOURCE /* strdup */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/json.h"
#include "text/tokenizer_impl.h"

/* A component being read. `where` is the file and the key, for messages. */
typedef struct {
    glia_json_reader r;
    char where[256];
} component;

static void open_component(component *p, const json_t *object, const char *where, const char *key,
                           glia_err *err) {
    snprintf(p->where, sizeof p->where, "%.180s: %.70s", where, key);
    p->r = (glia_json_reader){.object = object, .where = p->where, .err = err};
    if (!json_is_object(object))
        glia_json_fail(&p->r, GLIA_ERR_FORMAT, "expected an object, found %s", glia_json_type_name(object));
}

/* Fail if the object has a key that is not in `known`. NULL ends the list. */
static void only_keys(component *p, const char *const *known) {
    const char *key;
    json_t *value;
    char text[80];
    if (p->r.status) return;
    json_object_foreach((json_t *)(uintptr_t)p->r.object, key, value) {
        size_t i = 0;
        while (known[i] && strcmp(known[i], key) != 0) i++;
        if (!known[i])
            glia_json_fail(&p->r, GLIA_ERR_UNSUPPORTED, "%.60s is %s, a key that Glia does not know", key,
                           glia_json_print(value, text, sizeof text));
    }
}
#define ONLY_KEYS(p, ...) only_keys(p, (const char *const[]){__VA_ARGS__, NULL})

static const json_t *need(component *p, const char *key) {
    const json_t *value = p->r.status ? NULL : json_object_get(p->r.object, key);
    if (!value) glia_json_fail(&p->r, GLIA_ERR_FORMAT, "%s is missing", key);
    return value;
}

static bool need_bool(component *p, const char *key) {
    return need(p, key) ? glia_json_bool(&p->r, key, false) : false;
}

static const char *need_string(component *p, const char *key) {
    const char *s = need(p, key) ? glia_json_string(&p->r, key) : NULL;
    if (!s) glia_json_fail(&p->r, GLIA_ERR_FORMAT, "%s: expected a string", key);
    return s ? s : "";
}

static void unsupported_type(component *p) {
    char text[80];
    glia_json_fail(&p->r, GLIA_ERR_UNSUPPORTED, "type is %s, which Glia does not support",
                   glia_json_print(need(p, "type"), text, sizeof text));
}

/* Reads one component that is not a Sequence. */
typedef void component_fn(glia_tokenizer *t, component *p, const char *type);

/* Pass `object` to `fn`; if it is a Sequence, pass each element of its array `list`. */
static glia_status components(glia_tokenizer *t, const json_t *object, const char *list, component_fn *fn,
                              const char *where, const char *key, int depth, glia_err *err) {
    component p;
    open_component(&p, object, where, key, err);
    const char *type = need_string(&p, "type");
    if (p.r.status) return p.r.status;
    if (strcmp(type, "Sequence") != 0) {
        fn(t, &p, type);
        return p.r.status;
    }
    ONLY_KEYS(&p, "type", list);
    const json_t *elements = need(&p, list);
    if (!p.r.status && !json_is_array(elements))
        glia_json_fail(&p.r, GLIA_ERR_FORMAT, "%s: expected an array", list);
    if (!p.r.status && depth >= 4) glia_json_fail(&p.r, GLIA_ERR_LIMIT, "Sequences nested deeper than 4");
    glia_status status = p.r.status;
    for (size_t i = 0; i < json_array_size(elements) && !status; i++) {
        char name[64];
        snprintf(name, sizeof name, "%.40s[%zu]", key, i);
        status = components(t, json_array_get(elements, i), list, fn, where, name, depth + 1, err);
    }
    return status;
}

/* ---- normalizer ------------------------------------------------------------ */

static void read_normalizer(glia_tokenizer *t, component *p, const char *type) {
    static const char *const names[] = {"NFC", "NFD", "NFKC", "NFKD"};
    static const glia_normal_form forms[] = {GLIA_NFC, GLIA_NFD, GLIA_NFKC, GLIA_NFKD};
    size_t i = 0;
    while (i < 4 && strcmp(type, names[i]) != 0) i++;
    if (i == 4) {
        unsupported_type(p);
        return;
    }
    ONLY_KEYS(p, "type");
    if (t->n_forms == NORMALIZERS_MAX)
        glia_json_fail(&p->r, GLIA_ERR_LIMIT, "more than %d normalizers", NORMALIZERS_MAX);
    else
        t->form[t->n_forms++] = forms[i];
}

/* ---- pre_tokenizer --------------------------------------------------------- */

static const char byte_level_regex[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/* Append a step to the pre-tokenizer. With `pattern` NULL, the step puts a space
 * before each piece. */
static void add_step(glia_tokenizer *t, component *p, const char *pattern, bool literal,
                     glia_split_behavior behavior, bool invert) {
    glia_split_step step = {.behavior = behavior, .invert = invert};
    if (p->r.status) return;
    if (t->pre.n == GLIA_SPLIT_STEPS_MAX) {
        glia_json_fail(&p->r, GLIA_ERR_LIMIT, "more than %d steps", GLIA_SPLIT_STEPS_MAX);
        return;
    }
    if (pattern)
        p->r.status = glia_regex_compile(&step.regex, pattern, strlen(pattern), literal, p->where, p->r.err);
    if (!p->r.status) t->pre.step[t->pre.n++] = step;
}

static glia_split_behavior read_behavior(component *p) {
    static const char *const names[] = {"Removed", "Isolated", "MergedWithPrevious", "MergedWithNext",
                                        "Contiguous"};
    static const glia_split_behavior behaviors[] = {GLIA_SPLIT_REMOVED, GLIA_SPLIT_ISOLATED,
                                                    GLIA_SPLIT_MERGED_WITH_PREVIOUS,
                                                    GLIA_SPLIT_MERGED_WITH_NEXT, GLIA_SPLIT_CONTIGUOUS};
    const char *name = need_string(p, "behavior");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0) return behaviors[i];
    glia_json_fail(&p->r, GLIA_ERR_FORMAT,
                   "behavior is \"%.60s\", expected one of Removed, Isolated, "
                   "MergedWithPrevious, MergedWithNext, Contiguous",
                   name);
    return GLIA_SPLIT_ISOLATED;
}

static void read_split(glia_tokenizer *t, component *p) {
    ONLY_KEYS(p, "type", "pattern", "behavior", "invert");
    const glia_split_behavior behavior = read_behavior(p);
    const bool invert = need_bool(p, "invert");
    const json_t *object = need(p, "pattern");
    if (p->r.status) return;
    component pattern;
    open_component(&pattern, object, p->where, "pattern", p->r.err);
    ONLY_KEYS(&pattern, "Regex", "String");
    const char *regex = glia_json_string(&pattern.r, "Regex"),
               *string = glia_json_string(&pattern.r, "String");
    if (!regex == !string)
        glia_json_fail(&pattern.r, GLIA_ERR_FORMAT, "expected either \"Regex\" or \"String\"");
    if (string && !*string) glia_json_fail(&pattern.r, GLIA_ERR_UNSUPPORTED, "String is empty");
    add_step(t, &pattern, regex ? regex : string, !regex, behavior, invert);
    p->r.status = pattern.r.status;
}

/* The last pre-tokenizer: add_prefix_space, then GPT-2's regex if use_regex is true. */
static void read_byte_level(glia_tokenizer *t, component *p) {
    ONLY_KEYS(p, "type", "add_prefix_space", "trim_offsets", "use_regex"); /* Glia reports no offsets */
    if (need_bool(p, "add_prefix_space")) add_step(t, p, NULL, false, GLIA_SPLIT_ISOLATED, false);
    if (glia_json_bool(&p->r, "use_regex", true))
        add_step(t, p, byte_level_regex, false, GLIA_SPLIT_ISOLATED, false);
    t->byte_level = true;
}

static void read_pre_tokenizer(glia_tokenizer *t, component *p, const char *type) {
    if (t->byte_level) {
        glia_json_fail(&p->r, GLIA_ERR_UNSUPPORTED, "a %.60s after ByteLevel, which has to be the last",
                       type);
    } else if (strcmp(type, "Split") == 0) {
        read_split(t, p);
    } else if (strcmp(type, "Digits") == 0) {
        ONLY_KEYS(p, "type", "individual_digits");
        add_step(t, p, "\\p{N}", false,
                 need_bool(p, "individual_digits") ? GLIA_SPLIT_ISOLATED : GLIA_SPLIT_CONTIGUOUS, false);
    } else if (strcmp(type, "ByteLevel") == 0) {
        read_byte_level(t, p);
    } else {
        unsupported_type(p);
    }
}

/* ---- post_processor and decoder -------------------------------------------- */

/* Append the ids of a special token of the template to `ids`. */
static void add_template_ids(component *p, const json_t *token, glia_ids *ids) {
    const char *name = json_string_value(json_object_get(token, "id"));
    const json_t *entry = name ? json_object_get(json_object_get(p->r.object, "special_tokens"), name) : NULL;
    const json_t *list = json_object_get(entry, "ids");
    if (!json_is_array(list)) {
        glia_json_fail(&p->r, GLIA_ERR_FORMAT, "special_tokens has no ids for \"%.60s\"", name ? name : "");
        return;
    }
    if (!glia_ids_reserve(ids, json_array_size(list))) {
        p->r.status = glia_fail_nomem(p->r.err, json_array_size(list) * sizeof *ids->at, p->where);
        return;
    }
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *id = json_array_get(list, i);
        if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) >= GLIA_VOCAB_MAX) {
            glia_json_fail(&p->r, GLIA_ERR_FORMAT, "special_tokens: \"%.60s\": expected token ids", name);
            return;
        }
        ids->at[ids->n++] = (int32_t)json_integer_value(id);
    }
}

/* Read the tokens that "single" puts before and after the text. Glia does not use "pair" and type ids.
 * A second template is refused: tokenizers gives it the pieces of the first one as a pair of texts. */
static void read_template(glia_tokenizer *t, component *p) {
    ONLY_KEYS(p, "type", "single", "pair", "special_tokens");
    const json_t *single = need(p, "single");
    size_t texts = 0;
    if (t->before.n + t->after.n)
        glia_json_fail(&p->r, GLIA_ERR_UNSUPPORTED, "a TemplateProcessing after another one");
    for (size_t i = 0; i < json_array_size(single) && !p->r.status; i++) {
        const json_t *piece = json_array_get(single, i), *token = json_object_get(piece, "SpecialToken");
        const char *sequence = json_string_value(json_object_get(json_object_get(piece, "Sequence"), "id"));
        if (token)
            add_template_ids(p, token, texts ? &t->after : &t->before);
        else if (sequence && strcmp(sequence, "A") == 0)
            texts++;
        else
            glia_json_fail(&p->r, GLIA_ERR_FORMAT, "single[%zu]: expected a SpecialToken or the Sequence A",
                           i);
    }
    if (texts != 1)
        glia_json_fail(&p->r, GLIA_ERR_UNSUPPORTED, "single has the text %zu times, expected once", texts);
}

static void read_post_processor(glia_tokenizer *t, component *p, const char *type) {
    if (strcmp(type, "TemplateProcessing") == 0)
        read_template(t, p);
    else if (strcmp(type, "ByteLevel") == 0) /* as a post-processor it changes offsets only */
        ONLY_KEYS(p, "type", "add_prefix_space", "trim_offsets", "use_regex");
    else
        unsupported_type(p);
}

static void read_decoder(glia_tokenizer *t, component *p, const char *type) {
    (void)t;
    if (strcmp(type, "ByteLevel") == 0) /* the decoder has no settings; the pre-tokenizer uses these */
        ONLY_KEYS(p, "type", "add_prefix_space", "trim_offsets", "use_regex");
    else
        unsupported_type(p);
}

/* ---- model ----------------------------------------------------------------- */

/* The id of the vocabulary's token that is spelled `name`; -1: none. */
static int32_t find_spelled(const glia_bpe *b, const char *name) {
    const size_t len = strlen(name);
    bool raw;
    char *bytes = malloc(len + 1);
    if (!bytes) return -1;
    const size_t n = glia_bpe_unspell(bytes, name, len, &raw);
    const int32_t id = glia_bpe_find(b, bytes, n, raw);
    free(bytes);
    return id;
}

static bool has_fallback_token(const glia_bpe *b) {
    bool any = false;
    for (unsigned c = 0; c < 256; c++) {
        char name[8];
        snprintf(name, sizeof name, "<0x%02X>", c);
        any |= find_spelled(b, name) >= 0;
    }
    return any;
}

/* A byte without a token encodes to unk_token, or to nothing if there is no unk_token. */
static void read_unknown(glia_bpe *b, component *p) {
    const char *unk = glia_json_string(&p->r, "unk_token");
    const bool fallback = glia_json_bool(&p->r, "byte_fallback", false);
    const int32_t id = unk ? find_spelled(b, unk) : -1;
    int missing = -1;
    for (int c = 0; c < 256; c++) {
        if (b->byte_id[c] >= 0 || c == 0xc0 || c == 0xc1 || c >= 0xf5) continue; /* no byte of valid UTF-8 */
        b->byte_id[c] = id;
        if (missing < 0) missing = c;
    }
    b->unk_id = id;
    b->fuse_unk = glia_json_bool(&p->r, "fuse_unk", false) && id >= 0 && missing >= 0;
    if (missing >= 0 && unk && id < 0)
        glia_json_fail(&p->r, GLIA_ERR_FORMAT, "vocab has no token for byte 0x%02x and none for unk_token",
                       (unsigned)missing);
    if (missing >= 0 && fallback && has_fallback_token(b))
        glia_json_fail(&p->r, GLIA_ERR_UNSUPPORTED,
                       "byte_fallback is true, and vocab has no token for byte 0x%02x", (unsigned)missing);
}

static glia_status read_model(glia_tokenizer *t, const json_t *object, const char *where, glia_err *err) {
    component p;
    open_component(&p, object, where, "model", err);
    ONLY_KEYS(&p, "type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix",
              "fuse_unk", "byte_fallback", "ignore_merges", "vocab", "merges");
    const char *type = glia_json_string(&p.r, "type");
    if (type && strcmp(type, "BPE") != 0) unsupported_type(&p);
    static const char *const affix[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    for (size_t i = 0; i < 2; i++) {
        const char *value = glia_json_string(&p.r, affix[i]);
        if (value && *value)
            glia_json_fail(&p.r, GLIA_ERR_UNSUPPORTED, "%s is \"%.60s\", expected none", affix[i], value);
    }
    const double dropout = glia_json_real(&p.r, "dropout", 0, 0, 1);
    if (dropout > 0)
        glia_json_fail(&p.r, GLIA_ERR_UNSUPPORTED, "dropout is %g, which makes ids random; expected null",
                       dropout);
    t->bpe.ignore_merges = glia_json_bool(&p.r, "ignore_merges", false);
    read_unknown(&t->bpe, &p);
    return p.r.status;
}

/* ---- added_tokens ---------------------------------------------------------- */

int64_t glia_tokenizer_added_id(const glia_tokenizer *t, const char *bytes, size_t len, bool raw) {
    const int32_t own = glia_bpe_find(&t->bpe, bytes, len, raw);
    int64_t highest = (int64_t)t->bpe.n_tokens - 1;
    for (size_t i = 0; own < 0 && i < t->n_added; i++)
        if (t->added[i].id > highest) highest = t->added[i].id;
    return own >= 0 ? own : highest + 1;
}

static void keep_added(glia_tokenizer *t, component *p, glia_added_token *token, const char *content,
                       int64_t id) {
    char *bytes = malloc(token->len), *copy = strdup(content);
    bool raw = false, room = bytes && copy;
    if (room) {
        const size_t len = glia_bpe_unspell(bytes, content, token->len, &raw);
        const int64_t expected = glia_tokenizer_added_id(t, bytes, len, raw);
        if (glia_tokenizer_added(t, content))
            glia_json_fail(&p->r, GLIA_ERR_FORMAT, "\"%.60s\" is given twice", content);
        else if (id != expected)
            glia_json_fail(&p->r, GLIA_ERR_FORMAT, "\"%.60s\" has id %lld, expected %lld", content,
                           (long long)id, (long long)expected);
        else if ((size_t)id >= t->bpe.n_ids)
            room = glia_bpe_add(&t->bpe, (int32_t)id, bytes, len, raw);
        else if (glia_bpe_find(&t->bpe, bytes, len, raw) != id)
            glia_json_fail(&p->r, GLIA_ERR_FORMAT, "\"%.60s\" has the id %lld of another token", content,
                           (long long)id);
    }
    if (!room) p->r.status = glia_fail_nomem(p->r.err, token->len, p->where);
    if (!p->r.status) {
        token->content = copy;
        token->id = (int32_t)id;
        t->bpe.token[id].special = token->special;
        t->added[t->n_added++] = *token;
        copy = NULL;
    }
    free(bytes);
    free(copy);
}

static glia_status read_added(glia_tokenizer *t, const json_t *object, size_t i, const char *where,
                              glia_err *err) {
    component p;
    char name[48];
    snprintf(name, sizeof name, "added_tokens[%zu]", i);
    open_component(&p, object, where, name, err);
    ONLY_KEYS(&p, "id", "content", "single_word", "lstrip", "rstrip", "normalized", "special");
    need(&p, "id");
    const int64_t id = glia_json_int(&p.r, "id", 0, 0, GLIA_VOCAB_MAX - 1);
    const char *content = need_string(&p, "content");
    glia_added_token token = {.len = strlen(content),
                              .special = need_bool(&p, "special"),
                              .single_word = need_bool(&p, "single_word"),
                              .lstrip = need_bool(&p, "lstrip"),
                              .rstrip = need_bool(&p, "rstrip"),
                              .normalized = need_bool(&p, "normalized")};
    if (token.len == 0) glia_json_fail(&p.r, GLIA_ERR_FORMAT, "content is empty");
    if (!p.r.status) keep_added(t, &p, &token, content, id);
    return p.r.status;
}

/* Let the token's id decode to `spelled`. Words find a token of the vocabulary by its old bytes no more. */
static bool respell(glia_bpe *b, int32_t id, const char *spelled, size_t len) {
    bool raw;
    glia_bpe_token *token = &b->token[id];
    char *bytes = malloc(len + 1);
    if (!bytes) return false;
    const size_t n = glia_bpe_unspell(bytes, spelled, len, &raw);
    const bool same = token->len == n && memcmp(b->bytes.data + token->at, bytes, n) == 0;
    const bool done = same || glia_bpe_respell(b, id, bytes, n);
    free(bytes);
    return done;
}

/* Add token i to the trie that finds it. A `normalized` token is found by its normalized content, decodes
 * to it, and is special if a special token has that content. */
static bool add_to_trie(glia_tokenizer *t, size_t i) {
    const glia_added_token *token = t->added + i;
    if (!token->normalized)
        return respell(&t->bpe, token->id, token->content, token->len) &&
               glia_added_trie_add(&t->trie, token->content, token->len, (int32_t)i);
    glia_buf normal = {0};
    glia_tokenizer_normalize(t, &normal, token->content, token->len);
    const bool done = !normal.oom && respell(&t->bpe, token->id, normal.data, normal.len) &&
                      glia_added_trie_add(&t->normalized_trie, normal.data, normal.len, (int32_t)i);
    const glia_added_token *same = done ? glia_tokenizer_added(t, normal.data) : NULL;
    t->bpe.token[token->id].special = same && same->special;
    glia_buf_free(&normal);
    return done;
}

glia_status glia_tokenizer_index_added(glia_tokenizer *t, glia_err *err) {
    glia_added_trie_free(&t->trie);
    glia_added_trie_free(&t->normalized_trie);
    for (int special = 1; special >= 0; special--) /* if two have equal bytes, the special token wins */
        for (size_t i = 0; i < t->n_added; i++)
            if (t->added[i].special == special && !add_to_trie(t, i))
                return glia_fail_nomem(err, t->n_added * 64, "added tokens");
    return GLIA_OK;
}

static glia_status read_added_tokens(glia_tokenizer *t, const json_t *list, const char *where,
                                     glia_err *err) {
    const size_t n = json_array_size(list);
    glia_status status = GLIA_OK;
    if (list && !json_is_array(list))
        return glia_fail(err, GLIA_ERR_FORMAT, "%s: added_tokens: expected an array, found %s", where,
                         glia_json_type_name(list));
    t->added = calloc(n + 1, sizeof *t->added);
    if (!t->added) return glia_fail_nomem(err, n * sizeof *t->added, where);
    for (size_t i = 0; i < n && !status; i++) status = read_added(t, json_array_get(list, i), i, where, err);
    return status ? status : glia_tokenizer_index_added(t, err);
}

/* ---- the whole file -------------------------------------------------------- */

glia_status glia_tokenizer_components(glia_tokenizer *t, const json_t *rest, const char *where,
                                      glia_err *err) {
    component p;
    open_component(&p, rest, where, "the file", err);
    ONLY_KEYS(&p, "version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer",
              "post_processor", "decoder", "model");
    if (p.r.status) return p.r.status;
    const json_t *normalizer = json_object_get(rest, "normalizer"),
                 *post_processor = json_object_get(rest, "post_processor");
    glia_status status = read_model(t, json_object_get(rest, "model"), where, err);
    if (!status && normalizer && !json_is_null(normalizer))
        status = components(t, normalizer, "normalizers", read_normalizer, where, "normalizer", 0, err);
    if (!status)
        status = components(t, json_object_get(rest, "pre_tokenizer"), "pretokenizers", read_pre_tokenizer,
                            where, "pre_tokenizer", 0, err);
    if (!status && !t->byte_level)
        status = glia_fail(err, GLIA_ERR_UNSUPPORTED,
                           "%s: pre_tokenizer: no ByteLevel; only byte-level BPE is read", where);
    if (!status && post_processor && !json_is_null(post_processor))
        status =
            components(t, post_processor, "processors", read_post_processor, where, "post_processor", 0, err);
    if (!status)
        status = components(t, json_object_get(rest, "decoder"), "decoders", read_decoder, where, "decoder",
                            0, err);
    if (!status) status = read_added_tokens(t, json_object_get(rest, "added_tokens"), where, err);
    return status;
}

/* ---- classes that replace components ----------------------------------------- */

static const struct {
    const char *class_name, *components;
} classes[] = {
    {"Qwen2Tokenizer",
     "{\"normalizer\":{\"type\":\"NFC\"},\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":["
     "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]"
     "?"
     "\\\\p{L}+|\\\\p{N}| "
     "?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+\"},"
     "\"behavior\":\"Isolated\",\"invert\":false},"
     "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}]}}"},
    {"GPT2Tokenizer",
     "{\"normalizer\":null,\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false}}"},
};

glia_status glia_tokenizer_rebuild(glia_tokenizer *t, const char *class_name, bool prefix_space,
                                   glia_err *err) {
    size_t i = 0;
    while (strcmp(classes[i].class_name, class_name) != 0) i++;
    json_t *own = json_loads(classes[i].components, 0, NULL);
    if (!own) return glia_fail_nomem(err, 0, class_name);
    json_t *pre = json_object_get(own, "pre_tokenizer"), *normalizer = json_object_get(own, "normalizer");
    json_t *list = json_object_get(pre, "pretokenizers"), *last = list ? json_array_get(list, 1) : pre;
    json_object_set_new(last, "add_prefix_space", json_boolean(prefix_space));
    glia_pretokenizer_free(&t->pre);
    memset(&t->pre, 0, sizeof t->pre);
    t->n_forms = 0;
    t->byte_level = t->bpe.ignore_merges = false;
    glia_status status = GLIA_OK;
    if (json_is_object(normalizer))
        status = components(t, normalizer, "normalizers", read_normalizer, class_name, "normalizer", 0, err);
    if (!status)
        status = components(t, pre, "pretokenizers", read_pre_tokenizer, class_name, "pre_tokenizer", 0, err);
    json_decref(own);
    return status;
}
