/* check_kept.c: what the check of a device found is kept in the user's cache, so that the next start need not repeat it:
 *
 *     $XDG_CACHE_HOME/imago/cuda/HASH.txt, or below ~/.cache (XDG Base Directory Specification); HASH: of the first line
 *     line 1     build ID of this program, device, version of the driver, path
 *     line 2     "plain:" and the slots whose kernels on tensor cores disagreed
 *
 * The build ID is the linker's hash of the program (a note in its memory); where there is none, or no place for a cache,
 * the check is done at every start. Used by check.c. */
#define _GNU_SOURCE                                            /* dl_iterate_phdr                                      */
#include "cuda/check.h"

#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const slot_names[] = {
#define X(name) #name,
    IM_KERNELS(X)
#undef X
};

/* ---------------------------------------------------------------- which build, which device */

typedef struct found_id { uintptr_t inside; char hex[130]; } found_id;

/* Of the program or library that holds the address `inside`: the note NT_GNU_BUILD_ID, 3, of the owner "GNU". */
static int look_for_id(struct dl_phdr_info *info, size_t size, void *arg)
{
    found_id *f = arg;
    bool here = false;
    (void)size;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        uintptr_t from = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
        here = here || (info->dlpi_phdr[i].p_type == PT_LOAD && f->inside - from < info->dlpi_phdr[i].p_memsz);
    }
    for (int i = 0; here && i < info->dlpi_phnum; i++) {
        const char *at = (const char *)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr);
        const char *end = at + info->dlpi_phdr[i].p_memsz;
        while (info->dlpi_phdr[i].p_type == PT_NOTE && end - at >= 12) {
            uint32_t n[3];                                     /* bytes of the owner, of the note; type                */
            memcpy(n, at, sizeof n);
            const char *id = at + 12 + (n[0] + 3) / 4 * 4;
            if (n[2] == 3 && n[0] == 4 && !memcmp(at + 12, "GNU", 4) && n[1] < 64 && id + n[1] <= end)
                for (uint32_t k = 0; k < n[1]; k++)
                    snprintf(f->hex + 2 * k, 3, "%02x", (unsigned char)id[k]);
            at = id + (n[1] + 3) / 4 * 4;
        }
    }
    return here;
}

static bool first_line(const im_device *dev, char *line, size_t size)
{
    found_id f = { .inside = (uintptr_t)&first_line };
    dl_iterate_phdr(look_for_id, &f);
    snprintf(line, size, "build %s, %s, driver %d, %s", f.hex, dev->isa, im_cu_driver(im_cuda_stream(dev)),
             im_cuda_has_cores(dev) ? "tensor cores" : "plain");
    return *f.hex != '\0';
}

/* ---------------------------------------------------------------- where */

static void make_folders(char *path)                           /* those above the file                                 */
{
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(path, 0777);
        *slash = '/';
    }
}

static bool place_of(const char *line, char *path, size_t size)
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    bool own = cache && *cache == '/';
    uint64_t hash = 0xcbf29ce484222325u;                       /* FNV-1a                                               */
    for (const char *p = line; *p; p++)
        hash = (hash ^ (unsigned char)*p) * 0x100000001b3u;
    if (!own && (!home || *home != '/'))
        return false;
    int n = snprintf(path, size, "%s/%simago/cuda/%016llx.txt", own ? cache : home, own ? "" : ".cache/",
                     (unsigned long long)hash);
    return n > 0 && (size_t)n < size;
}

/* ---------------------------------------------------------------- what */

bool im_cuda_check_recall(const im_device *dev, uint64_t *plain)
{
    char line[600], path[4096], found[600], slots[4096];
    if (!first_line(dev, line, sizeof line) || !place_of(line, path, sizeof path))
        return false;
    FILE *f = fopen(path, "r");
    bool ok = f && fgets(found, sizeof found, f) && fgets(slots, sizeof slots, f);
    if (f)
        fclose(f);
    ok = ok && !strncmp(found, line, strlen(line)) && !strcmp(found + strlen(line), "\n") && strchr(slots, '\n');
    char *next = NULL, *word = ok ? strtok_r(slots, " \n", &next) : NULL;
    ok = word && !strcmp(word, "plain:");
    *plain = 0;
    while (ok && (word = strtok_r(NULL, " \n", &next))) {
        int i = 0;
        while (i < IM_CUDA_SLOTS && strcmp(word, slot_names[i]))
            i++;
        ok = i < IM_CUDA_SLOTS;
        *plain |= ok ? 1ull << i : 0;
    }
    return ok;
}

/* Written beside its name and renamed; where it cannot be, the next start checks again. */
void im_cuda_check_keep(const im_device *dev, uint64_t plain)
{
    char line[600], path[4096], beside[4200];
    if (!first_line(dev, line, sizeof line) || !place_of(line, path, sizeof path))
        return;
    make_folders(path);
    snprintf(beside, sizeof beside, "%s.%ld", path, (long)getpid());
    FILE *f = fopen(beside, "w");
    if (!f)
        return;
    bool ok = fprintf(f, "%s\nplain:", line) > 0;
    for (int i = 0; i < IM_CUDA_SLOTS; i++)
        if (plain >> i & 1)
            ok = fprintf(f, " %s", slot_names[i]) > 0 && ok;
    ok = fputc('\n', f) != EOF && ok;
    if (fclose(f) || !ok || rename(beside, path))
        remove(beside);
}
