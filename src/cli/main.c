/* main.c: the command imago: finds the verb, parses its options, runs it. Exit codes: 0 done, 1 failed, 2 used wrongly,
 * 130 stopped by Ctrl-C, 143 by a kill. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/completion.h"
#include "cli/options.h"
#include "cli/session.h"
#include "cli/verbs.h"

static int help(int argc, char **argv)
{
    if (argc < 3) {
        help_program(stdout, all_verbs);
        return CLI_OK;
    }
    if (!strcmp(argv[2], "--man")) {
        help_man(stdout, all_verbs);
        return CLI_OK;
    }
    if (!strcmp(argv[2], "--completion")) {
        if (argc == 4 && completion_print(stdout, argv[3]))
            return CLI_OK;
        return usage_error(NULL, "help --completion prints for bash, zsh or fish: imago help --completion bash");
    }
    const verb *v = verb_find(argc, argv, 2);
    if (!v)
        return verb_unknown(argc, argv, 2);
    help_verb(stdout, v);
    return CLI_OK;
}

static int run_verb(const verb *v, int argc, char **argv)
{
    for (int i = verb_words(v) + 1; i < argc && strcmp(argv[i], "--"); i++)
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
            help_verb(stdout, v);
            return CLI_OK;
        }
    arguments a;
    if (!options_parse(v, argc, argv, &a))
        return CLI_USAGE;
    int rc = v->run(&a);
    options_free(&a);
    return rc;
}

static int dispatch(int argc, char **argv)
{
    if (argc < 2) {
        help_program(stderr, all_verbs);
        return CLI_USAGE;
    }
    const char *name = argv[1];
    if (!strcmp(name, "--version") || !strcmp(name, "-V") || !strcmp(name, "version")) {
        printf("imago %s (%s)\n", IM_VERSION, commit_name());
        return CLI_OK;
    }
    if (!strcmp(name, "help") || !strcmp(name, "--help") || !strcmp(name, "-h"))
        return help(argc, argv);
    const verb *v = verb_find(argc, argv, 1);
    return v ? run_verb(v, argc, argv) : verb_unknown(argc, argv, 1);
}

/* Where one of the three is closed, the next file that is opened would take its number, and what is printed would go into
 * a picture. Something that cannot be read, or written, takes it: a result that cannot be printed stays an error. */
static void hold_standard_files(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) < 0)
            _exit(CLI_FAILED);
}

int main(int argc, char **argv)
{
    hold_standard_files();
    int rc = dispatch(argc, argv);
    if (fflush(stdout) || ferror(stdout)) {
        fprintf(stderr, "imago: cannot write to standard output; is it closed, or the disk full?\n");
        rc = CLI_FAILED;
    }
    return rc;
}
