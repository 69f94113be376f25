/* adapter_names.c - see adapter_names.h. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "format/adapter_names.h"

#include <pcre2.h>
#include <string.h>

enum { MATCH_STEPS = 1000000 };

glia_status glia_adapter_matches(bool *is, const char *pattern, const char *text, const char *where,
                                 const char *key, glia_err *err) {
    int code;
    PCRE2_SIZE at;
    *is = false;
    pcre2_code *re = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
                                   PCRE2_UTF | PCRE2_ANCHORED | PCRE2_ENDANCHORED, &code, &at, NULL);
    if (!re) {
        PCRE2_UCHAR why[120] = "";
        pcre2_get_error_message(code, why, sizeof why);
        return glia_fail(err, GLIA_ERR_FORMAT, "%s: %s: \"%.80s\" is no regular expression: %s at byte %zu",
                         where, key, pattern, (const char *)why, (size_t)at);
    }
    pcre2_match_data *data = pcre2_match_data_create_from_pattern(re, NULL);
    pcre2_match_context *limits = pcre2_match_context_create(NULL);
    if (limits) pcre2_set_match_limit(limits, MATCH_STEPS);
    const int n = data && limits ? pcre2_match(re, (PCRE2_SPTR)text, strlen(text), 0, 0, data, limits)
                                 : PCRE2_ERROR_NOMEMORY;
    pcre2_match_context_free(limits);
    pcre2_match_data_free(data);
    pcre2_code_free(re);
    *is = n >= 0;
    if (n >= 0 || n == PCRE2_ERROR_NOMATCH) return GLIA_OK;
    if (n == PCRE2_ERROR_NOMEMORY) return glia_fail_nomem(err, strlen(pattern), "a regular expression");
    return glia_fail(err, GLIA_ERR_LIMIT, "%s: %s: \"%.80s\" needs more than %d steps to match %.120s", where,
                     key, pattern, MATCH_STEPS, text);
}

bool glia_adapter_ends(const char *text, const char *name) {
    const size_t n = strlen(text), m = strlen(name);
    if (m > n || strcmp(text + n - m, name) != 0) return false;
    return m == n || text[n - m - 1] == '.';
}

/* Does component [n] at `at` begin what an adapter adds to a module? */
static bool is_marker(const char *at, size_t n) {
    static const char *const markers[] = {
        "lora_A",        "lora_B",     "lora_embedding_A", "lora_embedding_B", "lora_magnitude_vector",
        "token_adapter", "base_layer", "modules_to_save",  "original_module",  "trainable_tokens_delta"};
    for (size_t i = 0; i < sizeof markers / sizeof *markers; i++)
        if (strlen(markers[i]) == n && strncmp(at, markers[i], n) == 0) return true;
    return strncmp(at, "lora_", 5) == 0;
}

static const char *skip_wrappers(const char *name) {
    static const char *const wrappers[] = {"base_model.model.", "_orig_mod.", "module."};
    for (size_t i = 0; i < sizeof wrappers / sizeof *wrappers; i++) {
        const size_t n = strlen(wrappers[i]);
        if (strncmp(name, wrappers[i], n) == 0) return skip_wrappers(name + n);
    }
    return name;
}

size_t glia_adapter_split(const char *name, const char **module, const char **rest) {
    const char *const from = skip_wrappers(name), *at = from, *last = from;
    *module = from;
    for (;;) {
        const size_t n = strcspn(at, ".");
        last = at;
        if (is_marker(at, n) || !at[n]) break;
        at += n + 1;
    }
    *rest = last;
    return last > from ? (size_t)(last - from) - 1 : 0;
}
