/* shapes.h: small pictures with one shape each, drawn by formula, for tests that train: DIR/CLASS/NUMBER.png. Position,
 * size and colours are a function of (class, number), so that the set is the same everywhere. */
#ifndef TEST_SHAPES_H
#define TEST_SHAPES_H

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "hashed.h"
#include "imago.h"

enum { SHAPES = 4, SHAPE_SIZE = 32 };
static const char *const shape_names[SHAPES] = { "circle", "cross", "square", "triangle" };

static inline double shape_uniform(uint64_t seed, int i)
{
    return (double)(hashed_bits(seed, i) >> 11) / 9007199254740992.0;
}

static inline bool shape_covers(int shape, double x, double y, double r)
{
    switch (shape) {
    case 0:  return x * x + y * y < r * r;
    case 1:  return (fabs(x) < 0.3 * r && fabs(y) < r) || (fabs(y) < 0.3 * r && fabs(x) < r);
    case 2:  return fabs(x) < 0.85 * r && fabs(y) < 0.85 * r;
    default: return y < 0.8 * r && y > 2 * fabs(x) - r;
    }
}

static inline void shape_draw(im_image *p, int shape, int number)
{
    char name[32];
    snprintf(name, sizeof name, "%s.%d", shape_names[shape], number);
    uint64_t seed = hashed_seed(name);
    double r = 7 + 6 * shape_uniform(seed, 0), room = SHAPE_SIZE - 2 * r;
    double cx = r + room * shape_uniform(seed, 1), cy = r + room * shape_uniform(seed, 2);
    int front[3], back[3];
    bool dark = shape_uniform(seed, 3) < 0.5;
    for (int k = 0; k < 3; k++) {
        int a = (int)(100 * shape_uniform(seed, 4 + k)), b = 155 + (int)(100 * shape_uniform(seed, 7 + k));
        front[k] = dark ? a : b;
        back[k] = dark ? b : a;
    }
    for (int y = 0; y < SHAPE_SIZE; y++)
        for (int x = 0; x < SHAPE_SIZE; x++) {
            bool in = shape_covers(shape, x + 0.5 - cx, y + 0.5 - cy, r);
            for (int k = 0; k < 3; k++) {
                int noise = (int)(20 * shape_uniform(seed, 100 + (y * SHAPE_SIZE + x) * 3 + k));
                int v = (in ? front[k] : back[k]) + noise - 10;
                p->pixels[(y * SHAPE_SIZE + x) * 3 + k] = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
            }
        }
}

/* Numbers from .. from + n - 1 of every class below dir, which is made. */
static inline void shapes_write(im_ctx *ctx, const char *dir, int from, int n)
{
    char path[600];
    im_image *p = im_image_new(ctx, SHAPE_SIZE, SHAPE_SIZE, 3);
    mkdir(dir, 0777);
    for (int shape = 0; shape < SHAPES; shape++) {
        snprintf(path, sizeof path, "%s/%s", dir, shape_names[shape]);
        mkdir(path, 0777);
        for (int i = from; i < from + n; i++) {
            shape_draw(p, shape, i);
            snprintf(path, sizeof path, "%s/%s/%04d.png", dir, shape_names[shape], i);
            im_png_write(ctx, path, p, NULL, 0, true);
        }
    }
    im_image_free(p);
}

#endif
