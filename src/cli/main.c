/* main.c: the command imago: finds the verb, parses its options, runs it. Exit codes: 0 done, 1 failed, 2 used wrongly. */
#include <stdio.h>
#include <string.h>

#include "cli/options.h"
#include "cli/session.h"
#include "cli/verbs.h"

static const verb *const verbs[] = {
    &verb_generate, &verb_info, &verb_init_weights, &verb_convert, &verb_trace, &verb_tokenize, &verb_bench,
    &verb_bench_train, &verb_synth, &verb_data, &verb_train_resnet, &verb_train_autoencoder, &verb_train_diffusion,
    &verb_eval, NULL
};

/* The verb that argv[at] begins: of two words ("train resnet") where both are there, else of one. */
static const verb *find_verb(int argc, char **argv, int at)
{
    const verb *one = NULL;
    for (int i = 0; verbs[i]; i++) {
        const char *name = verbs[i]->name, *space = strchr(name, ' ');
        size_t n = space ? (size_t)(space - name) : strlen(name);
        if (strlen(argv[at]) != n || strncmp(argv[at], name, n))
            continue;
        if (!space)
            one = verbs[i];
        else if (at + 1 < argc && !strcmp(argv[at + 1], space + 1))
            return verbs[i];
    }
    return one;
}

/* "train" alone, or with a second word that is none: names those that there are. False when nothing begins so. */
static bool half_a_verb(const char *word, const char *second)
{
    size_t n = strlen(word);
    char list[200] = "";
    for (int i = 0; verbs[i]; i++)
        if (!strncmp(verbs[i]->name, word, n) && verbs[i]->name[n] == ' ')
            snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", *list ? ", " : "", verbs[i]->name);
    if (*list && second && *second != '-')
        usage_error(NULL, "there is no verb \"%s %s\"; there is %s", word, second, list);
    else if (*list)
        usage_error(NULL, "%s what? There is %s", word, list);
    return *list;
}

static int unknown_verb(int argc, char **argv, int at)
{
    const char *name = argv[at];
    if (half_a_verb(name, at + 1 < argc ? argv[at + 1] : NULL))
        return CLI_USAGE;
    const char *names[sizeof verbs / sizeof *verbs];
    int n = 0;
    for (; verbs[n]; n++)
        names[n] = verbs[n]->name;
    const char *near = nearest_word(name, names, n);
    if (near)
        return usage_error(NULL, "there is no verb \"%s\"; did you mean %s?", name, near);
    return usage_error(NULL, "there is no verb \"%s\"", name);
}

static int help(int argc, char **argv)
{
    if (argc < 3) {
        help_program(stdout, verbs);
        return CLI_OK;
    }
    if (!strcmp(argv[2], "--man")) {
        help_man(stdout, verbs);
        return CLI_OK;
    }
    const verb *v = find_verb(argc, argv, 2);
    if (!v)
        return unknown_verb(argc, argv, 2);
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
        help_program(stderr, verbs);
        return CLI_USAGE;
    }
    const char *name = argv[1];
    if (!strcmp(name, "--version") || !strcmp(name, "-V") || !strcmp(name, "version")) {
        printf("imago %s (%s)\n", IM_VERSION, commit_name());
        return CLI_OK;
    }
    if (!strcmp(name, "help") || !strcmp(name, "--help") || !strcmp(name, "-h"))
        return help(argc, argv);
    const verb *v = find_verb(argc, argv, 1);
    return v ? run_verb(v, argc, argv) : unknown_verb(argc, argv, 1);
}

int main(int argc, char **argv)
{
    int rc = dispatch(argc, argv);
    if (fflush(stdout) || ferror(stdout)) {
        fprintf(stderr, "imago: cannot write to standard output: is the disk full?\n");
        rc = CLI_FAILED;
    }
    return rc;
}
