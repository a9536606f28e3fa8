/* embedded.c: puts page.html and openapi.json into the object file, byte for byte. The paths count from the folder that the
 * compiler runs in, which is the top of the repository. */
#include "cli/serve/embedded.h"

#define EMBEDDED(symbol, path)                                          \
    __asm__(".section .rodata\n"                                        \
            ".global " #symbol "\n.hidden " #symbol "\n"                \
            ".global " #symbol "_end\n.hidden " #symbol "_end\n"        \
            #symbol ":\n.incbin \"src/cli/serve/" path "\"\n"           \
            #symbol "_end:\n.byte 0\n"                                  \
            ".previous\n")
EMBEDDED(im_serve_page, "page.html");
EMBEDDED(im_serve_openapi, "openapi.json");
