/* verbs.c: the list of all verbs; finding the one that was typed. Used by main.c, help.c. */
#include "cli/verbs.h"

#include <stdio.h>
#include <string.h>

#include "cli/names.h"

const verb *const all_verbs[] = {
    &verb_generate, &verb_info, &verb_init_weights, &verb_convert, &verb_trace, &verb_tokenize, &verb_bench,
    &verb_bench_train, &verb_synth, &verb_data, &verb_train_resnet, &verb_train_autoencoder, &verb_train_decoder,
    &verb_train_diffusion, &verb_eval, &verb_analyze, &verb_transfer, &verb_compare, &verb_report, &verb_serve,
    &verb_explain, NULL
};

/* The verb that argv[at] begins: of two words ("train resnet") where both are there, else of one. */
const verb *verb_find(int argc, char **argv, int at)
{
    const verb *one = NULL;
    for (int i = 0; all_verbs[i]; i++) {
        const char *name = all_verbs[i]->name, *space = strchr(name, ' ');
        size_t n = space ? (size_t)(space - name) : strlen(name);
        if (strlen(argv[at]) != n || strncmp(argv[at], name, n))
            continue;
        if (!space)
            one = all_verbs[i];
        else if (at + 1 < argc && !strcmp(argv[at + 1], space + 1))
            return all_verbs[i];
    }
    return one;
}

/* "train" alone, or with a second word that is none: names those that there are. False when nothing begins so. */
static bool half_a_verb(const char *word, const char *second)
{
    size_t n = strlen(word);
    char list[200] = "";
    for (int i = 0; all_verbs[i]; i++)
        if (!strncmp(all_verbs[i]->name, word, n) && all_verbs[i]->name[n] == ' ')
            snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", *list ? ", " : "", all_verbs[i]->name);
    if (*list && second && *second != '-')
        usage_error(NULL, "there is no verb \"%s %s\"; there is %s", word, second, list);
    else if (*list)
        usage_error(NULL, "%s what? There is %s", word, list);
    return *list;
}

int verb_unknown(int argc, char **argv, int at)
{
    const char *name = argv[at], *names[sizeof all_verbs / sizeof *all_verbs];
    int n = 0;
    if (half_a_verb(name, at + 1 < argc ? argv[at + 1] : NULL))
        return CLI_USAGE;
    if (name[0] == '-')
        return usage_error(NULL, "wanted a verb before %s, such as imago generate %s", name, name);
    for (; all_verbs[n]; n++)
        names[n] = all_verbs[n]->name;
    const char *near = name_of_verb(name);
    if (!near)
        near = nearest_word(name, names, n);
    if (near)
        return usage_error(NULL, "there is no verb \"%s\"; did you mean %s?", name, near);
    return usage_error(NULL, "there is no verb \"%s\"", name);
}
