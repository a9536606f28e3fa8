/* lint.h: what clang-tidy cannot see from one file: im_fail always returns false. Without it the analyzer follows every
 * error into code that runs only after success. Included before each file by `make lint`, but not before error.c. */
#include "imago.h"
#include "tensor/ctx.h"

#define im_fail(c, ...) ((void)(im_fail)((c), __VA_ARGS__), false)
