/* test_diffusion_loss.c: weights of times by their signal-to-noise ratio. The losses: test_trajectory_pictures.c. */
#include <math.h>

#include "models/train/diffusion_loss.h"
#include "suite.h"

START_TEST(snr_weights)
{
    static const struct { float abar, power, gamma; double want; } v[] = {
        { 0.9f, 0, 0, 1 }, { 0.01f, 0, 0, 1 },                 /* snr 9 and 1/99, neither option                      */
        { 0.9f, 0, 5, 5 / 9.0 }, { 0.9f, 1, 5, 5 / 9.0 }, { 0.8f, 0, 5, 1 },
        { 0.2f, 1, 5, 4 }, { 0.2f, 0.5f, 5, 2 }, { 0.2f, 0.5f, 0, 2 }, { 0.2f, 0, 5, 1 },
        { 0.2f, 0, 0.125f, 0.5 }                               /* a gamma below 1 holds later times back too           */
    };
    for (int i = 0; i < SUITE_COUNT(v); i++) {
        double w = (double)im_snr_weight(v[i].abar, v[i].power, v[i].gamma);
        ck_assert_msg(fabs(w - v[i].want) < 1e-5, "row %d: %g, wanted %g", i, w, v[i].want);
    }
}
END_TEST

int main(void)
{
    const suite_test tests[] = { ONCE(snr_weights) };
    return suite_run("diffusion_loss", NULL, NULL, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
