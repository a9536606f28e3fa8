#!/bin/sh
# sass.sh: nvcc compiles tests/sim/hopper/hopper.cu, the source that the simulator runs, for sm_90a, without spills and
# without products that wait for each other; and its machine code has the instructions that the source is about. Needs no
# device.
#
#     tests/sim/sass.sh NVCC BUILD
#
# The code is read by cuobjdump or nvdisasm, beside nvcc or in the search path (`pip download nvidia-cuda-nvdisasm` has
# one); where there is neither, only what ptxas says is looked at.
set -u
nvcc=$1 build=$2 source=tests/sim/hopper/hopper.cu bad=0
mkdir -p "$build/sim/hopper" || exit 2
cubin=$build/sim/hopper/hopper.cubin said=$build/sim/hopper/ptxas.txt code=$build/sim/hopper/hopper.sass
fail() { echo "FAIL $*"; bad=1; }

"$nvcc" -std=c++17 -O3 --fmad=false -Isrc -gencode=arch=compute_90a,code=sm_90a -Xptxas -v -cubin "$source" -o "$cubin" \
    >"$said" 2>&1 || { cat "$said"; fail "nvcc does not compile $source"; exit 1; }
grep 'bytes spill' "$said" | grep -v ' 0 bytes spill stores, 0 bytes spill loads' && fail "ptxas spills registers"
grep -E 'serialized|setmaxnreg.*ignored' "$said" && fail "ptxas gives something up"
[ "$(grep -c 'Compiling entry function' "$said")" -ge 20 ] || fail "kernels are missing"

PATH=$PATH:$(dirname "$(command -v "$nvcc" || echo "$nvcc")")
if command -v cuobjdump >/dev/null; then
    cuobjdump -sass "$cubin" >"$code" || fail "cuobjdump"
elif command -v nvdisasm >/dev/null; then
    nvdisasm "$cubin" >"$code" || fail "nvdisasm"
else
    echo "sass.sh: neither cuobjdump nor nvdisasm: the machine code was not looked at"
    exit $bad
fi
for word in 'UTMALDG\.2D' 'UTMALDG\.3D\.MULTICAST' 'UTMALDG\.4D\.IM2COL' 'UTMALDG\.5D' 'UTMASTG\.2D' 'UTMACMDFLUSH' \
            'HGMMA\.64x160x16\.F32' 'HGMMA\.64x160x16\.F32\.BF16' 'HGMMA\.64x40x16\.F32' \
            'WARPGROUP\.ARRIVE' 'WARPGROUP\.DEPBAR' 'SYNCS\.ARRIVE' 'SYNCS\.PHASECHK.*TRYWAIT' 'SYNCS\.EXCH' \
            'USETMAXREG' 'UCGABAR_ARV' 'FENCE\.VIEW\.ASYNC'; do
    grep -qE "$word" "$code" || fail "no $word in the machine code"
done
grep -E '\b(LDL|STL)\b' "$code" | head -n 3 | grep . && fail "variables lie in local memory"
[ $bad = 0 ] &&
    echo "sass.sh: $(grep -c HGMMA "$code") HGMMA, $(grep -c UTMALDG "$code") UTMALDG, $(grep -c SYNCS "$code") SYNCS"
exit $bad
