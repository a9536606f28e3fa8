/* completion.c: `imago help --completion bash|zsh|fish`: what a shell offers behind `imago`, printed from the option
 * tables. `make install` puts the three where the shells look for them. Used by main.c. */
#include "cli/completion.h"

#include <string.h>

#include "cli/verbs.h"

/* What may stand as the value of an option, or as an operand. */
typedef enum { NOTHING, WORDS, FILES, FOLDERS } offer;

/* A name of a value in the help, "RUN|FILE", "SHEET.png", "N". */
static offer offer_of_name(const char *name)
{
    static const char *const folders[] = { "FOLDER", "DIR", "RUN", "SET" },
                      *const files[] = { "FILE", "FOLDER", "DIR", "RUN", "MODEL", "PICTURE", ".png", ".safetensors", "OUT",
                                         "SHARDS", "WHAT", "WEIGHTS", "SET" };
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        if (!strcmp(name, folders[i]))
            return FOLDERS;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        if (strstr(name, files[i]))
            return FILES;
    return NOTHING;
}

static offer offer_of(const option *o)
{
    if (o->choices)
        return WORDS;
    return o->kind == OPT_TEXT || o->kind == OPT_LIST ? offer_of_name(o->value) : NOTHING;
}

/* Operands in small letters are words to choose from: "peak|ops". */
static offer offer_of_operands(const verb *v)
{
    const char *o = v->operands;
    if (!o || !v->max_operands)
        return NOTHING;
    return o[0] >= 'a' && o[0] <= 'z' ? WORDS : offer_of_name(o);
}

/* "a|b" as "a b" */
static void put_words(FILE *f, const char *words)
{
    for (; *words; words++)
        fputc(*words == '|' ? ' ' : *words, f);
}

/* The first words of verbs, each once: generate info ... train */
static void put_verbs(FILE *f)
{
    for (int i = 0; all_verbs[i]; i++) {
        const char *name = all_verbs[i]->name;
        size_t n = strcspn(name, " ");
        bool seen = false;
        for (int k = 0; k < i; k++)
            seen |= strcspn(all_verbs[k]->name, " ") == n && !strncmp(all_verbs[k]->name, name, n);
        if (!seen)
            fprintf(f, "%.*s ", (int)n, name);
    }
}

/* The second words behind the first `n` letters of `first`. */
static void put_second_words(FILE *f, const char *first, size_t n)
{
    for (int i = 0; all_verbs[i]; i++)
        if (!strncmp(all_verbs[i]->name, first, n) && all_verbs[i]->name[n] == ' ')
            fprintf(f, "%s ", all_verbs[i]->name + n + 1);
}

/* Is verb i the first of those that begin with its first word and have a second one? */
static bool opens_pair(int i)
{
    const char *name = all_verbs[i]->name;
    size_t n = strcspn(name, " ");
    return name[n] && (!i || strncmp(all_verbs[i - 1]->name, name, n + 1));
}

/* ---------------------------------------------------------------- bash */

static void bash_offer(FILE *f, const char *pattern, offer what, const char *words)
{
    if (what == NOTHING)
        return;
    fprintf(f, "    '%s') ", pattern);
    if (what == WORDS) {
        fputs("words='", f);
        put_words(f, words);
        fputs("'", f);
    } else {
        fprintf(f, "files=-%c", what == FILES ? 'f' : 'd');
    }
    fputs(" ;;\n", f);
}

static void bash_options(FILE *f, const verb *v)
{
    option o;
    fprintf(f, "    '%s')\n        options='--help ", v->name);
    for (int i = 0; option_at(v, i, &o); i++) {
        fprintf(f, "--%s ", o.name);
        if (o.letter)
            fprintf(f, "-%c ", o.letter);
    }
    fputs("'\n        valued=' ", f);
    for (int i = 0; option_at(v, i, &o); i++)
        if (o.kind != OPT_FLAG) {
            fprintf(f, "--%s ", o.name);
            if (o.letter)
                fprintf(f, "-%c ", o.letter);
        }
    fputs("' ;;\n", f);
}

static void bash_values(FILE *f, const verb *v)
{
    option o;
    char pattern[120];
    for (int i = 0; option_at(v, i, &o); i++) {
        snprintf(pattern, sizeof pattern, "%s --%s", v->name, o.name);
        bash_offer(f, pattern, offer_of(&o), o.choices);
        snprintf(pattern, sizeof pattern, "%s -%c", v->name, o.letter);
        if (o.letter)
            bash_offer(f, pattern, offer_of(&o), o.choices);
    }
    snprintf(pattern, sizeof pattern, "%s ", v->name);
    bash_offer(f, pattern, offer_of_operands(v), v->operands);
}

static void bash(FILE *f)
{
    fputs("# bash completion for imago, made by `imago help --completion bash`\n"
          "_imago()\n{\n"
          "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} verb=${COMP_WORDS[1]}\n"
          "    local options='' valued=' ' words='' files=''\n"
          "    COMPREPLY=()\n"
          "    [ \"$cur\" = '=' ] && cur=''                      # --dtype=f16 comes as three words\n"
          "    [ \"$prev\" = '=' ] && prev=${COMP_WORDS[COMP_CWORD-2]}\n"
          "    if [ \"$COMP_CWORD\" = 1 ]; then\n        mapfile -t COMPREPLY < <(compgen -W '", f);
    put_verbs(f);
    fputs("help --help --version' -- \"$cur\")\n        return\n    fi\n    case $verb in\n", f);
    for (int i = 0; all_verbs[i]; i++) {
        const char *name = all_verbs[i]->name;
        size_t n = strcspn(name, " ");
        if (!opens_pair(i))
            continue;
        fprintf(f, "    %.*s)\n        case ${COMP_WORDS[2]} in\n", (int)n, name);
        for (int k = i; all_verbs[k]; k++)
            if (!strncmp(all_verbs[k]->name, name, n + 1))
                fprintf(f, "        %s) [ \"$COMP_CWORD\" -gt 2 ] && verb='%s' ;;\n", all_verbs[k]->name + n + 1,
                        all_verbs[k]->name);
        fputs("        esac ;;\n", f);
    }
    fputs("    esac\n    case $verb in\n", f);
    for (int i = 0; all_verbs[i]; i++)
        bash_options(f, all_verbs[i]);
    fputs("    esac\n    case $valued in\n    *\" $prev \"*) ;;\n    *) prev='' ;;\n    esac\n"
          "    [ -z \"$prev\" ] && [ \"${cur:0:1}\" = - ] && words=$options\n"
          "    [ -z \"$words\" ] && case \"$verb $prev\" in\n", f);
    for (int i = 0; all_verbs[i]; i++)
        bash_values(f, all_verbs[i]);
    fputs("    'help ')\n        words='--man --completion ", f);
    put_verbs(f);
    fputs("' ;;\n    esac\n"
          "    [ \"$verb ${COMP_WORDS[2]}\" = 'help --completion' ] && [ \"$COMP_CWORD\" = 3 ] && words='bash zsh fish'\n"
          "    if [ \"$COMP_CWORD\" = 2 ]; then\n        case $verb in\n", f);
    for (int i = 0; all_verbs[i]; i++) {
        const char *name = all_verbs[i]->name;
        size_t n = strcspn(name, " ");
        if (opens_pair(i)) {
            fprintf(f, "        %.*s) words+=' ", (int)n, name);
            put_second_words(f, name, n);
            fputs("' ;;\n", f);
        }
    }
    fputs("        esac\n    fi\n"
          "    if [ -n \"$files\" ]; then\n"
          "        compopt -o filenames 2>/dev/null\n"
          "        mapfile -t COMPREPLY < <(compgen \"$files\" -- \"$cur\")\n"
          "    else\n"
          "        mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")\n"
          "    fi\n"
          "}\n"
          "complete -F _imago imago\n", f);
}

/* ---------------------------------------------------------------- zsh */

/* The help of an option up to its first semicolon or colon, without what the shell would read: one line of a list. */
static void put_short(FILE *f, const char *help, const char *escaped)
{
    for (; *help && *help != ';' && *help != ':' && *help != '\n'; help++)
        if (*help == '\'')
            fputs("'\\''", f);
        else
            fprintf(f, strchr(escaped, *help) ? "\\%c" : "%c", *help);
}

static void zsh_offer(FILE *f, offer what, const char *words)
{
    if (what == WORDS) {
        fputc('(', f);
        put_words(f, words);
        fputc(')', f);
    } else if (what != NOTHING) {
        fputs(what == FILES ? "_files" : "_files -/", f);
    }
}

static void zsh_option(FILE *f, const option *o)
{
    if (o->letter)
        fprintf(f, "        '(-%c --%s)'{-%c%s,--%s%s}'[", o->letter, o->name, o->letter, o->value ? "+" : "", o->name,
                o->value ? "=" : "");
    else
        fprintf(f, "        '--%s%s[", o->name, o->value ? "=" : "");
    put_short(f, o->help, "[]\\");
    fputc(']', f);
    if (o->value) {
        fprintf(f, ":%s:", o->value);
        zsh_offer(f, offer_of(o), o->choices);
    }
    fputs("' \\\n", f);
}

static void zsh_verb(FILE *f, const verb *v)
{
    option o;
    fprintf(f, "    '%s')\n        _arguments -s -S \\\n        '--help[show the options of this verb]' \\\n", v->name);
    for (int i = 0; option_at(v, i, &o); i++)
        zsh_option(f, &o);
    offer operands = offer_of_operands(v);
    if (operands != NOTHING) {
        fprintf(f, "        '%s:%s:", v->max_operands == 1 ? "1" : "*", operands == WORDS ? "what" : v->operands);
        zsh_offer(f, operands, v->operands);
        fputs("'", f);
    }
    fputs("\n        ;;\n", f);
}

static void zsh(FILE *f)
{
    fputs("#compdef imago\n# zsh completion for imago, made by `imago help --completion zsh`\n\n"
          "_imago() {\n    local verb=$words[2] first\n    local -a verbs second\n    verbs=(\n", f);
    for (int i = 0; all_verbs[i]; i++) {
        const char *name = all_verbs[i]->name;
        size_t n = strcspn(name, " ");
        if (opens_pair(i) && (!i || strncmp(all_verbs[i - 1]->name, name, n)))
            fprintf(f, "        '%.*s:%.*s something'\n", (int)n, name, (int)n, name);
        else if (!name[n]) {
            fprintf(f, "        '%s:", name);
            put_short(f, all_verbs[i]->summary, "");
            fputs("'\n", f);
        }
    }
    fputs("        'help:the options of a verb'\n    )\n"
          "    if (( CURRENT == 2 )); then\n        _describe verb verbs\n        return\n    fi\n    case $verb in\n", f);
    for (int i = 0; all_verbs[i]; i++) {
        const char *name = all_verbs[i]->name;
        size_t n = strcspn(name, " ");
        if (!opens_pair(i))
            continue;
        fprintf(f, "    %.*s)\n        second=(", (int)n, name);
        put_second_words(f, name, n);
        fputs(")\n        if (( CURRENT == 3 )); then\n            _values word $second", f);
        for (int k = 0; all_verbs[k]; k++)
            if (!strncmp(all_verbs[k]->name, name, n) && !all_verbs[k]->name[n] &&
                offer_of_operands(all_verbs[k]) == WORDS) {
                fputc(' ', f);
                put_words(f, all_verbs[k]->operands);
            }
        fputs("\n            return\n        fi\n"
              "        if (( $second[(Ie)$words[3]] )); then\n            verb=\"$verb $words[3]\"\n"
              "            shift words\n            (( CURRENT-- ))\n        fi ;;\n", f);
    }
    fputs("    help)\n        if [[ $words[3] == --completion ]]; then\n            _values shell bash zsh fish\n"
          "        elif (( CURRENT == 3 )); then\n            _values 'verb or form' --man --completion ", f);
    put_verbs(f);
    fputs("\n        fi\n        return ;;\n    esac\n    shift words\n    (( CURRENT-- ))\n    case $verb in\n", f);
    for (int i = 0; all_verbs[i]; i++)
        zsh_verb(f, all_verbs[i]);
    fputs("    esac\n}\n\n_imago \"$@\"\n", f);
}

/* ---------------------------------------------------------------- fish */

static void fish_offer(FILE *f, offer what, const char *words)
{
    switch (what) {
    case NOTHING: fputs(" -x", f); break;
    case FILES:   fputs(" -r -F", f); break;
    case FOLDERS: fputs(" -x -a '(__fish_complete_directories)'", f); break;
    case WORDS:
        fputs(" -x -a '", f);
        put_words(f, words);
        fputs("'", f);
    }
}

static void fish_verb(FILE *f, const verb *v)
{
    option o;
    char condition[160];
    const char *name = v->name;
    size_t n = strlen(name);
    int length = snprintf(condition, sizeof condition, "__imago_is %s", name);
    for (int i = 0; all_verbs[i]; i++)                         /* bench, and not bench train                           */
        if (!strncmp(all_verbs[i]->name, name, n) && all_verbs[i]->name[n] == ' ' && length < (int)sizeof condition)
            length += snprintf(condition + length, sizeof condition - (size_t)length, "; and not __imago_is %s",
                               all_verbs[i]->name);
    for (int i = 0; option_at(v, i, &o); i++) {
        fprintf(f, "complete -c imago -n '%s' -l %s", condition, o.name);
        if (o.letter)
            fprintf(f, " -s %c", o.letter);
        if (o.kind != OPT_FLAG)
            fish_offer(f, offer_of(&o), o.choices);
        fputs(" -d '", f);
        for (const char *p = o.help; *p && *p != ';' && *p != ':'; p++)
            fprintf(f, *p == '\'' || *p == '\\' ? "\\%c" : "%c", *p);
        fputs("'\n", f);
    }
    offer operands = offer_of_operands(v);
    if (operands != NOTHING) {
        fprintf(f, "complete -c imago -n '%s'", condition);
        if (operands == WORDS)
            fish_offer(f, operands, v->operands);
        else
            fputs(" -F", f);
        fputs("\n", f);
    }
}

static void fish(FILE *f)
{
    fputs("# fish completion for imago, made by `imago help --completion fish`\n"
          "function __imago_is --description 'the words behind imago begin so'\n"
          "    set -l typed (commandline -opc)\n"
          "    test (count $typed) -gt (count $argv); or return 1\n"
          "    for i in (seq (count $argv))\n"
          "        test $typed[(math $i + 1)] = $argv[$i]; or return 1\n"
          "    end\n"
          "end\n"
          "function __imago_count --description 'so many words stand behind imago'\n"
          "    test (count (commandline -opc)) = (math $argv[1] + 1)\n"
          "end\n"
          "complete -c imago -f\n", f);
    for (int i = 0; all_verbs[i]; i++) {
        const char *name = all_verbs[i]->name;
        size_t n = strcspn(name, " ");
        fprintf(f, "complete -c imago -n '%s", name[n] ? "__imago_count 1; and __imago_is " : "__imago_count 0");
        fprintf(f, "%.*s' -a %s -d '", name[n] ? (int)n : 0, name, name[n] ? name + n + 1 : name);
        put_short(f, all_verbs[i]->summary, "");
        fputs("'\n", f);
        if (opens_pair(i) && (!i || strncmp(all_verbs[i - 1]->name, name, n)))
            fprintf(f, "complete -c imago -n '__imago_count 0' -a %.*s\n", (int)n, name);
    }
    fputs("complete -c imago -n '__imago_count 0' -a help -d 'the options of a verb'\n"
          "complete -c imago -n '__imago_count 1; and __imago_is help' -a '--man --completion ", f);
    put_verbs(f);
    fputs("'\ncomplete -c imago -n '__imago_is help --completion' -a 'bash zsh fish'\n", f);
    for (int i = 0; all_verbs[i]; i++)
        fish_verb(f, all_verbs[i]);
}

bool completion_print(FILE *f, const char *shell)
{
    static const struct { const char *name; void (*print)(FILE *f); } shells[] = { { "bash", bash }, { "zsh", zsh },
                                                                                   { "fish", fish } };
    for (size_t i = 0; i < sizeof shells / sizeof *shells; i++)
        if (!strcmp(shells[i].name, shell)) {
            shells[i].print(f);
            return true;
        }
    return false;
}
