/* golden_json.h: golden values in JSON; some files are packed by gzip: those of which most is digits. */
#ifndef GOLDEN_JSON_H
#define GOLDEN_JSON_H

#include <check.h>
#include <jansson.h>
#include <zlib.h>

static inline size_t golden_more(void *to, size_t most, void *file)
{
    int n = gzread(file, to, (unsigned)most);
    return n < 0 ? (size_t)-1 : (size_t)n;
}

static inline json_t *golden_json(const char *path)
{
    json_error_t e;
    gzFile file = gzopen(path, "rb");                          /* reads what is not packed as well                     */
    ck_assert_msg(file != NULL, "%s cannot be read", path);
    json_t *j = json_load_callback(golden_more, file, 0, &e);
    gzclose(file);
    ck_assert_msg(j != NULL, "%s: %s", path, e.text);
    return j;
}

#endif
