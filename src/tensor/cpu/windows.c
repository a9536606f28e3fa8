/* windows.c: convolutions of 3 x 3 whose windows tile registers read where the pixels lie: no window is written.
 *
 *     pixels of one row, W = w + 1:    0 0 0 .. 0 | 0 p00 p01 p02 .. | 0 p10 p11 p12 .. | 0 p20 ..      0: cin zeros
 *                                      above      line 0             line 1
 *
 * The zero between two lines is what stands right of one and left of the other; between pictures is a line of zeros. A
 * window's three pixels of a line are neighbours then, and the windows of neighbouring pixels begin a pixel apart, across
 * ends of lines as well:
 *
 *     row i of A = [ pixels i .. i+2 ][ pixels W + i .. W + i+2 ][ pixels 2W + i .. 2W + i+2 ]
 *
 * For each line a row, and for each picture a line is computed for nothing: 3 % of the products at 64 x 64, 12 % at
 * 16 x 16. A group of rows has its pixels rounded to the weights' dtype once, into L2, where all nine taps find them;
 * written as windows they would be nine times as much. The enlarged pictures of upsamplers are made on the way.
 *
 * Pixels of few channels stand side by side, three of them are one run of k, and neighbouring rows share most of what L1
 * holds. Those of many are an odd number of cache lines apart, lest rows of a tile push one another out of L1; then each
 * tap is a run.
 *
 * The sums are those of conv.c to the bit: the same k in the same order. Used by conv.c. */
#include "tensor/cpu/windows.h"
#include "tensor/cpu/pack_weights.h"
#include "tensor/cpu/split.h"

enum {
    TAPS = 3, LINE = 64,
    GROUP = 2 * IM_AMX_STEPS,                    /* channels that tile registers take at once: a cache line; split: two */
    MANY = 1024,                                 /* bytes of a pixel                                                  */
    MORE = 5,                                    /* at most a fifth of the groups of rows is computed for nothing      */
};

static int64_t groups_of(int64_t rows) { return (rows + IM_AMX_ROWS - 1) / IM_AMX_ROWS; }

/* Rows of A with those that are left out. */
static int64_t rows_with_gaps(const im_conv_args *c)
{
    int64_t line = c->ow + 1, lines = (int64_t)c->batch * (c->oh + 1) - 1;
    return (lines - 1) * line + c->ow;
}

/* Whether windows of f16 weights are split (split.h); values of a cache line then are f32. */
static bool split(const im_conv_args *c) { return c->wt.dtype == IM_F16; }
static int line_values(const im_conv_args *c) { return split(c) ? 16 : 32; }

/* Values from pixel to pixel. */
static int pitch_of(const im_conv_args *c)
{
    int lines = c->cin / line_values(c);
    return lines * LINE >= MANY && lines % 2 == 0 ? c->cin + line_values(c) : c->cin;
}

static int64_t pixel_bytes(const im_conv_args *c) { return (int64_t)pitch_of(c) / line_values(c) * LINE; }

/* Pixels from the first of a group's last row to its last. */
static int beyond(const im_conv_args *c) { return 2 * (c->ow + 1) + 2; }

bool IM_FN(im_windows_take)(const im_device *dev, const im_conv_args *c)
{
    const im_host *h = im_host_of(dev);
    im_dtype t = c->wt.packed ? c->wt.dtype : IM_FN(im_packed_dtype)(dev, &c->wt);
    bool tiles = h->amx && (im_splits(dev, &c->wt) || (t == IM_BF16 && h->compute[t] == IM_COMPUTE_BF16));
    bool same = c->kh == TAPS && c->kw == TAPS && c->stride == 1 && c->pad_top == 1 && c->pad_left == 1 && c->oh == c->up_h
                && c->ow == c->up_w && c->cin % GROUP == 0;
    int64_t needed = groups_of((int64_t)c->batch * c->oh * c->ow), more = groups_of(rows_with_gaps(c)) - needed;
    int64_t room = split(c) ? IM_SPLIT_BYTES / 5 * 4 : IM_WINDOW_BYTES / 4 * 3;
    return tiles && same && more * MORE <= needed && pixel_bytes(c) * beyond(c) <= room;
}

/* One pixel of the row, n values: zeros between lines and pictures. */
IM_INLINE void pixel(const im_conv_args *c, im_dtype t, float *dst, int64_t at, im_pack_mode mode)
{
    int64_t x = at % (c->ow + 1) - 1, line = at / (c->ow + 1), y = line % (c->oh + 1) - 1, image = line / (c->oh + 1);
    if (x < 0 || y < 0 || image >= c->batch) {
        im_pack_zero(dst, 0, c->cin, mode);
        return;
    }
    int64_t from = (image * c->h + y * c->h / c->up_h) * c->w + x * c->w / c->up_w;
    im_pack_copy(dst, 0, t, im_at(c->x.p, t, from * c->cin), c->cin, mode);
}

IM_INLINE void pixels(const im_conv_args *c, im_dtype t, float *dst, int64_t row, int rows, im_pack_mode mode)
{
    int64_t apart = pixel_bytes(c) / (int64_t)sizeof *dst;
    for (int i = 0; i < rows; i++, dst += apart) {
        pixel(c, t, dst, row + i, mode);
        if (mode == IM_COMPUTE_F32)
            im_split_row(dst, c->cin);
    }
}

IM_INLINE void pixels_of(const im_conv_args *c, float *dst, int64_t row, int rows, im_pack_mode mode)
{
    switch (c->x.t) {
    case IM_F16:  pixels(c, IM_F16, dst, row, rows, mode); break;
    case IM_BF16: pixels(c, IM_BF16, dst, row, rows, mode); break;
    default:      pixels(c, IM_F32, dst, row, rows, mode);
    }
}

static void pack(const im_product *p, float *dst, int64_t row, int rows, int k0, int k1, im_pack_mode mode)
{
    const im_conv_args *c = p->args;
    (void)k0;
    (void)k1;
    (void)mode;
    if (split(c))
        pixels_of(c, dst, row, rows, IM_COMPUTE_F32);
    else
        pixels_of(c, dst, row, rows, IM_COMPUTE_BF16);
}

int IM_FN(im_windows_conv)(im_device *dev, const im_conv_args *c)
{
    bool side_by_side = pitch_of(c) == c->cin;
    im_windows w = { .pack = pack, .lines = TAPS, .runs = side_by_side ? 1 : TAPS, .beyond = beyond(c), .line = c->ow + 1,
                     .run = (side_by_side ? TAPS : 1) * c->cin / (split(c) ? 1 : 2), .across = c->ow, .down = c->oh };
    return IM_FN(im_product_run)(dev, &(im_product){
        .m = rows_with_gaps(c), .n = c->cout, .k = TAPS * TAPS * c->cin, .windows = &w, .args = c, .lda = pitch_of(c),
        .b = c->wt, .bias = c->bias, .chan = c->chan, .ldchan = c->ldchan, .chan_rows = (int64_t)c->oh * c->ow,
        .res = c->res, .ldres = c->cout, .c = c->y, .ldc = c->cout, .act = IM_ACT_NONE });
}
