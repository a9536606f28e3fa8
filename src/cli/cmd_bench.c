/* cmd_bench.c: `imago bench`: how fast this machine runs the engine, as shares of what the machine can do. */
#include <errno.h>
#include <string.h>

#include "cli/bench.h"
#include "cli/names.h"
#include "cli/session.h"
#include "cli/verbs.h"
#include "data/files/file.h"

static const char CSV_HEADER[] = "commit,cpu,isa,threads,bench,shape,dtype,ms,ms_min,gflops,gbs,percent_of_peak\n";

#define AT(field) offsetof(bench_options, field)
static const option options[] = {
    OPTION_TEXT('m', "model", "MODEL", AT(model), NULL,
                "model for clip, unet, vae and generate; without it, the embedded model"),
    OPTION_INT('r', "rounds", "N", AT(rounds), "5", 1, 10000,
               "number of measurements; the median and the best are shown"),
    OPTION_INT('b', "batch", "B", AT(batch), "0", 0, 4096,
               "samples at once, for generate pictures; 0: 2 for unet (one guided step), otherwise 1"),
    OPTION_INT('c', "count", "N", AT(count), "1", 1, 1 << 20,
               "for generate: pictures in a round, --batch at once; their rate per hour and the seconds of a core that "
               "one takes are shown"),
    OPTION_INT('W', "width", "PIXELS", AT(width), "0", 0, 1 << 16, "width of the picture; 0: the model's own"),
    OPTION_INT('H', "height", "PIXELS", AT(height), "0", 0, 1 << 16, "height of the picture; 0: the model's own"),
    OPTION_INT(0, "steps", "N", AT(steps), "3", 1, 1000, "for generate: number of denoising steps"),
    OPTION_FLAG(0, "json", AT(json), "print one JSON object per row"),
    OPTION_TEXT(0, "csv", "FILE", AT(csv), NULL, "append the rows to this file"),
    OPTION_END
};

/* Opens the CSV file to append to; a file with other columns is not touched. */
static bool open_csv(bench_output *out, const char *path)
{
    char line[sizeof CSV_HEADER + 8] = "";
    size_t made;
    if (!path)
        return true;
    if (!im_make_above(out->c, path, &made))
        return false;
    out->csv = fopen(path, "a+");
    if (!out->csv)
        return im_fail(out->c, "%s: %s; wanted a file that rows can be appended to", path, strerror(errno));
    rewind(out->csv);
    bool empty = !fgets(line, sizeof line, out->csv);
    fseek(out->csv, 0, SEEK_END);                              /* between reading and writing                          */
    if (empty)
        fputs(CSV_HEADER, out->csv);
    else if (strcmp(line, CSV_HEADER))
        return im_fail(out->c, "%s: its first line is not \"%.*s\"; append to another file", path,
                       (int)strlen(CSV_HEADER) - 1, CSV_HEADER);
    return true;
}

static bool close_csv(bench_output *out, const char *path)
{
    bool lost = out->csv && ferror(out->csv);
    if (out->csv && (fclose(out->csv) || lost))
        return im_fail(out->c, "%s: %s; is the disk full?", path, strerror(errno));
    return true;
}

static bool measure_one(bench_output *out, const char *what)
{
    if (!strcmp(what, "ops"))
        return bench_ops(out);
    if (!strcmp(what, "clip"))
        return bench_network(out, IM_NET_CLIP);
    if (!strcmp(what, "unet"))
        return bench_network(out, IM_NET_UNET);
    if (!strcmp(what, "vae"))
        return bench_network(out, IM_NET_VAE_DECODER);
    return bench_generate(out);
}

/* What depends on the type of the weights is measured for each of them, or for the one that was asked for. */
static bool measure(bench_output *out, const char *what, bool one_dtype)
{
    if (!bench_measure_peak(out->c, &out->peak))
        return false;
    if (!strcmp(what, "peak"))
        return bench_peak(out);
    static const im_dtype all[] = { IM_F32, IM_F16, IM_BF16, IM_INT8 };
    im_dtype only = session_dtype(&out->o->common);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        out->dtype = all[i];
        if ((!one_dtype || all[i] == only) && !measure_one(out, what))
            return false;
    }
    return true;
}

static int run(const arguments *a)
{
    static const char *const names[] = { "peak", "ops", "clip", "unet", "vae", "generate" };
    enum { N = sizeof names / sizeof *names };
    const bench_options *o = a->values;
    const char *what = a->operands[0];
    int known = 0;
    for (int i = 0; i < N; i++)
        known += !strcmp(what, names[i]);
    if (!known) {
        const char *near = nearest_word(what, names, N);
        if (near)
            return usage_error(a->verb, "there is nothing called \"%s\" to measure; did you mean %s?", what, near);
        return usage_error(a->verb, "there is nothing called \"%s\" to measure; wanted %s", what, a->verb->operands);
    }
    im_ctx *c = session_open(&o->common);
    if (!c)
        return CLI_FAILED;
    bench_output out = { .o = o, .c = c };
    if (open_csv(&out, o->csv))
        measure(&out, what, option_given(a, "dtype"));
    close_csv(&out, o->csv);
    return session_close(c);
}

const verb verb_bench = {
    .name = "bench", .operands = "peak|ops|clip|unet|vae|generate", .min_operands = 1, .max_operands = 1,
    .common = OPT_MODEL | OPT_DEVICE | OPT_DTYPE | OPT_ACTIVATIONS, .options = options,
    .size = sizeof(bench_options), .run = run,
    .summary = "measure this machine and the engine on it",
    .about = "Measures this machine's arithmetic peak and memory bandwidth, single operations at the shapes of "
             "Stable Diffusion, its networks, or whole pictures. Every row shows its share of the measured peak. "
             "Without --dtype, everything but the peak is measured with weights in f32, f16, bf16 and int8 in turn.",
    .examples = "  imago bench peak\n  imago bench unet -m FOLDER -t 2 --json\n"
                "  imago bench generate --batch 8 --count 32 --steps 20\n  imago bench ops --csv rows.csv",
};
