/* error.c: the sticky error of a context, its warnings and its stop flag. */
#include "tensor/tensor.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

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
    c->failed = c->no_memory = false;
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

bool im_fail_memory(im_ctx *c, const char *fmt, ...)
{
    char text[1000], who[1000] = "";
    va_list ap;
    if (!c || c->failed)
        return false;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (c->dev.s.memory)
        c->dev.s.memory(&c->dev, who, sizeof who);
    c->no_memory = true;
    return im_fail(c, "%s%s%s", text, *who ? ". " : "", who);
}

bool im_done(im_ctx *c, int status, const char *what)
{
    if (status == IM_STOPPED)
        return im_fail(c, "stopped");
    if (status == IM_NO_MEMORY)
        return im_fail_memory(c, "%s: out of memory for its workspace", what);
    return !status || im_fail(c, "%s: the device has no kernel for it", what);
}

bool im_out_of_memory(const im_ctx *c)
{
    return c && c->failed && c->no_memory;
}

void im_warn(im_ctx *c, const char *fmt, ...)
{
    if (!c)
        return;
    char text[sizeof c->unheard];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (n >= (int)sizeof text)
        snprintf(text + sizeof text - 5, 5, " ...");
    if (c->warn)
        c->warn(c->warn_arg, text);
    else if (!*c->unheard)
        memcpy(c->unheard, text, sizeof text);
}

void im_on_warning(im_ctx *c, void (*fn)(void *arg, const char *text), void *arg)
{
    c->warn = fn;
    c->warn_arg = arg;
    if (fn && *c->unheard)
        fn(arg, c->unheard);
    *c->unheard = '\0';
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
