/* plain.cc: the five operations of the ladders as loops in f64, which every step is compared with. Nothing here is
 * shared with a kernel. */
#include "plain.h"

#include <math.h>

/* c (M, N) = a (M, K) b^T, b (N, K) */
void plain_gemm(const float *const *in, const int32_t *, double *out)
{
    for (int m = 0; m < GEMM_M; m++)
        for (int n = 0; n < GEMM_N; n++) {
            double sum = 0;
            for (int k = 0; k < GEMM_K; k++)
                sum += (double)in[0][m * GEMM_K + k] * (double)in[1][n * GEMM_K + k];
            out[m * GEMM_N + n] = sum;
        }
}

/* y (side, side, cout) = x (side, side, cin) convolved with w (cout, 3, 3, cin); zeros around the picture */
void plain_conv(const float *const *in, const int32_t *, double *out)
{
    for (int i = 0; i < CONV_PIXELS * CONV_COUT; i++) {
        int n = i % CONV_COUT, y = i / CONV_COUT / CONV_SIDE, x = i / CONV_COUT % CONV_SIDE;
        double sum = 0;
        for (int tap = 0; tap < 9; tap++) {
            int sy = y + tap / 3 - 1, sx = x + tap % 3 - 1;
            for (int c = 0; c < CONV_CIN && sy >= 0 && sy < CONV_SIDE && sx >= 0 && sx < CONV_SIDE; c++)
                sum += (double)in[0][(sy * CONV_SIDE + sx) * CONV_CIN + c] *
                       (double)in[1][(n * 9 + tap) * CONV_CIN + c];
        }
        out[i] = sum;
    }
}

/* dx (rows, classes) = s / rows (softmax(x) - onehot(ids)); behind it the loss, mean of log sum exp(x) - x[id]; s: in[1] */
void plain_softmax(const float *const *in, const int32_t *ids, double *out)
{
    double loss = 0;
    for (int r = 0; r < SOFT_ROWS; r++) {
        const float *x = in[0] + r * SOFT_CLASSES;
        double sum = 0;
        for (int i = 0; i < SOFT_CLASSES; i++)
            sum += exp((double)x[i]);
        for (int i = 0; i < SOFT_CLASSES; i++)
            out[r * SOFT_CLASSES + i] = (double)in[1][0] / SOFT_ROWS * (exp((double)x[i]) / sum - (i == ids[r]));
        loss += (log(sum) - (double)x[ids[r]]) / SOFT_ROWS;
    }
    out[SOFT_ROWS * SOFT_CLASSES] = loss;
}

/* y = silu((x - mean) / sqrt(var + 1e-5) gamma + beta), mean and var over the pixels and channels of a group */
void plain_groupnorm(const float *const *in, const int32_t *, double *out)
{
    for (int g = 0; g < NORM_GROUPS; g++) {
        double mean = 0, var = 0, n = NORM_PIXELS * NORM_SIZE;
        for (int i = 0; i < NORM_PIXELS * NORM_SIZE; i++)
            mean += (double)in[0][i / NORM_SIZE * NORM_CHANNELS + g * NORM_SIZE + i % NORM_SIZE] / n;
        for (int i = 0; i < NORM_PIXELS * NORM_SIZE; i++) {
            double d = (double)in[0][i / NORM_SIZE * NORM_CHANNELS + g * NORM_SIZE + i % NORM_SIZE] - mean;
            var += d * d / n;
        }
        for (int i = 0; i < NORM_PIXELS * NORM_SIZE; i++) {
            int c = g * NORM_SIZE + i % NORM_SIZE, at = i / NORM_SIZE * NORM_CHANNELS + c;
            double v = ((double)in[0][at] - mean) / sqrt(var + 1e-5) * (double)in[1][c] + (double)in[2][c];
            out[at] = v / (1 + exp(-v));
        }
    }
}

/* o (T, d) = softmax(q k^T / sqrt d) v, one head */
void plain_attention(const float *const *in, const int32_t *, double *out)
{
    for (int i = 0; i < ATT_T; i++) {
        double p[ATT_T], sum = 0;
        for (int j = 0; j < ATT_T; j++) {
            p[j] = 0;
            for (int c = 0; c < ATT_D; c++)
                p[j] += (double)in[0][i * ATT_D + c] * (double)in[1][j * ATT_D + c];
            sum += p[j] = exp(p[j] / sqrt((double)ATT_D));
        }
        for (int c = 0; c < ATT_D; c++) {
            double o = 0;
            for (int j = 0; j < ATT_T; j++)
                o += p[j] / sum * (double)in[2][j * ATT_D + c];
            out[i * ATT_D + c] = o;
        }
    }
}
