/* plain.h: the operations of the ladders in plain words (plain.cc), and the sizes of their problems. */
#ifndef LADDER_PLAIN_H
#define LADDER_PLAIN_H

#include <stdint.h>

enum { GEMM_M = 128, GEMM_N = 128, GEMM_K = 128 };
/* Pictures (1, SIDE, SIDE, CIN), weights (COUT, 3, 3, CIN): multiples of 4 pixels, as Winograd likes them. */
enum { CONV_SIDE = 32, CONV_CIN = 16, CONV_COUT = 64, CONV_PIXELS = CONV_SIDE * CONV_SIDE, CONV_K = 9 * CONV_CIN };
enum { SOFT_ROWS = 64, SOFT_CLASSES = 1000 };
enum { NORM_PIXELS = 512, NORM_CHANNELS = 64, NORM_GROUPS = 8, NORM_SIZE = NORM_CHANNELS / NORM_GROUPS };
enum { ATT_T = 128, ATT_D = 64 };

void plain_gemm(const float *const *in, const int32_t *ids, double *out);
void plain_conv(const float *const *in, const int32_t *ids, double *out);
void plain_softmax(const float *const *in, const int32_t *ids, double *out);
void plain_groupnorm(const float *const *in, const int32_t *ids, double *out);
void plain_attention(const float *const *in, const int32_t *ids, double *out);

#endif
