#!/bin/sh
# cuda.sh: the whole program on the device "cuda" in the simulator (build/imago-sim, tests/sim): what far.sh does, with the
# bits of the cpu; and a picture of the embedded model, its pixels equal to the cpu's.
#
#     tests/cli/cuda.sh [PROGRAM]             default: build/imago; imago-sim lies beside it
set -u
sim=$(dirname "${1:-build/imago}")/imago-sim
# on this machine a set of instructions whose sums device.h defines
case $(uname -m) in x86_64) IMAGO_ISA=avx2 ;; *) IMAGO_ISA=neon ;; esac
isa=$IMAGO_ISA
tests/cli/far.sh "$sim" cpu cuda || exit 1
dir=$(mktemp -d) || exit 2
trap 'rm -rf "$dir"' EXIT
for device in cpu cuda; do
    IMAGO_ISA=$isa "$sim" generate -p strawberry -s 1 --steps 3 --guidance 5 --device $device -q \
        -o "$dir/$device.png" || exit 1
done
pixels() { python3 tests/png_parts.py "$1"; }
[ "$(pixels "$dir/cpu.png")" = "$(pixels "$dir/cuda.png")" ] || { echo "FAIL strawberry has other pixels on cuda"; exit 1; }
