#!/bin/sh
# cuda.sh: the whole program on the device "cuda" in the simulator (build/imago-sim, tests/sim): what far.sh does, with the
# bits of the cpu; its check of itself; and a picture of the embedded model, its pixels equal to the cpu's.
#
#     tests/cli/cuda.sh [PROGRAM]             default: build/imago; imago-sim lies beside it
set -u
sim=$(dirname "${1:-build/imago}")/imago-sim
# on this machine a set of instructions whose sums device.h defines
case $(uname -m) in x86_64) IMAGO_ISA=avx2 ;; *) IMAGO_ISA=neon ;; esac
isa=$IMAGO_ISA
dir=$(mktemp -d) || exit 2
trap 'rm -rf "$dir"' EXIT
export XDG_CACHE_HOME="$dir/cache"              # what a check of the device finds is not the user's
# Tensor cores have other bits in 16 bits: sm_75, which the simulator is unasked, has them for f16.
IMAGO_CUDA=plain tests/cli/far.sh "$sim" cpu cuda || exit 1
"$sim" info --device cuda --check >"$dir/check" || { echo "FAIL info --check"; cat "$dir/check"; exit 1; }
grep -q ' attention_40  *bf16 .* agrees$' "$dir/check" || { echo "FAIL info --check prints no table"; exit 1; }
# several devices: by number, or by the number of the process on this machine
devices() { env SIM_DEVICES=3 "$@" info --device "$device" 2>&1 | head -n 1; }
device=cuda:2 said=$(devices "$sim")
case $said in "device cuda:2, "*) ;; *) echo "FAIL --device cuda:2: $said"; exit 1 ;; esac
device=cuda:3 said=$(devices "$sim")
case $said in *"there are 3 devices"*) ;; *) echo "FAIL --device cuda:3 of three: $said"; exit 1 ;; esac
for rank in OMPI_COMM_WORLD_LOCAL_RANK MPI_LOCALRANKID SLURM_LOCALID LOCAL_RANK; do
    device=cuda said=$(devices "$rank=4" "$sim")
    case $said in "device cuda:1, "*) ;; *) echo "FAIL $rank=4, three devices: $said"; exit 1 ;; esac
done
kept=$(sed -n 2p "$dir"/cache/imago/cuda/*.txt)
[ "$kept" = plain: ] || { echo "FAIL the check of a device is not kept"; exit 1; }
"$sim" info --device ref --check >/dev/null 2>"$dir/err" && { echo "FAIL ref checks itself"; exit 1; }
grep -q 'does not check itself' "$dir/err" || { echo "FAIL info --device ref --check: $(cat "$dir/err")"; exit 1; }
for device in cpu cuda; do
    IMAGO_ISA=$isa "$sim" generate -p strawberry -s 1 --steps 3 --guidance 5 --device $device -q \
        -o "$dir/$device.png" || exit 1
done
pixels() { python3 tests/png_parts.py "$1"; }
[ "$(pixels "$dir/cpu.png")" = "$(pixels "$dir/cuda.png")" ] || { echo "FAIL strawberry has other pixels on cuda"; exit 1; }
