/* normalise.c: 8-bit RGB to what a network takes: torchvision's ToTensor (v / 255) and Normalize ((x - mean) / std) in
 * f32, each operation rounded, with the mean and deviation of ImageNet's colours. Used by loaders of training. */
#include "data/images/augment.h"

enum { PERIOD = 48 };                                          /* values: 16 pixels, whole vectors of any width       */

static const float mean[3] = { 0.485f, 0.456f, 0.406f }, deviation[3] = { 0.229f, 0.224f, 0.225f };

IM_CLONES
void im_normalise(const uint8_t *rgb, int64_t pixels, float *out)
{
    float m[PERIOD], d[PERIOD];
    for (int k = 0; k < PERIOD; k++) {
        m[k] = mean[k % 3];
        d[k] = deviation[k % 3];
    }
    int64_t i = 0, n = 3 * pixels;
    for (; i + PERIOD <= n; i += PERIOD)
        for (int k = 0; k < PERIOD; k++) out[i + k] = ((float)rgb[i + k] / 255.0f - m[k]) / d[k];
    for (; i < n; i++) out[i] = ((float)rgb[i] / 255.0f - mean[i % 3]) / deviation[i % 3];
}
