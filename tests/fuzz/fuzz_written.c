/* fuzz_written.c - glia_written_parse() on any bytes: whatever it accepts names only files in the directory,
 * and in directories that it lists before. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/written.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len) {
    static const char title[] = GLIA_WRITTEN_TITLE "abcdefghijklmnop\n";
    char text[4096];
    glia_written w;
    const size_t n = len < sizeof text - sizeof title ? len : sizeof text - sizeof title;
    memcpy(text, title, sizeof title - 1); /* most bytes reach the lines */
    memcpy(text + sizeof title - 1, bytes, n);
    if (!glia_written_parse(&w, text, sizeof title - 1 + n, "fuzz", NULL)) {
        for (size_t i = 0; i < w.n; i++) {
            const char *slash = strchr(w.line[i].name, '/'), *last = slash ? slash + 1 : w.line[i].name;
            if (!*last || strchr(last, '/') || strcmp(last, "..") == 0 || slash == w.line[i].name) abort();
        }
        glia_written_free(&w);
    }
    if (!glia_written_parse(&w, (const char *)bytes, len, "fuzz", NULL)) glia_written_free(&w);
    return 0;
}
