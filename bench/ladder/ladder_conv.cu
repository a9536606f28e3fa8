/* ladder_conv.cu: a 3x3 convolution, channels last, in five steps to the kernels that are shipped (cuda/conv.cu). It is
 * a product: rows are output pixels, columns filters, k = (tap, channel); so the ladder of products (ladder_gemm.cu)
 * comes first, and what is new is where the first factor comes from.
 *
 *     1 naive       a thread a number of y; neighbours are pixels: their loads of x lie CIN numbers apart
 *     2 windows     the window of every pixel is written out as a row of a matrix (im2col); then a product by tiles of
 *                   64 x 64 (cuda/product.cuh), each number fetched once a tile. Costs 9 times x, written and read
 *     3 implicit    the tiles fetch a window's numbers from x where they lie: the matrix is neither written nor read.
 *                   16 neighbours of k lie in one tap, side by side, as CIN is a multiple of 16: still whole sectors
 *     4 winograd    4 x 4 outputs by 36 products, not 144 (cuda/winograd.cu): a quarter of the multiply-adds, and so of
 *                   the turns of shared memory that feed them; but the transformed picture and sums pass through
 *                   memory, so sectors grow. In f32 this is shipped where there are 64 channels and more
 *     5 mma         step 3 on tensor cores (cuda/product_mma.cuh): half the bytes, a tenth of the turns: shipped in 16
 *                   bits
 *
 * The predictions. INSIDE = (3 side - 2)^2 pairs of a pixel and a tap lie in the picture; the others are zeros that
 * nobody fetches. P pixels, N filters, K = 9 CIN, sectors of 8 floats:
 *     2       windows: INSIDE CIN read, P K written; the product: P / 64 blocks of 64 (K windows + K weights), P N
 *             written
 *     3       windows: INSIDE CIN read; weights and results as before
 *     4       turns: 36 products of (P / 16) x N x CIN instead of one of P x N x 9 CIN
 *     5       half of the sectors of step 3's loads, and less: the 8 pixels of a request meet 2 taps, and where the
 *             taps are neighbours, in 3 of 4 pairs, 7 sectors are the same. Turns: ladder_gemm.cu */
#include "ladder.cuh"
#include "plain.h"

#include "cuda/product.cuh"

struct conv_naive_call { const float *x, *w; float *y; };      /* (side, side, cin), (cout, 9, cin), (side, side, cout) */

KERNEL(256) conv_naive(GRID conv_naive_call p)
{
    int pixel = (int)(blockIdx.x * 256 + threadIdx.x), n = (int)blockIdx.y;
    int oy = pixel / CONV_SIDE, ox = pixel % CONV_SIDE;
    float sum = 0.0f;
    for (int tap = 0; tap < 9; tap++) {
        int y = oy + tap / 3 - 1, x = ox + tap % 3 - 1;
        if (y < 0 || y >= CONV_SIDE || x < 0 || x >= CONV_SIDE)
            continue;
        for (int c = 0; c < CONV_CIN; c++)
            sum = fmaf(p.x[(y * CONV_SIDE + x) * CONV_CIN + c], p.w[(n * 9 + tap) * CONV_CIN + c], sum);
    }
    p.y[pixel * CONV_COUT + n] = sum;
}

/* A thread a number of the matrix of windows (pixels, 9, cin). */
KERNEL(256) conv_windows(const float *x, float *windows)
{
    int i = (int)(blockIdx.x * 256 + threadIdx.x), pixel = i / CONV_K, tap = i % CONV_K / CONV_CIN;
    int sy = pixel / CONV_SIDE + tap / 3 - 1, sx = pixel % CONV_SIDE + tap % 3 - 1;
    bool in = sy >= 0 && sy < CONV_SIDE && sx >= 0 && sx < CONV_SIDE;
    windows[i] = in ? x[(sy * CONV_SIDE + sx) * CONV_CIN + i % CONV_CIN] : 0.0f;
}

struct windows_job {
    int64_t m; int n, k;
    bool geglu;
    const float *windows, *w; float *y;
    typedef const float *row;
    MEMBER row row_of(int64_t i) const { return windows + i * k; }
    MEMBER float a(row r, int i) const { return r[i]; }
    MEMBER float b(int i, int step) const { return w[i * k + step]; }
    MEMBER void finish(int64_t i, int col, float sum, float) const { y[i * n + col] = sum; }
};

static int by_windows(im_device *dev, const float *x, const float *w, float *y)
{
    float *windows = (float *)im_cuda_workspace(dev, sizeof(float) * CONV_PIXELS * CONV_K);
    windows_job j = { CONV_PIXELS, CONV_COUT, CONV_K, false, windows, w, y };
    return LAUNCH(im_cuda_stream(dev), CONV_PIXELS * CONV_K / 256, 256, conv_windows, x, windows) || run_product(dev, j, 1);
}

static int run(im_device *dev, int step, const void *const *in, const int32_t *, void *out)
{
    conv_naive_call naive = { (const float *)in[0], (const float *)in[1], (float *)out };
    if (step == 1)
        return LAUNCH(im_cuda_stream(dev), dim3(CONV_PIXELS / 256, CONV_COUT), 256, conv_naive, naive);
    if (step == 2)
        return by_windows(dev, naive.x, naive.w, naive.y);
    im_conv_args p = {};
    p.batch = 1;
    p.h = p.w = p.oh = p.ow = p.up_h = p.up_w = CONV_SIDE;
    p.cin = CONV_CIN;
    p.cout = CONV_COUT;
    p.kh = p.kw = 3;
    p.stride = p.pad_top = p.pad_left = 1;
    p.x = im_cbuf{ in[0], step == 5 ? IM_F16 : IM_F32 };
    p.wt.data = in[1];
    p.wt.dtype = p.x.t;
    p.wt.n = CONV_COUT;
    p.wt.k = p.wt.ld = CONV_K;
    p.y = im_buf{ out, IM_F32 };
    ladder_device_use(dev, step == 5, step == 4);
    return im_cuda_conv(dev, &p);
}

static const double P = CONV_PIXELS, N = CONV_COUT, K = CONV_K, INSIDE = (3 * CONV_SIDE - 2) * (3 * CONV_SIDE - 2);
static const double READ = INSIDE * CONV_CIN / 8, WEIGHTS = P / 64 * N * K / 8, WRITTEN = P * N / 8;
/* Turns of the product of 64 x 64 a block, a step of 16 of k: ladder_gemm.cu. */
static const double TURNS = 8 * (8 + 16 * 8);

extern const ladder ladder_conv = {
    "convolution", "y (32, 32, 64) = x (32, 32, 16) * w (64, 3, 3, 16)", 2.0 * CONV_PIXELS * CONV_COUT * CONV_K,
    { CONV_PIXELS * CONV_CIN, CONV_COUT * CONV_K, 0 }, 0, 0, CONV_PIXELS * CONV_COUT,
    { { "naive", 0, false, {} },
      { "windows", 0, false, { { LADDER_SECTORS, READ + P * K / 8 * 2 + WEIGHTS + WRITTEN } } },
      { "implicit", 0, false, { { LADDER_SECTORS, READ + WEIGHTS + WRITTEN } } },
      { "winograd", 0, false, { { LADDER_TURNS, 36 * (P / 16 / 64) * (N / 64) * (CONV_CIN / 16.0) * TURNS } } },
      { "mma (f16)", 2, false, { { LADDER_SECTORS, (READ + WEIGHTS) / 2 - 3 * 7 * P / 8 + WRITTEN },
                                 { LADDER_TURNS, P / 64 * (N / 64) * 4 * (ceil(K / 32) * 4 * (4 + 8) + 64) } } } },
    run, plain_conv };
