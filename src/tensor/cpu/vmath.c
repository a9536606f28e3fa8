/* vmath.c: the functions of vmath.h over arrays, so that tests/test_vmath.c can measure them on every ISA. */
#include "tensor/cpu/kernels.h"
#include "tensor/cpu/vmath.h"

#include <string.h>

IM_INLINE void map(v16 (*f)(v16), int64_t n, const float *x, float *y)
{
    for (int64_t i = 0; i < n; i += 16) {
        int left = n - i < 16 ? (int)(n - i) : 16;
        v_store_n(y + i, f(v_load_n(x + i, left)), left);
    }
}

bool IM_FN(im_cpu_vmath)(const char *name, int64_t n, const float *x, float *y)
{
    static const struct { const char *name; v16 (*f)(v16); } all[] = {
        { "exp2_weight", v_exp2_weight }, { "exp", v_exp }, { "log", v_log }, { "erf", v_erf }, { "sin", v_sin },
        { "cos", v_cos }, { "sigmoid", v_sigmoid }, { "silu", v_silu }, { "gelu_erf", v_gelu_erf },
        { "gelu_tanh", v_gelu_tanh }, { "quick_gelu", v_quick_gelu }, { "relu", v_relu },
        { "tanh", v_tanh },
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (!strcmp(name, all[i].name)) {
            map(all[i].f, n, x, y);
            return true;
        }
    return false;
}
