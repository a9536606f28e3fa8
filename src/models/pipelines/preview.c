/* preview.c: see preview.h.
 *
 *     picture (S, S, 3)  --encoder-->  z (s, s, C), mean, scaled        s = S / factor
 *     the same picture, each factor x factor square averaged: p (s, s, 3)
 *     map = argmin sum |map [z; 1] - p|^2                               over all places of all pictures
 *
 * The normal equations are C + 1 wide; a small weight on their diagonal keeps them solvable where a channel says
 * nothing. */
#include "models/pipelines/preview.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "data/files/fields.h"
#include "data/files/json.h"
#include "data/files/stream.h"
#include "models/pipelines/sd.h"

enum { PICTURES = 4, SIDE = 16, SHAPES = 12, SEED = 1 };       /* side in latents                                     */
static const double ridge = 1e-4;                              /* of the number of places                             */

/* ---------------------------------------------------------------- pictures to fit on */

static double uniform(im_stream *s) { return (double)im_stream_below(s, 1 << 24) / (1 << 24); }

/* A ramp of one colour to another and boxes and discs of flat colours on it: x (side, side, 3) in -1..1. */
static void draw(im_stream *s, int side, float *x)
{
    double from[3], step[3][2];
    for (int k = 0; k < 3; k++) {
        from[k] = 2 * uniform(s) - 1;
        for (int axis = 0; axis < 2; axis++) step[k][axis] = (2 * uniform(s) - 1) / side;
    }
    for (int i = 0; i < side * side * 3; i++) {
        double v = from[i % 3] + step[i % 3][0] * (i / 3 % side) + step[i % 3][1] * (i / 3 / side);
        x[i] = (float)fmin(fmax(v, -1), 1);
    }
    for (int n = 0; n < SHAPES; n++) {
        double cx = uniform(s) * side, cy = uniform(s) * side, r = (0.05 + 0.2 * uniform(s)) * side, colour[3];
        bool disc = im_stream_below(s, 2);
        for (int k = 0; k < 3; k++) colour[k] = 2 * uniform(s) - 1;
        for (int p = 0; p < side * side; p++) {
            double dx = fabs(p % side - cx), dy = fabs(p / side - cy);
            for (int k = 0; k < 3 && (disc ? dx * dx + dy * dy < r * r : dx < r && dy < r); k++)
                x[3 * p + k] = (float)colour[k];
        }
    }
}

/* pictures (n, side, side, 3) -> latents' means (n, s, s, im_vae_moments), the first C of each place */
static bool encode(im_ctx *c, const im_vae *vae, const float *pictures, int side, float *moments)
{
    im_scope_push(c);
    im_tensor *x = im_new(c, IM_F32, 4, (int64_t[]){ PICTURES, side, side, 3 });
    bool ok = x && im_upload(c, x, pictures) && im_download(c, im_vae_encode(c, vae, x), moments);
    im_scope_pop(c);
    return ok;
}

/* ---------------------------------------------------------------- the fit */

/* What is solved: a (n, n), symmetric; b (3, n) becomes the answer. Cholesky's factor takes the place of a. */
static void solve(double *a, double *b, int n)
{
    for (int j = 0; j < n; j++)
        for (int i = j; i < n; i++) {
            double sum = a[i * n + j];
            for (int k = 0; k < j; k++) sum -= a[i * n + k] * a[j * n + k];
            a[i * n + j] = i == j ? sqrt(sum) : sum / a[j * n + j];
        }
    for (int row = 0; row < 3; row++, b += n) {
        for (int i = 0; i < n; i++) {
            for (int k = 0; k < i; k++) b[i] -= a[i * n + k] * b[k];
            b[i] /= a[i * n + i];
        }
        for (int i = n - 1; i >= 0; i--) {
            for (int k = i + 1; k < n; k++) b[i] -= a[k * n + i] * b[k];
            b[i] /= a[i * n + i];
        }
    }
}

/* The mean of channel k over the square of pixels that latent (y, x) stands for. */
static double mean_of(const float *picture, int side, int factor, int y, int x, int k)
{
    double sum = 0;
    for (int i = 0; i < factor; i++)
        for (int j = 0; j < factor; j++) sum += picture[((y * factor + i) * side + x * factor + j) * 3 + k];
    return sum / (factor * factor);
}

/* z (n): a place's latents and the 1; adds to a (n, n) and b (3, n) */
static void gather(const float *picture, const float *moments, const im_vae_config *cfg, double *z, double *a, double *b)
{
    int factor = im_vae_factor(cfg), side = SIDE * factor, n = cfg->latent_channels + 1;
    for (int p = 0; p < SIDE * SIDE; p++) {
        for (int k = 0; k < n - 1; k++) z[k] = (double)moments[p * im_vae_moments(cfg) + k] * (double)cfg->scaling_factor;
        z[n - 1] = 1;
        for (int i = 0; i < n; i++)
            for (int j = 0; j < n; j++) a[i * n + j] += z[i] * z[j];
        for (int k = 0; k < 3; k++) {
            double target = mean_of(picture, side, factor, p / SIDE, p % SIDE, k);
            for (int i = 0; i < n; i++) b[k * n + i] += z[i] * target;
        }
    }
}

float *im_preview_fit(im_ctx *c, const im_vae *vae, const im_vae_config *cfg)
{
    int side = SIDE * im_vae_factor(cfg), n = cfg->latent_channels + 1;
    size_t picture = (size_t)side * (size_t)side * 3, moments = (size_t)SIDE * SIDE * (size_t)im_vae_moments(cfg);
    float *x = malloc(PICTURES * picture * sizeof *x), *m = malloc(PICTURES * moments * sizeof *m);
    float *map = malloc(3 * (size_t)n * sizeof *map);
    double *a = calloc((size_t)n * (size_t)(n + 4), sizeof *a);
    bool ok = (x && m && map && a) || im_fail(c, "out of memory to fit previews");
    for (int i = 0; ok && i < PICTURES; i++) {
        im_stream s;
        im_stream_open(&s, SEED, 0, (uint64_t)i, 0);
        draw(&s, side, x + (size_t)i * picture);
    }
    ok = ok && encode(c, vae, x, side, m);
    if (ok) {
        double *b = a + n * n, *z = b + 3 * n;
        for (int i = 0; i < PICTURES; i++) gather(x + (size_t)i * picture, m + (size_t)i * moments, cfg, z, a, b);
        for (int i = 0; i < n; i++) a[i * n + i] += ridge * PICTURES * SIDE * SIDE;
        solve(a, b, n);
        for (int i = 0; i < 3 * n; i++) map[i] = (float)b[i];
    }
    free(x);
    free(m);
    free(a);
    if (ok) return map;
    free(map);
    return NULL;
}

/* ---------------------------------------------------------------- the file */

static const char *const colours[] = { "red", "green", "blue" };

char *im_preview_text(im_ctx *c, const float *map, int channels)
{
    json_t *all = json_object();
    for (int k = 0; k < 3; k++) {
        json_t *row = json_array();
        for (int i = 0; i <= channels; i++) json_array_append_new(row, json_real(im_decimal(*map++)));
        json_object_set_new(all, colours[k], row);
    }
    char *text = json_dumps(all, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    json_decref(all);
    if (!text) im_fail(c, "%s: a value is not finite, or memory is out", IM_PREVIEW_FILE);
    return text;
}

float *im_preview_read(im_ctx *c, const char *name, const char *text, int channels)
{
    im_json j = { 0 };
    int n = channels + 1;
    double *row = malloc((size_t)n * sizeof *row);
    float *map = malloc(3 * (size_t)n * sizeof *map);
    bool ok = (row && map) || im_fail(c, "%s: out of memory", name);
    ok = ok && im_json_parse(c, &j, name, text, strlen(text));
    for (int k = 0; ok && k < 3; k++) {
        ok = im_json_length(c, &j, colours[k], IM_MUST, n, n) == n
            && im_json_floats(c, &j, colours[k], IM_MUST, -1e6, 1e6, row, n);
        for (int i = 0; ok && i < n; i++) map[k * n + i] = (float)row[i];
    }
    im_json_close(&j);
    free(row);
    if (ok) return map;
    free(map);
    return NULL;
}

/* ---------------------------------------------------------------- a preview */

im_image *im_preview_picture(im_ctx *c, const float *map, const float *latents, int channels, int w, int h)
{
    size_t pixels = (size_t)w * (size_t)h;
    float *x = malloc(3 * pixels * sizeof *x);
    im_image *out = NULL;
    for (size_t p = 0; x && p < pixels; p++)
        for (int k = 0; k < 3; k++) {
            const float *row = map + k * (channels + 1);
            float v = row[channels];
            for (int i = 0; i < channels; i++) v += row[i] * latents[p * (size_t)channels + (size_t)i];
            x[3 * p + (size_t)k] = v;
        }
    if (x) out = im_picture_of(c, x, w, h);
    else im_fail(c, "out of memory for a preview of %dx%d", w, h);
    free(x);
    return out;
}
