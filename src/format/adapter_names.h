/* adapter_names.h - which modules the patterns of adapter_config.json name. */
#ifndef GLIA_FORMAT_ADAPTER_NAMES_H
#define GLIA_FORMAT_ADAPTER_NAMES_H

#include "base/err.h"

/* Does the regular expression match all of `text`, as re.fullmatch of Python? `where` and `key` stand in
 * messages. Errors: GLIA_ERR_FORMAT, GLIA_ERR_LIMIT (matching takes too long), GLIA_ERR_NOMEM. */
glia_status glia_adapter_matches(bool *is, const char *pattern, const char *text, const char *where,
                                 const char *key, glia_err *err);
/* Is `text` equal to `name`, or does it end with "." and `name`? */
bool glia_adapter_ends(const char *text, const char *name);
/* Split a tensor's name into the module and the rest. Prefixes of wrappers are skipped: "base_model.model.",
 * "_orig_mod.", "module.". Returns the length of the module's name, which begins at *module; *rest is what
 * follows the module and a dot. */
size_t glia_adapter_split(const char *name, const char **module, const char **rest);

#endif
