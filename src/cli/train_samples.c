/* train_samples.c: what a model under training draws: after every checkpoint RUN/samples/step-N.png, a sheet of the same
 * prompts from the same seeds, so that the sheets of a run tell how it learns. In a context of its own: the training's one
 * stays as it is, and what goes wrong here is a warning. Used by cmd_train_pictures.c. */
#include "cli/train.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/session.h"
#include "cli/sheet.h"
#include "data/files/file.h"
#include "data/text/prompt_lines.h"

enum { MOST = 64, BATCH = 8, STEPS = 20, SEED = 1, LONGEST = 1024 };

struct train_samples {
    const common_options *device;
    float guidance;
    const char *const *base;                                   /* where the model of a LoRA is named; NULL: none       */
    char *prompts[MOST]; int n;
};

typedef struct reading {
    im_ctx *c;
    train_samples *s;
    const char *file;
} reading;

static bool add_line(void *arg, const char *place, int number, const char *line)
{
    const reading *r = arg;
    (void)number;
    if (strlen(line) > LONGEST)
        return im_fail(r->c, "%s: has more than %d bytes; wanted a prompt", place, LONGEST);
    if (r->s->n == MOST)
        return im_fail(r->c, "%s: has more than %d prompts; a sheet of samples holds no more", r->file, MOST);
    if (!(r->s->prompts[r->s->n] = strdup(line)))
        return im_fail(r->c, "out of memory for the prompts of %s", r->file);
    r->s->n++;
    return true;
}

train_samples *train_samples_open(im_ctx *c, const char *file, float guidance, const common_options *device,
                                  const char *const *base)
{
    train_samples *s = calloc(1, sizeof *s);
    if (!s) {
        im_fail(c, "out of memory for the prompts of %s", file);
        return NULL;
    }
    *s = (train_samples){ .device = device, .guidance = guidance, .base = base };
    if (im_prompt_lines(c, file, add_line, &(reading){ .c = c, .s = s, .file = file }) &&
        (s->n || im_fail(c, "%s: has no prompts; wanted one per line", file)))
        return s;
    train_samples_free(s);
    return NULL;
}

void train_samples_free(train_samples *s)
{
    for (int i = 0; s && i < s->n; i++)
        free(s->prompts[i]);
    free(s);
}

static bool draw_pictures(im_ctx *c, const train_samples *s, const char *run, im_image *out[])
{
    char model[4096];
    if (snprintf(model, sizeof model, "%s/model", run) >= (int)sizeof model)
        return im_fail(c, "%s: the path is too long", run);
    im_sd *sd = im_sd_open(c, s->base ? *s->base : model, IM_F32);
    if (sd && s->base)
        im_sd_add_lora(sd, run, 1);
    im_sd_args a[BATCH];
    for (int first = 0; sd && im_ok(c) && first < s->n; first += BATCH) {
        int n = s->n - first < BATCH ? s->n - first : BATCH;
        for (int i = 0; i < n; i++) {
            a[i] = im_sd_defaults(sd);
            a[i].prompt = s->prompts[first + i];
            a[i].seed = SEED;
            a[i].steps = STEPS;
            a[i].guidance = s->guidance;
        }
        im_sd_generate_batch(sd, a, n, out + first);
    }
    im_sd_free(sd);
    return im_ok(c);
}

static bool write_sheet(im_ctx *c, const train_samples *s, const char *run, int64_t step, im_image *const pictures[])
{
    char path[4096], title[200];
    sheet_cell cells[MOST];
    for (int i = 0; i < s->n; i++)
        cells[i] = (sheet_cell){ .picture = pictures[i], .label = s->prompts[i], .note = "" };
    snprintf(title, sizeof title, "after step %lld: seed %d, %d steps, guidance %g", (long long)step, SEED, STEPS,
             (double)s->guidance);
    if (snprintf(path, sizeof path, "%s/samples", run) >= (int)sizeof path || !im_make_folder(c, path))
        return im_fail(c, "%s/samples: cannot be made", run);
    if (snprintf(path, sizeof path, "%s/samples/step-%08lld.png", run, (long long)step) >= (int)sizeof path)
        return im_fail(c, "%s: the path is too long", run);
    im_image *sheet = sheet_draw(c, title, cells, s->n, NULL);
    bool ok = sheet && im_png_write(c, path, sheet, NULL, 0, true);
    im_image_free(sheet);
    return ok;
}

void train_samples_draw(im_ctx *training, const train_samples *s, const char *run, int64_t step)
{
    im_image *pictures[MOST] = { NULL };
    im_ctx *c = im_ctx_new(s->device->device ? s->device->device : "cpu", s->device->threads);
    bool ok = c && im_ok(c) && draw_pictures(c, s, run, pictures) && write_sheet(c, s, run, step, pictures);
    if (!ok)
        im_warn(training, "no sheet of samples after step %lld: %s", (long long)step,
                c && !im_ok(c) ? im_error(c) : "out of memory");
    for (int i = 0; i < s->n; i++)
        im_image_free(pictures[i]);
    im_ctx_free(c);
}
