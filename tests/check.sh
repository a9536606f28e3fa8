#!/bin/sh
# check.sh: runs what `make check` has built: rules, test programs, the same under lower instruction sets, the command, the
# loaders under sanitizers, a short fuzz run, the neon kernels under qemu, the full-size picture. The last line is the
# total; 1 if anything failed.
#
#     tests/check.sh [all|programs|fuzz]      with BUILD, ISAS, SAN_TESTS, FUZZERS, FUZZ_SECONDS from the Makefile
set -u
BUILD=${BUILD:-build}
passed=0 failed=0 skipped=0
log=$BUILD/tests/log
mkdir -p "$log"

count() {       # count NAME PASSED FAILED SKIPPED SECONDS
    passed=$((passed + $2)) failed=$((failed + $3)) skipped=$((skipped + $4))
    printf '%-34s %5d passed %4d failed %4d skipped %5d s\n' "$1" "$2" "$3" "$4" "$5"
}

# run NAME COMMAND...: success is one test passed, unless the output has counts of its own: Check's
# "NN%: Checks: C, Failures: F, Errors: E", or a last line "N passed, N failed, N skipped".
run() {
    name=$1 out=$log/$(printf %s "$1" | tr -c 'a-zA-Z0-9_.\n' _).txt
    shift
    start=$(date +%s)
    "$@" >"$out" 2>&1
    rc=$?
    seconds=$(($(date +%s) - start))
    # shellcheck disable=SC2046 # three numbers
    set -- $(awk '/^[0-9]+%: Checks: /   { gsub(",", ""); c += $3; f += $5 + $7; seen = 1 }
                  /^SKIP/                { s++ }
                  /^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$/ { c = $1 + $3; f = $3; s = $5; seen = 1 }
                  END { if (seen) print c - f, f, s + 0; else print "none" }' "$out")
    if [ "$1" = none ]; then
        set -- $((rc == 0)) $((rc != 0)) 0
    elif [ "$rc" != 0 ] && [ "$2" = 0 ]; then
        set -- "$1" 1 "$3"                          # it ended badly, whatever its summary says
    fi
    count "$name" "$1" "$2" "$3" "$seconds"
    if [ "$rc" != 0 ] || [ "$2" != 0 ]; then
        tail -n 40 "$out" | sed 's/^/    /'
        echo "    (all of it: $out)"
    fi
    grep '^SKIP' "$out" | sed 's/^/    /'
}

programs() {
    for t in "$BUILD"/tests/test_*; do
        case $t in *.* | */test_full_size) continue ;; esac
        run "${t##*/}" "$t"
    done
}

# The first test once more under every instruction set; the other programs walk the sets themselves.
capped() {
    for isa in ${ISAS:-}; do
        run "test_tiny, IMAGO_ISA=$isa" env IMAGO_ISA="$isa" "$BUILD/tests/test_tiny"
    done
}

# Kernels of one instruction set are sanitized (the Makefile's SAN_ISA): ops and gradients on that one, on small cases.
sanitized() {
    for t in ${SAN_TESTS:-}; do
        case $t in
        test_ops | test_grad | test_halves) set -- env TEST_SMALL=1 TEST_ISA="${SAN_ISA:-}" ;;
        test_programs) set -- env PROGRAM_SECONDS=10 ;;
        *) set -- ;;
        esac
        run "$t, sanitizers" "$@" "$BUILD/san/tests/$t"
    done
}

fuzz() {
    if [ "${1:-}" = long ]; then
        run "random programs" "$BUILD/san/tests/test_programs" --seconds "${FUZZ_SECONDS:-60}" --seed "$(date +%s)00000"
    fi
    for f in ${FUZZERS:-}; do
        corpus=tests/fuzz/corpus/${f#fuzz_}
        found=$BUILD/fuzz/found/${f#fuzz_}
        mkdir -p "$found"
        set -- "$found"
        [ -d "$corpus" ] && set -- "$@" "$corpus"
        run "$f" "$BUILD/fuzz/$f" -max_total_time="${FUZZ_SECONDS:-8}" -rss_limit_mb=2048 -timeout=20 \
            -artifact_prefix="$BUILD/fuzz/" "$@"
    done
}

neon() {
    if [ "$(uname -m)" = x86_64 ]; then
        run "neon kernels under qemu" "${MAKE:-make}" -s neon BUILD="$BUILD"
    fi
}

case ${1:-all} in
programs) programs ;;
fuzz) fuzz long ;;
all)
    run "layers" tests/check_layers.sh
    run "style" tests/check_style.sh
    programs
    capped
    run "command line" tests/test_cli.sh "$BUILD/imago"
    run "training, command line" tests/test_train.sh "$BUILD/imago" "$BUILD/tests/test_learn"
    run "sheets and names of pictures" tests/test_sheet.sh "$BUILD/imago" "$BUILD/tests/test_learn"
    for t in tests/cli/*.sh; do             # a subject of the program each: tests/cli/SUBJECT.sh PROGRAM
        [ -f "$t" ] || continue
        run "$(basename "$t" .sh), command line" "$t" "$BUILD/imago"
    done
    run "model report, as a whole" env BUILD="$BUILD" MAKE="${MAKE:-make}" tests/test_report.sh
    sanitized
    fuzz
    neon
    run "full size, beside diffusers" tests/full_size.sh
    ;;
*) echo "usage: tests/check.sh [all|programs|fuzz]" >&2; exit 2 ;;
esac
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
