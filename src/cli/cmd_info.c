/* cmd_info.c: `imago info`: what is in a model or a file, what its networks cost, and what this machine will run. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/info.h"
#include "cli/session.h"
#include "cli/verbs.h"
#include "data/files/file.h"

typedef struct info_options {
    common_options common;
    int width, height;
    bool ops, check, json;
} info_options;

#define AT(field) offsetof(info_options, field)
static const option options[] = {
    OPTION_INT('W', "width", "PIXELS", AT(width), "0", 0, 1 << 16, "width for FLOP and memory; 0: the model's own"),
    OPTION_INT('H', "height", "PIXELS", AT(height), "0", 0, 1 << 16, "height for FLOP and memory; 0: the model's own"),
    OPTION_FLAG(0, "ops", AT(ops), "list the engine's operations"),
    OPTION_FLAG(0, "check", AT(check), "with --device cuda: try every kernel beside the device \"ref\""),
    OPTION_FLAG(0, "json", AT(json), "print one JSON object"),
    OPTION_END
};

static void list_ops(json_t *root)
{
    const char *name, *formula;
    json_t *list = json_array();
    for (int i = 0; im_op_describe(i, &name, &formula); i++) {
        if (root)
            json_array_append_new(list, json_pack("{s:s, s:s}", "op", name, "formula", formula));
        else
            printf("  %-12s %s\n", name, formula);
    }
    if (root)
        json_object_set(root, "ops", list);
    json_decref(list);
}

static json_t *net_json(const im_net_info *n)
{
    return json_pack("{s:s, s:I, s:I, s:I, s:f, s:i, s:I}", "name", n->name, "parameters", (json_int_t)n->parameters,
                     "tensors", (json_int_t)n->tensors, "bytes", (json_int_t)n->bytes, "flop", n->flop, "ops", n->ops,
                     "arena_bytes", (json_int_t)n->arena_bytes);
}

/* What each network costs; those that the model has not, or not whole, are named in "missing". */
static bool list_networks(im_ctx *c, im_sd *sd, const info_options *o, json_t *root)
{
    im_sd_args a = im_sd_defaults(sd);
    int width = o->width ? o->width : a.width, height = o->height ? o->height : a.height;
    json_t *list = json_array(), *missing = json_array();
    char bytes[32], arena[32];
    if (!root)
        printf("%-13s %13s %8s %9s %12s %5s %9s   (weights in %s, one sample of %dx%d)\n", "network", "parameters",
               "tensors", "bytes", "GFLOP", "ops", "arena", im_dtype_name(im_sd_dtype(sd)), width, height);
    for (int i = 0; i < IM_NET_COUNT; i++) {
        im_net_info n;
        bool whole;
        im_sd_file(sd, (im_net)i, &whole);
        if (!im_sd_net_info(sd, (im_net)i, width, height, &n))
            break;
        if (!whole)
            json_array_append_new(missing, json_string(n.name));
        else if (root)
            json_array_append_new(list, net_json(&n));
        else
            printf("%-13s %13lld %8lld %9s %12.3f %5d %9s\n", n.name, (long long)n.parameters, (long long)n.tensors,
                   bytes_text((double)n.bytes, bytes), n.flop * 1e-9, n.ops, bytes_text((double)n.arena_bytes, arena));
        if (!root && !whole)
            printf("%-13s missing or incomplete\n", n.name);
    }
    if (root && im_ok(c)) {
        json_object_set(root, "networks", list);
        if (json_array_size(missing))
            json_object_set(root, "missing", missing);
        json_object_set_new(root, "width", json_integer(width));
        json_object_set_new(root, "height", json_integer(height));
        json_object_set_new(root, "dtype", json_string(im_dtype_name(im_sd_dtype(sd))));
    }
    json_decref(missing);
    json_decref(list);
    return im_ok(c);
}

/* The one that pictures use without --scheduler. A model without one that imago has is no reason to list nothing of it. */
static bool list_scheduler(im_ctx *c, im_sd *sd, json_t *root)
{
    im_sd_args a = im_sd_defaults(sd);
    const char *name = im_ok(c) ? im_sd_scheduler(sd, &a) : NULL;
    if (!sd || (!name && im_ok(c)))
        return false;
    if (root)
        json_object_set_new(root, "scheduler", name ? json_string(name) : json_null());
    else
        printf("%-13s %s%s\n", "scheduler", name ? name : "none: ", name ? "" : im_error(c));
    if (!name)
        im_clear_error(c);
    return true;
}

static bool is_single_file_model(im_ctx *c, const char *path)
{
    static const char *const heads[] = { "model.diffusion_model.", "first_stage_model.", "cond_stage_model." };
    im_safetensors *f = im_st_open(c, path);
    bool found = false;
    for (int i = 0; f && !found && i < 3 * im_st_count(f); i++)
        found = !strncmp(im_st_at(f, i / 3)->name, heads[i % 3], strlen(heads[i % 3]));
    im_st_close(f);
    return found;
}

static bool describe(im_ctx *c, const char *path, const info_options *o, json_t *root)
{
    static const im_net files_of[] = { IM_NET_CLIP, IM_NET_UNET, IM_NET_VAE_DECODER };
    json_t *files = root ? json_array() : NULL;
    bool folder = im_is_folder(path), ok = folder || info_tensors(c, path, files);
    im_sd *sd = ok && (folder || is_single_file_model(c, path)) ? im_sd_look(c, path, session_dtype(&o->common)) : NULL;
    for (size_t i = 0; sd && folder && i < sizeof files_of / sizeof *files_of; i++) {
        bool whole;
        info_tensors(c, im_sd_file(sd, files_of[i], &whole), files);
    }
    if (sd && list_networks(c, sd, o, root) && list_scheduler(c, sd, root))
        im_sd_whole(sd);
    im_sd_free(sd);
    if (root)
        json_object_set_new(root, "files", files);
    return ok;
}

static void describe_device(im_ctx *c, json_t *root)
{
    static const im_dtype dtypes[] = { IM_F32, IM_F16, IM_BF16, IM_INT8 };
    json_t *kernels = json_object();
    char about[300];
    im_device_about(c, about, sizeof about);
    if (!root)
        printf("device %s, instruction set %s, %d threads\n", im_device_place(c), im_device_isa(c), im_threads(c));
    if (!root && *about)
        printf("  %s\n", about);
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes && (dtypes[i] != IM_INT8 || im_has_int8(c)); i++) {
        const char *text = im_device_kernel(c, dtypes[i]);
        if (root)
            json_object_set_new(kernels, im_dtype_name(dtypes[i]), json_string(text));
        else
            printf("  %-4s weights: %s\n", im_dtype_name(dtypes[i]), text);
    }
    if (root) {
        json_object_set_new(root, "device", json_string(im_device_name(c)));
        json_object_set_new(root, "place", json_string(im_device_place(c)));
        json_object_set_new(root, "about", json_string(about));
        json_object_set_new(root, "isa", json_string(im_device_isa(c)));
        json_object_set_new(root, "threads", json_integer(im_threads(c)));
        json_object_set(root, "kernels", kernels);
    }
    json_decref(kernels);
}

static void check_row(void *arg, const im_check_row *r)
{
    const char *result = r->agrees ? "agrees" : "DISAGREES";
    if (arg)
        json_array_append_new(arg, json_pack("{s:s, s:s, s:s, s:f, s:f, s:b}", "kernel", r->kernel, "form", r->form, "path",
                                             r->path, "error", isfinite(r->error) ? r->error : -1, "limit", r->limit,
                                             "agrees", r->agrees));
    else
        printf("  %-18s %-12s %-5s  %8.1e  %8.1e  %s\n", r->kernel, r->form, r->path, r->error, r->limit, result);
}

static bool check_device(im_ctx *c, json_t *root)
{
    json_t *rows = root ? json_array() : NULL;
    if (!root)
        printf("  %-18s %-12s %-5s  %8s  %8s\n", "kernel", "in", "path", "error", "at most");
    bool ok = im_device_check(c, check_row, rows);
    if (root)
        json_object_set_new(root, "check", rows);
    return ok;
}

static int run(const arguments *a)
{
    const info_options *o = a->values;
    bool device = option_given(a, "device") || option_given(a, "isa") || o->check;
    if (!a->n_operands && !device && !o->ops)
        return usage_error(a->verb, "name a model folder or a file, or ask for --device cpu or --ops");
    im_ctx *c = session_open(&o->common);
    if (!c)
        return CLI_FAILED;
    json_t *root = o->json ? json_object() : NULL;
    if (device)
        describe_device(c, root);
    if (o->ops)
        list_ops(root);
    bool ok = (!o->check || check_device(c, root)) && (!a->n_operands || describe(c, a->operands[0], o, root));
    bool told = im_ok(c) || json_object_get(root, "networks") || json_object_get(root, "check");
    if (root && (ok || o->check) && told) {                    /* what is there is told in any case                    */
        json_dumpf(root, stdout, JSON_INDENT(1));
        putchar('\n');
    }
    json_decref(root);
    return session_close(c);
}

const verb verb_info = {
    .name = "info", .operands = "[MODEL|FILE]", .max_operands = 1, .common = OPT_MODEL | OPT_DEVICE | OPT_DTYPE,
    .options = options, .size = sizeof(info_options), .run = run,
    .summary = "describe a model, a file of tensors, or this machine",
    .about = "Lists the tensors of a model or a safetensors file with their types and shapes, and for each network "
             "its parameters, bytes, FLOP and planned memory. With --device it prints the chosen instruction set "
             "and the kernel for each type of weight; with --ops, the engine's operations. A model that lacks a "
             "network or tensors is described all the same; what is missing is the error at the end. --check runs "
             "every kernel of a GPU on small problems, as the program does by itself when it first meets a GPU, and prints "
             "how far each is from the device \"ref\".",
    .examples = "  imago info FOLDER\n  imago info unet/diffusion_pytorch_model.safetensors\n  imago info --device cpu",
};
