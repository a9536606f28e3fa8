/* warnings.c: see warnings.h. */
#include "data/sets/warnings.h"

#include <stdlib.h>
#include <string.h>

void im_warnings_init(im_warnings *w)
{
    *w = (im_warnings){ 0 };
    pthread_mutex_init(&w->lock, NULL);
}

static void keep_first(void *arg, const char *text)
{
    im_warnings *w = arg;
    pthread_mutex_lock(&w->lock);
    if (!w->first && !w->told) w->first = strdup(text);
    pthread_mutex_unlock(&w->lock);
}

void im_warnings_from(im_warnings *w, im_ctx *thread) { im_on_warning(thread, keep_first, w); }

void im_warnings_tell(im_warnings *w, im_ctx *c, const char *set)
{
    pthread_mutex_lock(&w->lock);
    char *text = w->first;
    w->first = NULL;
    w->told = w->told || text;
    pthread_mutex_unlock(&w->lock);
    if (text) im_warn(c, "%s: %s (said once; others of the set may be the same)", set, text);
    free(text);
}

void im_warnings_free(im_warnings *w)
{
    free(w->first);
    pthread_mutex_destroy(&w->lock);
}
