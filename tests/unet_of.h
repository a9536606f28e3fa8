/* unet_of.h: model a with another UNet, as a folder of links in the scratch folder of a test. */
#ifndef TEST_UNET_OF_H
#define TEST_UNET_OF_H

#include <stdio.h>
#include <unistd.h>

#include "context.h"
#include "data/files/file.h"

static const char A[] = "tests/golden/models/a";
static char folder[300];

static inline void link_part(const char *from, const char *name)
{
    char here[400], target[800], to[400];
    ck_assert_ptr_nonnull(getcwd(here, sizeof here));
    snprintf(target, sizeof target, "%s/%s", here, from);
    snprintf(to, sizeof to, "%s/%s", folder, name);
    ck_assert_int_eq(symlink(target, to), 0);
}

/* Into `folder`. */
static inline void model_with(const char *unet)
{
    static const char *const parts[] = { "model_index.json", "scheduler", "text_encoder", "tokenizer", "vae" };
    snprintf(folder, sizeof folder, "%s/model", dir);
    ck_assert(im_make_folder(c, folder));
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        char from[200];
        snprintf(from, sizeof from, "%s/%s", A, parts[i]);
        link_part(from, parts[i]);
    }
    link_part(unet, "unet");
}

#endif
