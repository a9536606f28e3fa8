/* explain_code.c: the source of the operations that a UNet is made of, carried in the program byte for byte, so that a
 * page shows the lines that were compiled. Lines are counted in the very text, so a number cannot be out of date; a
 * function that has moved away is not found, and a test says so. Paths count from the folder that the compiler runs in, the
 * top of the repository; the Makefile knows that this file depends on them. Used by explain_page.c. */
#include <ctype.h>
#include <string.h>

#include "cli/explain.h"

#define CARRIED(symbol, path)                       \
    __asm__(".section .rodata\n"                    \
            ".global " #symbol "\n"                 \
            ".hidden " #symbol "\n"                 \
            #symbol ":\n"                           \
            ".incbin \"" path "\"\n"                \
            ".byte 0\n"                             \
            ".previous\n");                         \
    extern const char symbol[] __attribute__((visibility("hidden")))
CARRIED(im_carried_css, "src/cli/explain.css");
CARRIED(im_carried_js, "src/cli/explain.js");
#define SOURCES                                                                                                            \
    SOURCE(ops_attention, "src/tensor/ops/attention.c") SOURCE(ops_conv, "src/tensor/ops/conv.c")                          \
    SOURCE(ops_linear, "src/tensor/ops/linear.c") SOURCE(ops_map, "src/tensor/ops/map.c")                                  \
    SOURCE(ops_movement, "src/tensor/ops/movement.c") SOURCE(ops_norm, "src/tensor/ops/norm.c")                            \
    SOURCE(ref_attention, "src/tensor/ref/attention.c") SOURCE(ref_conv, "src/tensor/ref/conv.c")                          \
    SOURCE(ref_gemm, "src/tensor/ref/gemm.c") SOURCE(ref_map, "src/tensor/ref/map.c")                                      \
    SOURCE(ref_movement, "src/tensor/ref/movement.c") SOURCE(ref_norm, "src/tensor/ref/norm.c")                            \
    SOURCE(cpu_attention, "src/tensor/cpu/attention.c") SOURCE(cpu_conv, "src/tensor/cpu/conv.c")                          \
    SOURCE(cpu_map, "src/tensor/cpu/map.c") SOURCE(cpu_micro, "src/tensor/cpu/micro.c")                                    \
    SOURCE(cpu_movement, "src/tensor/cpu/movement.c") SOURCE(cpu_norm, "src/tensor/cpu/norm.c")                            \
    SOURCE(cpu_product, "src/tensor/cpu/product.c") SOURCE(cpu_winograd, "src/tensor/cpu/winograd.c")
#define SOURCE(name, path) CARRIED(im_carried_##name, path);
SOURCES
#undef SOURCE

typedef struct source { const char *path, *text; } source;
#define SOURCE(name, path) name,
enum { SOURCES };
#undef SOURCE
#define SOURCE(name, path) [name] = { path, im_carried_##name },
static const source sources[] = { SOURCES };
#undef SOURCE

static const char operation[] = "the operation", definition[] = "its definition, plain loops with sums in f64",
                  fast[] = "the fast kernel", back[] = "the way back";
static const struct piece { const char *op, *what; int source; const char *function; } pieces[] = {
    { "conv2d", operation, ops_conv, "conv2d_forward" },
    { "conv2d", definition, ref_conv, "window" },
    { "conv2d", fast, cpu_conv, "pack_windows" },
    { "conv2d", "the fast kernel of most 3x3 ones, Winograd's: its products", cpu_winograd, "multiply" },
    { "conv2d", "the multiply-adds", cpu_micro, "tile" },
    { "conv2d", back, ops_conv, "conv2d_backward" },
    { "linear", operation, ops_linear, "product" },
    { "linear", definition, ref_gemm, "dot" },
    { "linear", fast, cpu_product, "run_group" },
    { "linear", "the multiply-adds", cpu_micro, "tile" },
    { "linear", back, ops_linear, "linear_backward" },
    { "geglu", operation, ops_linear, "geglu_forward" },
    { "geglu", definition, ref_gemm, "column" },
    { "geglu", fast, cpu_product, "run_strip" },
    { "groupnorm", operation, ops_norm, "groupnorm_forward" },
    { "groupnorm", definition, ref_norm, "group" },
    { "groupnorm", fast, cpu_norm, "chunk_statistics" },
    { "groupnorm", fast, cpu_norm, "apply_pixel" },
    { "layernorm", operation, ops_norm, "layernorm_forward" },
    { "layernorm", definition, ref_norm, "row" },
    { "layernorm", fast, cpu_norm, "layernorm_rows" },
    { "attention", operation, ops_attention, "attention_forward" },
    { "attention", definition, ref_attention, "query" },
    { "attention", fast, cpu_attention, "attend" },
    { "concat", operation, ops_movement, "concat_forward" },
    { "concat", definition, ref_movement, "run" },
    { "concat", fast, cpu_movement, "copy_task" },
    { "activate", operation, ops_map, "activate_forward" },
    { "activate", definition, ref_map, "element" },
    { "activate", fast, cpu_map, "loop" },
    { "add", operation, ops_map, "add_forward" },
    { "add", definition, ref_map, "element" },
    { "timestep", operation, ops_movement, "timestep_forward" },
    { "timestep", definition, ref_map, "time_row" },
};
enum { PIECES = sizeof pieces / sizeof *pieces };

const char *explain_op_at(int i)
{
    for (int k = 0; k < PIECES; k++)
        if ((k == 0 || strcmp(pieces[k].op, pieces[k - 1].op) != 0) && i-- == 0)
            return pieces[k].op;
    return NULL;
}

const char *explain_file(const char *name)
{
    return !strcmp(name, "explain.css") ? im_carried_css : im_carried_js;
}

/* ---------------------------------------------------------------- finding a function */

static const char *next_line(const char *p)
{
    const char *end = strchr(p, '\n');
    return end ? end + 1 : p + strlen(p);
}

/* Does a definition of it begin here: "static int NAME(...", "int IM_FN(NAME)(...", and "{" before any line with ";"? */
static bool defines(const char *line, const char *name)
{
    size_t n = strlen(name), length = (size_t)(next_line(line) - line);
    if (!isalpha((unsigned char)*line))
        return false;
    const char *at = NULL;
    for (const char *p = line; !at && (size_t)(p - line) + n < length; p++)
        if (!strncmp(p, name, n) && (p[n] == '(' || p[n] == ')') && p > line && !isalnum((unsigned char)p[-1])
            && p[-1] != '_')
            at = p;
    if (!at)
        return false;
    for (const char *p = line; *p; p = next_line(p)) {
        if (*p == '{')
            return true;
        const char *end = next_line(p);
        if (memchr(p, ';', (size_t)(end - p)))
            return false;
    }
    return false;
}

/* The first of the lines of comment right above. */
static const char *with_comment(const char *text, const char *line)
{
    while (line > text) {
        const char *above = line - 1;
        while (above > text && above[-1] != '\n')
            above--;
        if (strncmp(above, "/*", 2) && strncmp(above, " *", 2))
            break;
        line = above;
        if (above[0] == '/')
            break;
    }
    return line;
}

bool explain_code_of(const char *op, int i, explain_code *out, bool *found)
{
    const struct piece *p = NULL;
    for (int k = 0; k < PIECES && !p; k++)
        if (!strcmp(pieces[k].op, op) && i-- == 0)
            p = &pieces[k];
    if (!p)
        return false;
    const char *text = sources[p->source].text, *line = text;
    *out = (explain_code){ .what = p->what, .file = sources[p->source].path, .line = 1 };
    for (; *line && !defines(line, p->function); line = next_line(line))
        out->line++;
    *found = *line;
    if (!*found)
        return true;
    const char *end = line;
    while (*end && *end != '}')
        end = next_line(end);
    out->text = with_comment(text, line);
    out->bytes = (size_t)(next_line(end) - out->text);
    return true;
}
