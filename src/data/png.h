/* png.h: limits of png.c, which reads and writes PNG files through libpng; its functions are in imago.h. */
#ifndef IM_PNG_H
#define IM_PNG_H

enum {
    IM_PNG_MAX_PIXELS = 178956970,                             /* where Pillow warns of a decompression bomb          */
    IM_PNG_MAX_CHUNK = 16 << 20,                               /* memory for a text or profile; libpng's default: any */
    IM_PNG_MAX_BYTES = 2000000000                              /* more than any file of so many pixels needs          */
};

#endif
