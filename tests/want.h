/* want.h: errors that must say something. Included after what declares the context c. */
#ifndef TEST_WANT_H
#define TEST_WANT_H

#include <check.h>
#include <string.h>

/* The last call failed, with every one of these texts in its message. */
#define WANT_ERROR(...) want_error((const char *const[]){ __VA_ARGS__, NULL })
static inline void want_error(const char *const parts[])
{
    ck_assert_msg(!im_ok(c), "no error; wanted one that says \"%s\"", parts[0]);
    for (int i = 0; parts[i]; i++)
        ck_assert_msg(strstr(im_error(c), parts[i]) != NULL, "\"%s\" is not in: %s", parts[i], im_error(c));
    im_clear_error(c);
}

#endif
