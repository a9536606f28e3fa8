/* pack.c: weights into panels of 16 rows, the form in which every CPU kernel reads them (layout: device.h).
 *
 * A panel is a transposition: 16 rows of k values become k groups of 16. Walking along k in pieces of a cache line or
 * so, with the taps of a 3x3 kernel inside, keeps the 16 source rows in L1 even where OIHW puts neighbouring channels
 * 9 values apart. Used by the services (host_load.c: data to panels, once) and by cpu/product.c for weights that are not
 * packed. */
#include "tensor/device.h"
#include "tensor/half.h"
#include "tensor/int8.h"

enum { PIECE = 32 };                             /* values of cin in one go */

/* Rows that are packed together: all, or, of a GEGLU, the values and then the gates. And panels of them. */
static int group_rows(int n, bool geglu)
{
    return geglu ? n / 2 : n;
}

static int group_panels(int n, bool geglu)
{
    return (group_rows(n, geglu) + IM_PANEL - 1) / IM_PANEL;
}

int im_pack_panel_count(int n, bool geglu)
{
    return group_panels(n, geglu) * (geglu ? 2 : 1);
}

/* k as stored: bf16 comes in pairs. */
static size_t stored_k(im_dtype dtype, int k)
{
    return dtype == IM_BF16 ? ((size_t)k + 1) / 2 * 2 : (size_t)k;
}

static size_t panel_bytes(im_dtype dtype, int k)
{
    return dtype == IM_INT8 ? im_int8_panel(k) : IM_PANEL * stored_k(dtype, k) * im_dtype_size(dtype);
}

size_t im_packed_bytes(im_dtype dtype, int n, int k, bool geglu)
{
    return (size_t)im_pack_panel_count(n, geglu) * panel_bytes(dtype, k);
}

size_t im_weight_bytes(const im_device *dev, const im_pack_args *p)
{
    (void)dev;
    size_t k = (size_t)p->taps * (size_t)p->cin;
    if (!p->packed)
        return (size_t)p->n * k * im_dtype_size(p->dtype);
    return im_packed_bytes(p->dtype, p->n, (int)k, p->geglu) + (p->dtype == IM_INT8 ? im_int8_tail(p->channels) : 0);
}

/* Kernels want values at places that their size divides. */
bool im_weight_as_is(const im_device *dev, const im_pack_args *p)
{
    (void)dev;
    bool taps_outside = p->taps == 1 || (p->tap_stride == p->cin && (p->cin == 1 || p->cin_stride == 1));
    bool rows = taps_outside && (p->cin == 1 || p->cin_stride == 1) && p->row_stride == (int64_t)p->taps * p->cin;
    return !p->packed && rows && p->src_dtype == p->dtype && (uintptr_t)p->src % im_dtype_size(p->dtype) == 0;
}

/* 16 values, one from each row, to step k of the panel. Equal types are copied as they are. */
static inline __attribute__((always_inline)) void group(const void *src, int64_t at, int64_t row_stride, int rows,
                                                        im_dtype from, void *dst, int64_t k, im_dtype to)
{
    int64_t out = to == IM_BF16 ? k / 2 * 2 * IM_PANEL + k % 2 : k * IM_PANEL, step = to == IM_BF16 ? 2 : 1;
    if (from == to && to != IM_F32) {
        for (int r = 0; r < rows; r++)
            ((uint16_t *)dst)[out + r * step] = ((const uint16_t *)src)[at + r * row_stride];
        return;
    }
    float x[IM_PANEL];
    for (int r = 0; r < rows; r++)
        x[r] = im_get_as(from, src, at + r * row_stride);
    for (int r = 0; r < rows; r++)
        im_set_as(to, dst, out + r * step, x[r]);
}

/* One panel whose first row is element `at` of src. Inlined with constant types, and with constant rows when whole. */
static inline __attribute__((always_inline)) void panel_body(const im_pack_args *p, int64_t at, void *dst, int rows,
                                                             im_dtype from, im_dtype to)
{
    for (int c0 = 0; c0 < p->cin; c0 += PIECE) {
        int c1 = p->cin - c0 < PIECE ? p->cin : c0 + PIECE;
        for (int tap = 0; tap < p->taps; tap++) {
            int64_t first = at + tap * p->tap_stride, k = (int64_t)tap * p->cin;
            for (int c = c0; c < c1; c++)
                group(p->src, first + c * p->cin_stride, p->row_stride, rows, from, dst, k + c, to);
        }
    }
}

static inline __attribute__((always_inline)) void panel_from_to(const im_pack_args *p, int64_t at, void *dst, int rows,
                                                                im_dtype from, im_dtype to)
{
    if (rows == IM_PANEL)
        panel_body(p, at, dst, IM_PANEL, from, to);
    else
        panel_body(p, at, dst, rows, from, to);
}

static inline __attribute__((always_inline)) void panel_to(const im_pack_args *p, int64_t at, void *dst, int rows,
                                                           im_dtype to)
{
    switch (p->src_dtype) {
    case IM_F16: panel_from_to(p, at, dst, rows, IM_F16, to); break;
    case IM_BF16: panel_from_to(p, at, dst, rows, IM_BF16, to); break;
    default: panel_from_to(p, at, dst, rows, IM_F32, to);
    }
}

void im_pack_panels(const im_pack_args *p, int panel0, int panel1)
{
    int panels = group_panels(p->n, p->geglu), rows_of = group_rows(p->n, p->geglu), k = p->taps * p->cin;
    size_t bytes = panel_bytes(p->dtype, k);
    if (p->dtype == IM_INT8 && panel0 == 0)
        im_pack_multipliers(p, (char *)p->dst + im_packed_bytes(IM_INT8, p->n, k, p->geglu));
    for (int i = panel0; i < panel1; i++) {
        char *dst = (char *)p->dst + (size_t)i * bytes;
        int row = i % panels * IM_PANEL, rows = rows_of - row < IM_PANEL ? rows_of - row : IM_PANEL;
        int64_t first = (int64_t)(i / panels) * rows_of + row, at = first * p->row_stride;
        if (p->dtype == IM_INT8) {
            im_pack_int8(p, first, rows, dst);
            continue;
        }
        if (rows < IM_PANEL || stored_k(p->dtype, k) != (size_t)k)       /* cut panels and odd k end in zeros */
            memset(dst, 0, bytes);
        switch (p->dtype) {
        case IM_F16: panel_to(p, at, dst, rows, IM_F16); break;
        case IM_BF16: panel_to(p, at, dst, rows, IM_BF16); break;
        default: panel_to(p, at, dst, rows, IM_F32);
        }
    }
}
