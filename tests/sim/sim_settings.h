/* sim_settings.h: how a test in C sets the simulator (sim.h is C++). */
#ifndef SIM_SETTINGS_H
#define SIM_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>

void sim_set(bool checks, int order, bool late);               /* checks: before any memory is asked for               */
int sim_all_faults(void);
void sim_set_capability(int sm);                               /* what it says it is: 75, 80                           */
bool sim_is_real(void);                                        /* a device, no simulator: real.c                       */
/* Since the program began: kernels launched by themselves, into graphs; graphs; waits of the host. */
typedef struct sim_stream_counts { long launches, captured, graphs, waits; } sim_stream_counts;
extern sim_stream_counts sim_asked;
void sim_set_memory(size_t bytes);                             /* that the device has                                  */

#endif
