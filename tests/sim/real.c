/* real.c: stands in for the simulator where test_cuda.c is linked against a real device (make gpu-check). */
#include "sim_settings.h"

void sim_set(bool checks, int order, bool late)
{
    (void)checks;
    (void)order;
    (void)late;
}

int sim_all_faults(void) { return 0; }
void sim_set_capability(int sm) { (void)sm; }
void sim_set_memory(size_t bytes) { (void)bytes; }
bool sim_is_real(void) { return true; }
