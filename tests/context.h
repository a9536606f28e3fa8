/* context.h: a context and a scratch folder for each test of a program: setup and teardown for suite_run. */
#ifndef TEST_CONTEXT_H
#define TEST_CONTEXT_H

#include <check.h>

#include "imago.h"
#include "scratch.h"
#include "suite.h"

static im_ctx *c;
static char dir[256];

static inline void setup(void)
{
    ck_assert_ptr_nonnull(c = im_ctx_new("ref", 2));
    scratch_make(dir, sizeof dir);
}

static inline void teardown(void)
{
    im_ctx_free(c);
    scratch_remove(dir);
}

#endif
