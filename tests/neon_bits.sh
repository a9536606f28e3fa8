#!/bin/sh
# neon_bits.sh: does a program print the same on this machine and, built for aarch64, under qemu?
#
#     tests/neon_bits.sh PROGRAM AARCH64_PROGRAM [ARGUMENT ...]
#
# Runs PROGRAM under IMAGO_ISA=avx2 and avx512 (where the machine has it) and AARCH64_PROGRAM under IMAGO_ISA=neon, and
# compares what they print: hashes of outputs and their names. Prints the first lines that differ; ends with 1 then.
set -u
here=$1 there=$2
shift 2
out=$(mktemp -d) || exit 2
trap 'rm -rf "$out"' EXIT

IMAGO_ISA=avx2 "$here" "$@" >"$out/avx2" || exit 1
[ -s "$out/avx2" ] || { echo "neon_bits: $here printed nothing"; exit 1; }
IMAGO_ISA=neon qemu-aarch64 -cpu max "$there" "$@" >"$out/neon" || exit 1
others=neon
if grep -qw avx512vl /proc/cpuinfo; then
    IMAGO_ISA=avx512 "$here" "$@" >"$out/avx512" || exit 1
    others="avx512 neon"
fi
status=0
for isa in $others; do
    if ! cmp -s "$out/avx2" "$out/$isa"; then
        echo "neon_bits: $isa differs from avx2 in $(diff "$out/avx2" "$out/$isa" | grep -c '^>') line(s):"
        diff "$out/avx2" "$out/$isa" | sed -n 's/^> [0-9a-f]*/  /p' | head -n 20
        status=1
    fi
done
[ $status = 0 ] && echo "neon_bits: $(wc -l <"$out/avx2") outputs have the same bits on avx2, $others"
exit $status
