/* generate_stopped.c: what is said of a run that Ctrl-C ended before its last picture: the command that makes the rest, or
 * in words how to go on where no command does. Used by generate_run.c. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/generate.h"

/* A word as a shell would want it typed. */
static void print_word(FILE *f, const char *w)
{
    if (*w && strspn(w, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./=,:@+") == strlen(w)) {
        fprintf(f, " %s", w);
        return;
    }
    fputs(" '", f);
    for (; *w; w++) {
        if (*w == '\'')
            fputs("'\\''", f);
        else
            fputc(*w, f);
    }
    fputc('\'', f);
}

/* What a command is printed without. */
typedef struct leave { bool force, seed; } leave;

static bool left_out(const option *o, leave l)
{
    return (l.force && !strcmp(o->name, "force")) || (l.seed && !strcmp(o->name, "seed"));
}

/* A word of short options, -qf or -fs42, without what is left out. Returns whether the next word is a value of it; *with:
 * whether that is printed, too. */
static bool print_letters(FILE *f, const verb *v, const char *word, leave l, bool *with)
{
    option o;
    const char *p = word + 1;
    char *rest = strdup(word), *to = rest ? rest + 1 : NULL;
    if (!rest)
        return false;
    for (; *p && option_typed(v, (char[]){ '-', *p, '\0' }, &o) && o.kind == OPT_FLAG; p++)
        if (!left_out(&o, l))
            *to++ = *p;
    *with = *p && !left_out(&o, l);
    snprintf(to, strlen(p) + 1, "%s", *with ? p : "");
    if (rest[1])
        print_word(f, rest);
    free(rest);
    return *p && !p[1];
}

/* The command as it was typed, perhaps without --force or the seed. The walk is that of options_parse. No operands follow
 * a lone "--", and what is added must not become one. */
static void print_command(FILE *f, const arguments *a, leave l)
{
    fputs("imago", f);
    for (int i = 1; i < a->argc && strcmp(a->argv[i], "--"); i++) {
        const char *word = a->argv[i];
        bool value = false, with = true;                       /* the next word is a value of this one; it is printed  */
        if (!strncmp(word, "--", 2)) {
            option o;
            bool known = option_typed(a->verb, word, &o);
            value = known && o.kind != OPT_FLAG && !strchr(word, '=');
            with = !known || !left_out(&o, l);
            if (with)
                print_word(f, word);
        } else if (word[0] == '-' && word[1]) {
            value = print_letters(f, a->verb, word, l, &with);
        } else {
            print_word(f, word);
        }
        if (value && ++i < a->argc && with)
            print_word(f, a->argv[i]);
    }
}

/* With --force: whether older files are in the place of those that are missing; --skip-existing would keep them. */
static bool old_files(const run_state *r)
{
    bool found = r->o->sheet && !access(r->o->sheet, F_OK);
    for (int i = 0; i < r->jobs.n && !found; i++)
        found = !r->jobs.v[i].done && !access(r->jobs.v[i].path, F_OK);
    return found;
}

/* The same command with its seed said makes the same pictures; --skip-existing leaves it those that are missing, but goes
 * neither with --force nor with --save-latents. What came through standard input cannot be typed again. */
void say_how_to_go_on(const run_state *r, FILE *f)
{
    const generate_options *o = r->o;
    bool several = r->jobs.n > 1, piped = o->prompts && !strcmp(o->prompts, "-"), latents = several && o->save_latents;
    bool anew = latents || (several && o->force && old_files(r)), skip = several && !anew && !o->skip_existing;
    const char *start = anew ? "to begin again: " : "to go on: ";
    const char *flag = skip ? " --skip-existing" : anew && !o->force ? " --force" : "";
    char seed[40] = "";
    if (o->seed.drawn || (!option_given(r->a, "seed") && !r->from.path))
        snprintf(seed, sizeof seed, " --seed %llu", (unsigned long long)o->seed.value);
    fputs(start, f);
    if (piped || latents) {
        fprintf(f, "the same command%s%s%s%s%s%s\n", piped ? " and the same prompts" : "",
                *seed || *flag ? ", with" : "", seed, flag, skip && o->force ? " and without --force" : "",
                latents ? "; --save-latents needs all pictures made anew" : "");
        return;
    }
    print_command(f, r->a, (leave){ .force = skip, .seed = o->seed.drawn });
    fprintf(f, "%s%s\n", seed, flag);
}
