/* clip_merges.c: puts the merges into the object file, byte for byte, as the Makefile has unpacked them. */
#include "data/text/clip_merges.h"

__asm__(".section .rodata\n"
        ".global im_clip_merges\n"
        ".hidden im_clip_merges\n"
        ".global im_clip_merges_end\n"
        ".hidden im_clip_merges_end\n"
        "im_clip_merges:\n"
        ".incbin \"" IM_CLIP_MERGES "\"\n"
        "im_clip_merges_end:\n"
        ".byte 0\n"
        ".previous\n");
