/* embedded.c - the bytes of page.html and shapes.json, by the assembler. */
#include "server/embedded.h"

#define EMBED(name, file)                                                                                    \
    __asm__(".pushsection .rodata\n.globl " #name "\n" #name ":\n.incbin \"src/server/" file                 \
            "\"\n.globl " #name "_end\n" #name "_end:\n.byte 0\n.popsection\n")

extern const char server_page_end[], server_shapes_end[];

EMBED(server_page, "page.html");
EMBED(server_shapes, "shapes.json");

size_t server_page_len(void) { return (size_t)(server_page_end - server_page); }
size_t server_shapes_len(void) { return (size_t)(server_shapes_end - server_shapes); }
