/* suite.h: the frame of a test program: its main() is a table of tests and one call.
 *
 *     int main(void)
 *     {
 *         const suite_test tests[] = { ONCE(values), LOOP(folders_open, 3) };
 *         return suite_run("name", setup, teardown, SUITE_SECONDS, tests, SUITE_COUNT(tests));
 *     } */
#ifndef SUITE_H
#define SUITE_H

#include <check.h>

typedef struct suite_test { const TTest *test; int times; } suite_test;      /* the test sees _i = 0 .. times-1 */
#define LOOP(name, n) { name, n }
#define ONCE(name) LOOP(name, 1)
#define SUITE_COUNT(a) ((int)(sizeof(a) / sizeof *(a)))

enum { SUITE_SECONDS = 300 };                    /* of one test; a sanitizer or an emulator may be underneath */

/* Runs the suite and frees it; what main() returns: 1 if a test failed. */
static inline int suite_end(Suite *s)
{
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}

/* before and after run around every test; both may be NULL. */
static inline TCase *suite_case(Suite *s, const char *name, void (*before)(void), void (*after)(void), int seconds,
                                const suite_test *tests, int n)
{
    TCase *t = tcase_create(name);
    tcase_add_checked_fixture(t, before, after);
    tcase_set_timeout(t, seconds);
    for (int i = 0; i < n; i++)
        tcase_add_loop_test(t, tests[i].test, 0, tests[i].times);
    suite_add_tcase(s, t);
    return t;
}

static inline int suite_run(const char *name, void (*before)(void), void (*after)(void), int seconds,
                            const suite_test *tests, int n)
{
    Suite *s = suite_create(name);
    suite_case(s, name, before, after, seconds, tests, n);
    return suite_end(s);
}

#endif
