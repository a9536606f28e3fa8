/* progress.c: the bar and the lines of progress.h. Used by `imago generate`. */
#include "cli/progress.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/events.h"
#include "cli/session.h"
#include "cli/shown.h"

enum { BAR = 24 };
static const double LINE_EVERY = 10;                           /* seconds between plain lines                          */

void progress_start(progress *p, bool quiet, bool events, int pictures, int total_evaluations)
{
    *p = (progress){ .quiet = quiet, .events = events, .terminal = !events && isatty(STDERR_FILENO), .pictures = pictures,
                     .total = total_evaluations };
    p->start = p->last = im_seconds();
}

const char *duration_text(double s, char out[32])
{
    if (s < 100)
        snprintf(out, 32, "%.0f s", s);
    else if (s < 6000)
        snprintf(out, 32, "%d min %02d s", (int)s / 60, (int)s % 60);
    else
        snprintf(out, 32, "%.1f h", s / 3600);
    return out;
}

/* Seconds that the whole run will take yet, by those of its evaluations so far; 0: none is done. */
static double seconds_left(const progress *p, double now)
{
    int all = p->before + p->done * p->members;
    return all ? (now - p->start) / all * (p->total - all) : 0;
}

/* "3/8 [######........] 12/51, 1.32 s a step, 52 s left" */
static void status(const progress *p, char *out, size_t size)
{
    double now = im_seconds(), spent = now - p->batch_start;
    char pictures[48] = "", left[32], bar[BAR + 1];
    int filled = p->wanted ? BAR * p->done / p->wanted : 0;
    memset(bar, '.', BAR);
    memset(bar, '#', (size_t)filled);
    bar[BAR] = '\0';
    if (p->pictures > 1 && p->members > 1)
        snprintf(pictures, sizeof pictures, "pictures %d-%d of %d ", p->first + 1, p->first + p->members, p->pictures);
    else if (p->pictures > 1)
        snprintf(pictures, sizeof pictures, "picture %d of %d ", p->first + 1, p->pictures);
    if (p->done == 0) {
        snprintf(out, size, "%s[%s] %d/%d", pictures, bar, p->done, p->wanted);
        return;
    }
    snprintf(out, size, "%s[%s] %d/%d, %.2f s a step, %s left", pictures, bar, p->done, p->wanted, spent / p->done,
             duration_text(seconds_left(p, now), left));
}

static void draw(progress *p)
{
    char line[256];
    status(p, line, sizeof line);
    fprintf(stderr, "\r%s\033[K", line);
    fflush(stderr);
    p->drawn = true;
}

static void erase(progress *p)
{
    if (p->drawn)
        fputs("\r\033[K", stderr);
    p->drawn = false;
}

void progress_batch(progress *p, int first, int members, int evaluations)
{
    p->first = first;
    p->members = members;
    p->done = 0;
    p->wanted = evaluations;
    p->batch_start = im_seconds();
    if (!p->quiet && p->terminal)
        draw(p);
}

void progress_step(progress *p, int done)
{
    double now = im_seconds();
    p->done = done;
    if (done == 0)                                             /* loading is no part of a step                        */
        p->batch_start = now;
    if (p->events) {
        double left = seconds_left(p, now);
        event_print("step", json_pack("{s:i, s:i, s:i, s:i, s:i, s:o}", "step", done, "steps", p->wanted, "first",
                                      p->first + 1, "batch", p->members, "pictures", p->pictures, "seconds_left",
                                      event_number(p->before || done ? left : NAN)));
        return;
    }
    if (p->quiet)
        return;
    if (p->terminal) {
        if (now - p->last > 0.1 || done == p->wanted) {        /* a small model would spend its time on drawing        */
            p->last = now;
            draw(p);
        }
    } else if (now - p->last > LINE_EVERY) {
        char line[256];
        p->last = now;
        status(p, line, sizeof line);
        fprintf(stderr, "%s\n", line);
    }
}

void progress_finish_batch(progress *p)
{
    p->before += p->wanted * p->members;
    erase(p);
}

void progress_say(progress *p, const char *fmt, ...)
{
    if (p->quiet)
        return;
    erase(p);
    char text[8192];                                           /* two paths at their longest                           */
    va_list ap;
    va_start(ap, fmt);
    if (p->events) {
        vsnprintf(text, sizeof text, fmt, ap);
        event_print("note", json_pack("{s:o}", "text", clean_json(NULL, text)));
    } else {
        vsnprintf(text, sizeof text, fmt, ap);
        shown_line(stderr, "%s", text);
    }
    va_end(ap);
}
