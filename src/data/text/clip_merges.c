/* clip_merges.c: puts clip_merges.txt into the object file, byte for byte. The path counts from the folder that the
 * compiler runs in, which is the top of the repository. */
#include "data/text/clip_merges.h"

__asm__(".section .rodata\n"
        ".global im_clip_merges\n"
        ".hidden im_clip_merges\n"
        ".global im_clip_merges_end\n"
        ".hidden im_clip_merges_end\n"
        "im_clip_merges:\n"
        ".incbin \"src/data/text/clip_merges.txt\"\n"
        "im_clip_merges_end:\n"
        ".byte 0\n"
        ".previous\n");
