/* routes.c: which address is answered by what. openapi.json says the same of every one of them; tests/cli/serve.py compares
 * the two. */
#include <stdio.h>
#include <string.h>

#include "cli/serve/embedded.h"
#include "cli/serve/http.h"
#include "cli/serve/openai.h"
#include "cli/serve/sdapi.h"

static enum MHD_Result page(visit *v)
{
    return answer_static(v, "text/html; charset=utf-8", im_serve_page, (size_t)(im_serve_page_end - im_serve_page));
}

static enum MHD_Result openapi(visit *v)
{
    return answer_static(v, "application/json", im_serve_openapi, (size_t)(im_serve_openapi_end - im_serve_openapi));
}

#define WEBUI(method, path, answer) { method, "/sdapi/v1/" path, answer, SAYS_DETAIL, false }
#define OURS(method, path, answer) { method, "/v1/" path, answer, SAYS_ERROR, false }
static const route routes[] = {
    { "GET", "/", page, SAYS_ERROR, true },
    { "GET", "/openapi.json", openapi, SAYS_ERROR, true },
    WEBUI("POST", "txt2img", sdapi_txt2img), WEBUI("POST", "img2img", sdapi_img2img),
    WEBUI("GET", "progress", sdapi_progress), WEBUI("POST", "interrupt", sdapi_interrupt),
    WEBUI("POST", "skip", sdapi_skip),
    WEBUI("GET", "options", sdapi_options), WEBUI("POST", "options", sdapi_set_options),
    WEBUI("POST", "png-info", sdapi_png_info), WEBUI("GET", "samplers", sdapi_samplers),
    WEBUI("GET", "schedulers", sdapi_schedulers), WEBUI("GET", "sd-models", sdapi_models),
    WEBUI("GET", "loras", sdapi_loras), WEBUI("GET", "scripts", sdapi_scripts),
    WEBUI("GET", "script-info", sdapi_empty_list), WEBUI("GET", "cmd-flags", sdapi_cmd_flags),
    WEBUI("GET", "memory", sdapi_memory), WEBUI("GET", "upscalers", sdapi_upscalers),
    WEBUI("GET", "latent-upscale-modes", sdapi_latent_upscalers), WEBUI("GET", "sd-vae", sdapi_vaes),
    WEBUI("GET", "embeddings", sdapi_embeddings), WEBUI("GET", "hypernetworks", sdapi_empty_list),
    WEBUI("GET", "face-restorers", sdapi_empty_list), WEBUI("GET", "realesrgan-models", sdapi_empty_list),
    WEBUI("GET", "prompt-styles", sdapi_empty_list), WEBUI("POST", "refresh-checkpoints", sdapi_refreshed),
    WEBUI("POST", "refresh-loras", sdapi_refreshed), WEBUI("POST", "refresh-vae", sdapi_refreshed),
    { "POST", "/internal/progress", sdapi_task, SAYS_DETAIL, false },
    OURS("POST", "images/generations", openai_generations), OURS("POST", "images/edits", openai_edits),
    OURS("GET", "models", openai_models), OURS("GET", "models/{id}", openai_model),
    OURS("POST", "jobs", jobs_post), OURS("GET", "jobs", jobs_list), OURS("GET", "jobs/{id}", jobs_get),
    OURS("POST", "jobs/{id}/cancel", jobs_cancel), OURS("GET", "jobs/{id}/events", jobs_events),
    OURS("GET", "jobs/{id}/picture", jobs_picture), OURS("GET", "server", server_facts),
};
enum { ROUTES = sizeof routes / sizeof *routes };

bool route_at(int i, const route **r)
{
    *r = i < ROUTES ? &routes[i] : NULL;
    return *r;
}

/* Does the path have this form? part: what stands for {id}. */
static bool fits(const char *form, const char *path, char part[MODEL_NAME_BYTES])
{
    const char *brace = strchr(form, '{');
    if (!brace)
        return !strcmp(form, path);
    size_t n = (size_t)(brace - form);
    if (strncmp(form, path, n) != 0)
        return false;
    const char *rest = strchr(brace, '}') + 1;
    size_t k = strcspn(path + n, "/");
    if (!k || k >= MODEL_NAME_BYTES || strcmp(path + n + k, rest) != 0)
        return false;
    memcpy(part, path + n, k);
    part[k] = '\0';
    return true;
}

const route *route_find(const char *method, const char *path, char part[MODEL_NAME_BYTES], int *status, error_form *form,
                        char allow[64])
{
    const route *found = NULL;
    const char *wanted = strcmp(method, "HEAD") ? method : "GET";
    *status = 404;
    *form = strncmp(path, "/sdapi/", 7) && strncmp(path, "/internal/", 10) ? SAYS_ERROR : SAYS_DETAIL;
    for (int i = 0; i < ROUTES && !found; i++) {
        if (!fits(routes[i].path, path, part))
            continue;
        *status = 405;
        snprintf(allow + strlen(allow), 64 - strlen(allow), "%s%s%s", *allow ? ", " : "", routes[i].method,
                 strcmp(routes[i].method, "GET") ? "" : ", HEAD");
        if (!strcmp(routes[i].method, wanted))
            found = &routes[i];
    }
    return found;
}
