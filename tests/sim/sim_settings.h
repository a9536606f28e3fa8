/* sim_settings.h: how a test in C sets the simulator (sim.h is C++). */
#ifndef SIM_SETTINGS_H
#define SIM_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>

void sim_set(bool checks, int order, bool late);               /* checks: before any memory is asked for               */
int sim_all_faults(void);
void sim_set_capability(int sm);                               /* what it says it is: 75, 80                           */
bool sim_is_real(void);                                        /* a device, no simulator: real.c                       */
void sim_set_memory(size_t bytes);                             /* that the device has                                  */

#endif
