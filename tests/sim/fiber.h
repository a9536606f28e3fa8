/* fiber.h: a second stack to run on. Switching saves what the calling convention says a callee keeps (fiber.cc). */
#ifndef SIM_FIBER_H
#define SIM_FIBER_H

#include <stddef.h>

extern "C" void sim_switch(void **save, void *to);             /* leaves this stack, goes on with that one             */
void *sim_fiber_start(char *stack, size_t bytes, void (*entry)());      /* what sim_switch takes first                 */

#endif
