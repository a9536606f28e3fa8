/* device_steps.h: what test_cuda.c shares with device_steps.c. */
#ifndef SIM_DEVICE_STEPS_H
#define SIM_DEVICE_STEPS_H

#include "imago.h"
#include "suite.h"

extern im_ctx *cpu, *cuda;                                     /* between open_both and close_both                     */
void open_both(void);
void close_both(void);
/* n numbers in f32 within -size / 2 .. size / 2 */
im_tensor *filled(im_ctx *c, int64_t n, uint32_t seed, float size);
void device_steps(Suite *s);                                   /* adds the case "steps"                                */

#endif
