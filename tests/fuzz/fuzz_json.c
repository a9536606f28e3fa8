/* fuzz_json.c: any bytes as a configuration: refused, or every getter gives a value within its limits or an error. */
#define _GNU_SOURCE                                            /* memfd_create */
#include "fuzz.h"

#include "data/files/json.h"

static const char *const keys[] = { "a", "b", "block_out_channels", "in_channels", "sample_size", "_class_name" };

static void get_all(im_ctx *c, const im_json *j, const char *key)
{
    int i = 1, ints[3] = { 1, 1, 1 };
    double f = 0.5, floats[2] = { 0.5, 0.5 };
    bool b = false, bools[2];
    const char *s = "", *texts[2] = { "", "" };
    im_json o = { 0 };
    im_json_int(c, j, key, IM_MAY, 1, 4096, &i);
    im_clear_error(c);
    im_json_ints(c, j, key, IM_MAY, 1, 4096, ints, 3);
    im_clear_error(c);
    im_json_float(c, j, key, IM_MUST, 0, 1, &f);
    im_clear_error(c);
    im_json_floats(c, j, key, IM_MAY, 0, 1, floats, 2);
    im_clear_error(c);
    im_json_bool(c, j, key, IM_MAY, &b);
    im_clear_error(c);
    im_json_bools(c, j, key, IM_MAY, bools, 2);
    im_clear_error(c);
    im_json_string(c, j, key, IM_MAY, &s);
    im_clear_error(c);
    im_json_strings(c, j, key, IM_MAY, texts, 2);
    im_clear_error(c);
    int n = im_json_length(c, j, key, IM_MAY, 1, 8);
    must((n < 0) == !im_ok(c) && n <= 8);
    im_clear_error(c);
    bool object = im_json_object(c, j, key, IM_MUST, &o);
    check_error(c, object);
    im_clear_error(c);
    for (int k = 0; k < 3; k++) must(ints[k] >= 1 && ints[k] <= 4096);
    must(i >= 1 && i <= 4096 && f >= 0 && f <= 1 && floats[0] >= 0 && floats[1] <= 1);
    must(strlen(s) + strlen(texts[0]) + strlen(texts[1]) + 1 > 0);
    if (object)
        for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) im_json_has(&o, keys[k]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    im_ctx *c = im_ctx_new("ref", 1);
    im_json j;
    bool ok = im_json_parse(c, &j, "config.json", (const char *)data, size);
    check_error(c, ok);
    for (size_t k = 0; ok && k < sizeof keys / sizeof *keys; k++) get_all(c, &j, keys[k]);
    im_json_close(&j);
    im_ctx_free(c);
    return 0;
}
