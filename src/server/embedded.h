/* embedded.h - files that the build puts into the program. */
#ifndef GLIA_SERVER_EMBEDDED_H
#define GLIA_SERVER_EMBEDDED_H

#include <stddef.h>

extern const char server_page[];   /* page.html: the chat page */
extern const char server_shapes[]; /* shapes.json: JSON Schemas of fields and answers */
/* Bytes, without the zero that follows. */
size_t server_page_len(void);
size_t server_shapes_len(void);

#endif
