/* augment.h: what training does to a picture between decoding and the network: crops, flips, colours, blur.
 *
 * Four recipes (their figures are in the table of augment_recipe.c):
 *   none    Resize(size * 8 / 7, bilinear), CenterCrop(size): evaluation, and runs compared with other programs
 *   plain   RandomResizedCrop(size, scale .08-1, bilinear), flip
 *   drawing a box of three fifths of the picture or more, flip, now and then other light and saturation, or grey: for
 *           drawings that fill the picture, whose colours say what they are (flags): hue stays
 *   dino    multi-crop (Caron et al. 2021, arXiv 2104.14294): 1 x 224 and 8 x 96, bicubic, flip, colour jitter, grayscale,
 *           blur, solarize; sizes, numbers and all the rest are fields that a caller may change
 * Order of the operations of a crop: crop + resize, flip, jitter (in drawn order), grayscale, blur, solarize, as
 * torchvision.transforms on Pillow pictures does them, value by value at 8 bits; then im_normalise.
 *
 * Three steps, so that order and randomness do not depend on who does the work:
 *     im_augment_draw   what happens to crop `crop` of picture `index` in `epoch`: a function of its arguments alone
 *     im_augment_apply  does it: 8-bit RGB of (size, size, 3)
 *     im_normalise      f32, ready for the network
 * An im_draw holds everything drawn, enough to repeat the crop with Pillow (`imago data --json` writes it).
 *
 *     im_recipe r;
 *     im_recipe_named(c, "dino", 224, &r);
 *     im_crop_scratch *s = im_crop_scratch_new();                // one a thread
 *     im_picture_size(c, bytes, n, name, NULL, &w, &h);
 *     for (int k = 0; k < im_recipe_crops(&r); k++) im_augment_draw(&r, k, w, h, seed, epoch, index, &d[k]);
 *     im_decode_args da = { .shrink = im_augment_shrink(d, im_recipe_crops(&r)) };     // or 1: exactly Pillow's crops
 *     im_image *img = im_picture_decode(c, bytes, n, name, &da);
 *     for (int k = 0; k < im_recipe_crops(&r); k++) im_augment_apply(c, s, img, &r, k, &d[k], rgb[k]);
 */
#ifndef IM_AUGMENT_H
#define IM_AUGMENT_H

#include "data/images/resize.h"
#include "imago.h"

enum { IM_RECIPE_KINDS = 4, IM_RECIPE_MAX_CROPS = 64 };

typedef struct im_crop_recipe {                                /* one kind of crop                                    */
    int size, count;                                           /* side in pixels; how many of this kind               */
    im_filter filter;                                          /* IM_FILTER_BILINEAR or IM_FILTER_BICUBIC             */
    float scale_lo, scale_hi;                                  /* share of the picture's area                         */
    float ratio_lo, ratio_hi;                                  /* width / height, drawn log-uniformly: 3/4, 4/3       */
    float p_flip;
    float p_jitter;                                            /* of all four of the next line at once                */
    float brightness, contrast, saturation, hue;               /* factors in [max(0, 1 - x), 1 + x]; hue in [-x, x],  */
                                                               /* x <= .5; 0: this one is left out                    */
    float p_grey;
    float p_blur, sigma_lo, sigma_hi;                          /* Pillow's GaussianBlur(radius = sigma)               */
    float p_solarize; int solarize_threshold;                  /* values >= the threshold v become 255 - v            */
} im_crop_recipe;

typedef struct im_recipe {
    const char *name;                                          /* "none", "plain", "drawing", "dino"                  */
    bool random;                                               /* false: none; crop[0].size alone counts              */
    int resize;                                                /* none: the shorter side becomes this: size * 8 / 7   */
    int kinds;                                                 /* entries of crop[]                                   */
    im_crop_recipe crop[IM_RECIPE_KINDS];
} im_recipe;

/* size: side of the (global) crop, 0: 224. Local crops of dino have size * 3 / 7 (96 for 224). */
bool im_recipe_named(im_ctx *c, const char *name, int size, im_recipe *out);
bool im_recipe_check(im_ctx *c, const im_recipe *r);           /* after a caller changed fields: all in their ranges? */
int im_recipe_crops(const im_recipe *r);                       /* crops of one picture: the sum of count              */
const im_crop_recipe *im_recipe_crop(const im_recipe *r, int crop);                 /* crop 0 .. im_recipe_crops - 1  */

typedef enum { IM_JITTER_BRIGHTNESS, IM_JITTER_CONTRAST, IM_JITTER_SATURATION, IM_JITTER_HUE } im_jitter;

typedef struct im_draw {                                       /* everything drawn for one crop                       */
    int width, height;                                         /* of the picture it was drawn for (not shrunk)        */
    int x, y, w, h;                                            /* box cut from it: Pillow's crop((x, y, x+w, y+h))    */
    int resize_w, resize_h;                                    /* size that the box is resized to                     */
    int cut_x, cut_y;                                          /* corner of the size x size window of that; random    */
                                                               /* recipes: 0, 0 and resize_w = resize_h = size        */
    bool flip;
    int jitters;                                               /* operations of order[] that apply: 0 .. 4            */
    uint8_t order[4];                                          /* im_jitter, in the order they are done               */
    float factor[4];                                           /* by im_jitter: brightness, contrast, saturation, hue */
    bool grey;
    float sigma;                                               /* blur; 0: none                                       */
    bool solarize; int solarize_threshold;
} im_draw;

/* Counter-based (Philox 4x32-10, Salmon et al. 2011; data/files/stream.h): the same arguments give the same draw, byte for
 * byte, on every machine and for any number of threads. crop counts over all kinds. width, height: as im_picture_size
 * gives them. */
void im_augment_draw(const im_recipe *r, int crop, int width, int height, uint64_t seed, uint64_t epoch, uint64_t index,
                     im_draw *out);

/* The box of RandomResizedCrop from given uniform numbers, 4 a try (area, ratio, row, column): box x, y, w, h. Ten tries
 * with area in [scale_lo, scale_hi] of the picture and log-uniform ratio; when none fits, the middle of the picture, cut
 * to the nearest ratio. For im_augment_draw, and for tests that compare it with torchvision. */
enum { IM_BOX_TRIES = 10, IM_BOX_DRAWS = 4 * IM_BOX_TRIES };
void im_random_box(const im_crop_recipe *k, int width, int height, const double u[IM_BOX_DRAWS], int box[4]);

/* How far a JPEG may be shrunk while decoding for these crops of it: the largest of 1, 2, 4, 8 that leaves every crop at
 * least twice as many pixels in each direction as it is resized to. The bound on what that changes: the mean absolute
 * difference of a resized crop (before colours) from the exact one stays below 1 of 255 levels (tests/test_augment.c: 194
 * crops of a drawn photograph, mean 0.37, worst 0.67). 1 is always exact. */
int im_augment_shrink(const im_draw draws[], int n);

typedef struct im_crop_scratch im_crop_scratch;                /* buffers, grown as needed; one a thread              */
im_crop_scratch *im_crop_scratch_new(void);                    /* NULL: out of memory                                 */
void im_crop_scratch_free(im_crop_scratch *s);

/* One finished crop: rgb receives (size, size, 3) bytes, size = im_recipe_crop(r, crop)->size. src: the picture that d
 * was drawn for, 3 channels, possibly shrunk by the decoder. Fails only without memory, or when src does not fit d. */
bool im_augment_apply(im_ctx *c, im_crop_scratch *s, const im_image *src, const im_recipe *r, int crop,
                      const im_draw *d, uint8_t *rgb);

/* out[i] = (rgb[i] / 255 - mean[i % 3]) / std[i % 3] in f32, each operation rounded: the bits of torchvision's ToTensor
 * and Normalize. mean (.485, .456, .406), std (.229, .224, .225): ImageNet's.   rgb, out: (pixels, 3), channels last */
void im_normalise(const uint8_t *rgb, int64_t pixels, float *out);

#endif
