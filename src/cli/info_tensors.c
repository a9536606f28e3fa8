/* info_tensors.c: the list of tensors of a safetensors file, as text or JSON. Used by cmd_info.c. */
#include "cli/info.h"
#include "cli/session.h"
#include "cli/shown.h"

static void shape_text(const im_st_entry *e, char *out, size_t size)
{
    size_t n = (size_t)snprintf(out, size, "(");
    for (int i = 0; i < e->ndim && n < size; i++)
        n += (size_t)snprintf(out + n, size - n, i ? ", %lld" : "%lld", (long long)e->shape[i]);
    if (n < size)
        snprintf(out + n, size - n, ")");
}

static int64_t element_count(const im_st_entry *e)
{
    int64_t n = 1;
    for (int i = 0; i < e->ndim; i++)
        n *= e->shape[i];
    return n;
}

static json_t *entry_json(const im_st_entry *e)
{
    json_t *shape = json_array();
    for (int i = 0; i < e->ndim; i++)
        json_array_append_new(shape, json_integer(e->shape[i]));
    return json_pack("{s:s, s:s, s:o, s:I}", "name", e->name, "dtype", e->dtype_name, "shape", shape,
                     "bytes", (json_int_t)e->bytes);
}

bool info_tensors(im_ctx *c, const char *path, json_t *files)
{
    im_safetensors *f = im_st_open(c, path);
    if (!f)
        return false;
    int n = im_st_count(f), width = 0;
    int64_t elements = 0, bytes = 0;
    json_t *list = json_array();
    char shape[128], total[32];
    for (int i = 0; i < n; i++) {
        int length = shown_width(im_st_at(f, i)->name);
        width = length > width ? length : width;
    }
    if (!files)
        shown_line(stdout, "%s", path);
    for (int i = 0; i < n; i++) {
        const im_st_entry *e = im_st_at(f, i);
        elements += element_count(e);
        bytes += (int64_t)e->bytes;
        shape_text(e, shape, sizeof shape);
        if (files)
            json_array_append_new(list, entry_json(e));
        if (!files) {
            printf("  ");
            shown_text(stdout, e->name, width);
            printf("  %-5s %s\n", e->dtype_name, shape);
        }
    }
    if (files)
        json_array_append_new(files, json_pack("{s:o, s:I, s:I, s:O}", "file", clean_json(c, path), "parameters",
                                               (json_int_t)elements, "bytes", (json_int_t)bytes, "tensors", list));
    else
        printf("  %d tensors, %lld values, %s\n\n", n, (long long)elements, bytes_text((double)bytes, total));
    json_decref(list);
    im_st_close(f);
    return true;
}
