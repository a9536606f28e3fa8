/* mask.c: the mask of a request: which part of its picture is drawn anew. What comes out is the picture that `imago
 * generate --mask` takes, white where it is drawn anew. Two ways of saying it:
 *
 *     the web interface   white; or opaque, where the picture has transparent parts; inpainting_mask_invert turns it around
 *     OpenAI              transparent */
#include <stdlib.h>
#include <string.h>

#include "cli/serve/ask.h"
#include "data/images/alpha.h"

static void each_value(im_image *i, uint8_t (*rule)(uint8_t v))
{
    for (size_t k = 0; k < (size_t)i->width * (size_t)i->height * (size_t)i->channels; k++)
        i->pixels[k] = rule(i->pixels[k]);
}

static uint8_t other(uint8_t v) { return (uint8_t)(255 - v); }
static uint8_t opaque(uint8_t v) { return v > 128 ? 255 : 0; } /* create_binary_mask there                             */

static bool has_other_than(const im_image *i, uint8_t v)
{
    size_t n = (size_t)i->width * (size_t)i->height * (size_t)i->channels;
    return i->pixels[0] != v || memcmp(i->pixels, i->pixels + 1, n - 1) != 0;
}

static im_image *read_mask(server *s, const asked *a, const uint8_t *bytes, size_t n, trouble *t)
{
    im_ctx *c = im_ctx_new("ref", 1);
    const im_decode_args limits = ask_picture_limits(s);
    im_image *alpha = c ? im_picture_alpha(c, bytes, n, "mask", &limits) : NULL, *mask = NULL;
    if (alpha && (a->mask_transparent || has_other_than(alpha, 255))) {
        mask = alpha;
        each_value(mask, a->mask_transparent ? other : opaque);
    } else if (c && im_ok(c) && !a->mask_transparent) {
        mask = im_picture_decode(c, bytes, n, "mask", &limits);
    }
    if (mask != alpha)
        im_image_free(alpha);
    if (!c || !im_ok(c))
        trouble_is(t, 422, "mask", "%s", c ? im_error(c) : "out of memory");
    else if (!mask)
        trouble_is(t, 422, "mask", "the mask has no transparent part; wanted a PNG that is transparent where the picture "
                                   "is drawn anew");
    im_ctx_free(c);
    return mask;
}

bool ask_mask(server *s, const asked *a, wish *w, trouble *t)
{
    size_t n;
    if (!a->mask || (json_is_string(a->mask) && !json_string_length(a->mask)))
        return true;
    uint8_t *bytes = ask_picture_bytes(a->mask, "mask", &n, t);
    w->mask = bytes ? read_mask(s, a, bytes, n, t) : NULL;
    w->mask_blur = (float)a->mask_blur;
    w->mask_only = a->mask_only >= 0;
    w->mask_padding = w->mask_only ? a->mask_only : 0;
    free(bytes);
    if (a->mask_fill && !im_mask_fill_named(a->mask_fill, &w->mask_fill))
        return trouble_is(t, 422, "mask_fill", "mask_fill is \"%.40s\"; wanted original, fill, noise or nothing",
                          a->mask_fill);
    if (w->mask && a->mask_invert)
        each_value(w->mask, other);
    return w->mask != NULL;
}
