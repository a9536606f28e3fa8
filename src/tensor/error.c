/* error.c: the sticky error of a context, its warnings and its stop flag. */
#include "tensor/ctx.h"

#include <stdarg.h>
#include <stdio.h>

bool im_ok(const im_ctx *c)
{
    return c && !c->failed;
}

const char *im_error(const im_ctx *c)
{
    return !c ? "out of memory while making the context" : c->failed ? c->message : "";
}

void im_clear_error(im_ctx *c)
{
    if (!c || !c->open)                                        /* without a device nothing can be done later, either   */
        return;
    c->failed = false;
    c->message[0] = '\0';
}

bool im_fail(im_ctx *c, const char *fmt, ...)
{
    if (!c || c->failed)
        return false;                                          /* the first failure is the cause; later ones follow    */
    c->failed = true;
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(c->message, sizeof c->message, fmt, ap);
    va_end(ap);
    if (n >= (int)sizeof c->message)                           /* say that it was cut, never cut silently              */
        snprintf(c->message + sizeof c->message - 5, 5, " ...");
    return false;
}

void im_warn(im_ctx *c, const char *fmt, ...)
{
    if (!c || !c->warn)
        return;
    char text[2048];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (n >= (int)sizeof text)
        snprintf(text + sizeof text - 5, 5, " ...");
    c->warn(c->warn_arg, text);
}

void im_on_warning(im_ctx *c, void (*fn)(void *arg, const char *text), void *arg)
{
    c->warn = fn;
    c->warn_arg = arg;
}

void im_cancel(im_ctx *c)
{
    c->stop = 1;
}

void im_uncancel(im_ctx *c)
{
    c->stop = 0;
}

bool im_cancelled(const im_ctx *c)
{
    return c->stop != 0;
}
