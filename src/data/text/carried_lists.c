/* carried_lists.c: the files of carried_lists.h, put into the object file byte for byte. The paths count from the folder
 * that the compiler runs in, which is the top of the repository. */
#include "data/text/carried_lists.h"

#include <string.h>

#define CARRIED(symbol, path)                 \
    __asm__(".section .rodata\n"              \
            ".global " #symbol "\n"           \
            ".hidden " #symbol "\n"           \
            #symbol ":\n"                     \
            ".incbin \"src/data/text/" path "\"\n" \
            ".byte 0\n"                       \
            ".previous\n");                   \
    extern const char symbol[] __attribute__((visibility("hidden")))
CARRIED(im_imagenet_list, "imagenet.txt");
CARRIED(im_places_list, "places365.txt");

int im_imagenet_wnids(im_imagenet which, char wnid[IM_IMAGENET_CLASSES][IM_WNID_BYTES], int label[IM_IMAGENET_CLASSES])
{
    static const char letters[] = "\ncaro";                    /* every line has its end                              */
    int n = 0, line = 0;
    for (const char *p = im_imagenet_list, *end; *p; p = end, line++) {
        end = strchr(p, '\n') + 1;
        if (!memchr(p, letters[which], (size_t)(end - p))) continue;
        if (label) label[n] = line;
        memcpy(wnid[n], p, IM_WNID_BYTES - 1);
        wnid[n++][IM_WNID_BYTES - 1] = '\0';
    }
    return n;
}

void im_place(int i, char out[IM_PLACE_BYTES])
{
    const char *p = im_places_list;
    while (i-- > 0) p = strchr(p, '\n') + 1;
    size_t n = strcspn(p, "\n");
    memcpy(out, p, n);
    out[n] = '\0';
}
