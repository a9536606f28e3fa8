#!/bin/sh
# check_targets.sh: what `make` would do for its rarer targets, asked without doing it: builds under sanitizers or with
# gcov's counters ask for every test program and for nothing of the CUDA simulator, whose links lack their libraries.
# Prints what is wrong; ends with 1 if anything is.
#
#     tests/check_targets.sh
set -u
cd "$(dirname "$0")/.." || exit 2
make=${MAKE:-make}
wrong=0
out=$(mktemp) || exit 2
trap 'rm -f "$out"' EXIT
for flags in "-O1 --coverage" "-O1 -fsanitize=address,undefined" "-O1 -fsanitize=thread"; do
    "$make" -n NVCC= BUILD=build/none KBUILD=build OWN=avx2 CFLAGS="$flags" tests >"$out" 2>&1
    for t in tests/test_*.c; do
        name=$(basename "$t" .c)
        grep -q "build/none/tests/$name" "$out" && continue
        echo "  $flags: $name is not built"
        wrong=$((wrong + 1))
    done
    if grep -q 'build/none/tests/test_cuda\|build/none/imago-sim' "$out"; then
        echo "  $flags: programs of the simulator are built"
        wrong=$((wrong + 1))
    fi
done
[ $wrong = 0 ] || { echo "check_targets: $wrong"; exit 1; }
echo "check_targets: each kind of build asks for what it can link"
