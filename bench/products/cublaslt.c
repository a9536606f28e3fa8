/* cublaslt.c: products by NVIDIA's cuBLASLt (rival.h; docs.nvidia.com/cuda/cublas, "Using the cuBLASLt API"). Its
 * matrices have their columns side by side, so it is asked for c^T (n, m) = b a^T, which is our c, by b transposed (its
 * b is (k, n)) and a. The algorithm is the first that its heuristic names for 32 MiB of workspace. For bench/gpu.sh
 * alone: the engine has no product but its own. */
#include "bench/products/rival.h"

#include <cublasLt.h>
#include <cuda_runtime_api.h>
#include <stdio.h>
#include <string.h>

enum { A, B, C, SPACE, BLOCKS };
static const size_t space_bytes = (size_t)32 << 20;

typedef struct job {
    cublasLtHandle_t lt;
    cublasLtMatmulDesc_t op;
    cublasLtMatrixLayout_t shape[3];                           /* of A, B, C                                           */
    cublasLtMatmulPreference_t wish;
    cublasLtMatmulHeuristicResult_t how;
    void *block[BLOCKS];
    cudaEvent_t begin, end;
    char *why; size_t size;
} job;

static bool cuda(job *j, cudaError_t e, const char *what)
{
    if (e != cudaSuccess)
        snprintf(j->why, j->size, "%s: %s", what, cudaGetErrorString(e));
    return e == cudaSuccess;
}

static bool lt(job *j, cublasStatus_t s, const char *what)
{
    if (s != CUBLAS_STATUS_SUCCESS)
        snprintf(j->why, j->size, "%s: %s", what, cublasLtGetStatusString(s));
    return s == CUBLAS_STATUS_SUCCESS;
}

static bool describe(job *j, const rival_product *p)
{
    cudaDataType_t half = p->bf16 ? CUDA_R_16BF : CUDA_R_16F;
    cublasOperation_t turned = CUBLAS_OP_T;
    uint64_t k = (uint64_t)p->k, m = (uint64_t)p->m, n = (uint64_t)p->n;
    int found = 0;
    return lt(j, cublasLtCreate(&j->lt), "opening cuBLASLt") &&
           lt(j, cublasLtMatmulDescCreate(&j->op, CUBLAS_COMPUTE_32F, CUDA_R_32F), "a product") &&
           lt(j, cublasLtMatmulDescSetAttribute(j->op, CUBLASLT_MATMUL_DESC_TRANSA, &turned, sizeof turned), "turning b") &&
           lt(j, cublasLtMatrixLayoutCreate(&j->shape[B], half, k, n, p->k), "b") &&
           lt(j, cublasLtMatrixLayoutCreate(&j->shape[A], half, k, m, p->k), "a") &&
           lt(j, cublasLtMatrixLayoutCreate(&j->shape[C], half, n, m, p->n), "c") &&
           lt(j, cublasLtMatmulPreferenceCreate(&j->wish), "a preference") &&
           lt(j, cublasLtMatmulPreferenceSetAttribute(j->wish, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &space_bytes,
                                                      sizeof space_bytes), "its workspace") &&
           lt(j, cublasLtMatmulAlgoGetHeuristic(j->lt, j->op, j->shape[B], j->shape[A], j->shape[C], j->shape[C], j->wish,
                                                1, &j->how, &found), "an algorithm") &&
           (found || (snprintf(j->why, j->size, "cuBLASLt has no algorithm for it"), false));
}

static bool allocate(job *j, const rival_product *p, size_t bytes[BLOCKS])
{
    bytes[A] = (size_t)p->m * (size_t)p->k * 2;
    bytes[B] = (size_t)p->n * (size_t)p->k * 2;
    bytes[C] = (size_t)p->m * (size_t)p->n * 2;
    bytes[SPACE] = space_bytes;
    for (int i = 0; i < BLOCKS; i++)
        if (!cuda(j, cudaMalloc(&j->block[i], bytes[i]), "memory"))
            return false;
    return cuda(j, cudaMemcpy(j->block[A], p->a, bytes[A], cudaMemcpyHostToDevice), "a") &&
           cuda(j, cudaMemcpy(j->block[B], p->b, bytes[B], cudaMemcpyHostToDevice), "b") &&
           cuda(j, cudaEventCreate(&j->begin), "an event") && cuda(j, cudaEventCreate(&j->end), "an event");
}

static bool multiply(job *j)
{
    const float one = 1, zero = 0;
    return lt(j, cublasLtMatmul(j->lt, j->op, &one, j->block[B], j->shape[B], j->block[A], j->shape[A], &zero, j->block[C],
                                j->shape[C], j->block[C], j->shape[C], &j->how.algo, j->block[SPACE], space_bytes, 0),
              "a product");
}

static void release(job *j)
{
    for (int i = 0; i < BLOCKS; i++)
        cudaFree(j->block[i]);
    for (int i = 0; i < 3; i++)
        if (j->shape[i])
            cublasLtMatrixLayoutDestroy(j->shape[i]);
    if (j->begin)
        cudaEventDestroy(j->begin);
    if (j->end)
        cudaEventDestroy(j->end);
    if (j->wish)
        cublasLtMatmulPreferenceDestroy(j->wish);
    if (j->op)
        cublasLtMatmulDescDestroy(j->op);
    if (j->lt)
        cublasLtDestroy(j->lt);
}

const char *rival_name(void) { return "cublaslt"; }

double rival_multiply(const rival_product *p, char *why, size_t size)
{
    job j = { .why = why, .size = size };
    size_t bytes[BLOCKS];
    float ms = -1;
    bool ok = describe(&j, p) && allocate(&j, p, bytes) && multiply(&j);
    ok = ok && cuda(&j, cudaEventRecord(j.begin, 0), "an event");
    for (int i = 0; ok && i < p->rounds; i++)
        ok = multiply(&j);
    ok = ok && cuda(&j, cudaEventRecord(j.end, 0), "an event") && cuda(&j, cudaEventSynchronize(j.end), "a product") &&
         cuda(&j, cudaEventElapsedTime(&ms, j.begin, j.end), "its time") &&
         cuda(&j, cudaMemcpy(p->c, j.block[C], bytes[C], cudaMemcpyDeviceToHost), "c");
    release(&j);
    return ok ? (double)ms / p->rounds : -1;
}
