/* sha256.c: see sha256.h. */
#include "data/files/sha256.h"

#include <openssl/evp.h>
#include <stdio.h>

#include "data/files/file.h"

im_sha256 *im_sha256_new(im_ctx *c)
{
    if (!im_ok(c)) return NULL;
    EVP_MD_CTX *m = EVP_MD_CTX_new();
    if (m && EVP_DigestInit_ex(m, EVP_sha256(), NULL)) return (im_sha256 *)m;
    EVP_MD_CTX_free(m);
    im_fail(c, "libcrypto gives no SHA-256; check its installation");
    return NULL;
}

bool im_sha256_add(im_ctx *c, im_sha256 *s, const void *data, size_t bytes)
{
    return s && (EVP_DigestUpdate((EVP_MD_CTX *)s, data, bytes) || im_fail(c, "libcrypto failed in SHA-256"));
}

bool im_sha256_finish(im_ctx *c, im_sha256 *s, char hex[65])
{
    unsigned char digest[EVP_MAX_MD_SIZE] = { 0 };
    bool ok = s && (EVP_DigestFinal_ex((EVP_MD_CTX *)s, digest, NULL) || im_fail(c, "libcrypto failed in SHA-256"));
    for (int i = 0; i < 32; i++) snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    im_sha256_free(s);
    return ok;
}

void im_sha256_free(im_sha256 *s)
{
    EVP_MD_CTX_free((EVP_MD_CTX *)s);
}

bool im_sha256_of(im_ctx *c, const void *data, size_t bytes, char hex[65])
{
    im_sha256 *s = im_sha256_new(c);
    return im_sha256_add(c, s, data, bytes) ? im_sha256_finish(c, s, hex) : (im_sha256_free(s), false);
}

bool im_sha256_file(im_ctx *c, const char *path, char hex[65])
{
    enum { PIECE = 64 << 20 };
    im_map m;
    if (!im_map_open(c, &m, path)) return false;
    im_sha256 *s = im_sha256_new(c);
    bool ok = s != NULL;
    for (size_t at = 0; ok && at < m.bytes; at += PIECE) {
        ok = !im_cancelled(c) || im_fail(c, "stopped");
        ok = ok && im_sha256_add(c, s, m.data + at, m.bytes - at < PIECE ? m.bytes - at : PIECE);
    }
    im_map_close(&m);
    return ok ? im_sha256_finish(c, s, hex) : (im_sha256_free(s), false);
}
