/* buffers.h: the f32 numbers of an im_buf or im_cbuf (tensor/buffer.h), for tests that fill and read them by hand. */
#ifndef IM_TESTS_BUFFERS_H
#define IM_TESTS_BUFFERS_H

#include "buffers.h"
#include "tensor/buffer.h"

#define F32(b) ((float *)(uintptr_t)(b).p)

#endif
