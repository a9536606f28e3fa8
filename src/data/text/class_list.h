/* class_list.h: the classes that a synthetic set is made of, each with what prompts say of it.
 *
 * From a file of plain text, a class a line, empty lines and those that begin with # left out:
 *     n02123045                                a wnid, looked up in WordNet (wordnet.h)
 *     tabby | cat | a cat with a grey coat     name | hypernym | definition; the latter two may be left out
 * or from the command line: "imagenet1k", "imagenet100" (carried_lists.h), or wnids with commas between them.
 * Used by `imago synth` and prompts.c. */
#ifndef IM_CLASS_LIST_H
#define IM_CLASS_LIST_H

#include "imago.h"

typedef struct im_class {                                      /* texts are owned by the list                         */
    char *key;                                                 /* the wnid, else the name: unique                     */
    char *name, *hypernym, *definition;                        /* c, h_c, d_c of prompts; the latter two may be NULL  */
    char *folder;                                              /* the key as the name of a folder: unique             */
} im_class;

typedef struct im_class_list { int n, cap; im_class *v; } im_class_list;

/* lemmas: "all" of a synset make its name, or the "first". False with an error, which names every unknown wnid; the list
 * is to be freed in either case. */
bool im_class_list_read(im_ctx *c, const char *from, const char *lemmas, im_class_list *out);
void im_class_list_free(im_class_list *l);

/* One class more, by its texts (hypernym, definition: NULL or "": none). `where` begins errors: "classes.txt, line 3". */
bool im_class_list_add(im_ctx *c, im_class_list *l, const char *where, const char *key, const char *name,
                       const char *hypernym, const char *definition);
/* Keys and folders must be unique; a list must have one class at least. */
bool im_class_list_check(im_ctx *c, const im_class_list *l, const char *from);
int im_class_find(const im_class_list *l, const char *key);    /* -1: none                                            */

#endif
