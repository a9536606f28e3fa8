#!/bin/sh
# check.sh: runs what `make check` has built: rules, test programs, the same under lower instruction sets, the command, the
# loaders and kernels under sanitizers, a short fuzz run; with `whole` also the neon kernels under qemu, the full-size
# picture and the experiment at its small setting. As many parts at once as there are processors, those that take longest
# first. The last line is the total; 1 if anything failed.
#
#     tests/check.sh [all|whole|programs|fuzz]      with BUILD, ISAS, SAN_TESTS, FUZZERS, FUZZ_SECONDS from the Makefile
set -u
BUILD=${BUILD:-build}
log=$BUILD/tests/log
mkdir -p "$log"

# one NAME COMMAND...: a part. Success is one test passed, unless the output has counts of its own: Check's
# "NN%: Checks: C, Failures: F, Errors: E", or a last line "N passed, N failed, N skipped". Prints one line, and the end of
# the output of what failed; adds a line to $log/results.
one() {
    name=$1 out=$log/$(printf %s "$1" | tr -c 'a-zA-Z0-9_.\n' _).txt
    shift
    again="$name|$*"
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
    {
        printf '%-34s %5d passed %4d failed %4d skipped %5d s\n' "$name" "$1" "$2" "$3" "$seconds"
        if [ "$rc" != 0 ] || [ "$2" != 0 ]; then
            tail -n 40 "$out" | sed 's/^/    /'
            echo "    (all of it: $out)"
        fi
        grep '^SKIP' "$out" | sed 's/^/    /'
    } >"$out.said"
    cat "$out.said"
    rm -f "$out.said"
    echo "$1 $2 $3 $seconds $name" >>"$log/results"
    if [ "$rc" != 0 ] || [ "$2" != 0 ]; then
        echo "$again" >>"$log/failed"
    fi
}
if [ "${1:-}" = one ]; then
    # shellcheck disable=SC2086 # NAME|a command of words without blanks
    one "${2%%|*}" ${2#*|}
    exit 0
fi

# part NAME COMMAND...: to be run by `together`, or at once where something stands on it
part() {
    name=$1
    shift
    printf '%s|%s\n' "$name" "$*"
}
# The parts on standard input, several at once. A part always ends with 0; if it was killed, xargs begins no other one.
together() {
    xargs -d '\n' -n 1 -P "${JOBS:-$(nproc 2>/dev/null || echo 2)}" "$0" one ||
        echo "0 1 0 0 a part that was killed, and all behind it" >>"$log/results"
}

# What takes minutes begins first, so that the end does not wait for it.
slow='test_learn test_trajectory test_trajectory_pictures test_halves test_grad_products test_programs test_grad test_ops'
programs() {
    for t in $slow; do
        [ ! -x "$BUILD/tests/$t" ] || part "$t" "$BUILD/tests/$t"
    done
    for t in "$BUILD"/tests/test_*; do
        case $t in *.* | */test_full_size) continue ;; esac
        case " $slow " in *" ${t##*/} "*) continue ;; esac
        part "${t##*/}" "$t"
    done
}

# The first test once more under every instruction set; the other programs walk the sets themselves.
capped() {
    for isa in ${ISAS:-}; do
        part "test_tiny, IMAGO_ISA=$isa" env IMAGO_ISA="$isa" "$BUILD/tests/test_tiny"
    done
}

# The command line: a subject of the program each, tests/cli/SUBJECT.sh PROGRAM.
command_line() {
    part "training, command line" tests/test_train.sh "$BUILD/imago" "$BUILD/tests/test_learn"
    part "command line" tests/test_cli.sh "$BUILD/imago"
    part "sheets and names of pictures" tests/test_sheet.sh "$BUILD/imago" "$BUILD/tests/test_learn"
    for t in tests/cli/*.sh; do
        [ ! -f "$t" ] || part "$(basename "$t" .sh), command line" "$t" "$BUILD/imago"
    done
    part "model report, as a whole" env BUILD="$BUILD" MAKE="${MAKE:-make}" tests/test_report.sh
}

# Kernels of one instruction set are sanitized (the Makefile's SAN_ISA): ops and gradients on that one, on small cases.
sanitized() {
    for t in ${SAN_TESTS:-}; do
        case $t in
        test_ops | test_grad | test_halves) set -- env TEST_SMALL=1 TEST_ISA="${SAN_ISA:-}" ;;
        test_programs) set -- env PROGRAM_SECONDS=10 ;;
        *) set -- ;;
        esac
        part "$t, sanitizers" "$@" "$BUILD/san/tests/$t"
    done
}

fuzz() {
    long=${1:-}
    if [ "$long" ]; then
        part "random programs" "$BUILD/san/tests/test_programs" --seconds "${FUZZ_SECONDS:-60}" --seed "$(date +%s)00000"
    fi
    for f in ${FUZZERS:-}; do
        corpus=tests/fuzz/corpus/${f#fuzz_}
        # The short run is the same every time, so that a change is judged by itself; the long one looks for new inputs.
        found=$BUILD/fuzz/${long:-short}/${f#fuzz_}
        [ "$long" ] || rm -rf "$found"
        mkdir -p "$found"
        if [ "$long" ]; then set -- "$found"; else set -- -seed=1 -runs=200000 "$found"; fi
        [ -d "$corpus" ] && set -- "$@" "$corpus"
        part "$f" "$BUILD/fuzz/$f" -max_total_time="${FUZZ_SECONDS:-8}" -rss_limit_mb=2048 -timeout=20 \
            -artifact_prefix="$BUILD/fuzz/" "$@"
    done
}

# Minutes each: the neon kernels, compiled for aarch64 and run by an emulator; a picture at the real size; the experiment.
long_parts() {
    if [ "$(uname -m)" = x86_64 ]; then
        part "neon kernels under qemu" "${MAKE:-make}" -s neon BUILD="$BUILD"
    fi
    part "full size, beside diffusers" tests/full_size.sh
    part "experiment, small" env BUILD="$BUILD" MAKE="${MAKE:-make}" tests/experiment.sh
}

: >"$log/results"
: >"$log/failed"
: >"$log/first"
began=$(date +%s)
case ${1:-all} in
programs) programs | together ;;
fuzz) fuzz long | together ;;
all | whole)
    {
        part layers tests/check_layers.sh
        part style tests/check_style.sh
        part targets tests/check_targets.sh
        [ "${1:-all}" = all ] || long_parts
        programs
        capped
        command_line
        sanitized
        fuzz
    } | together
    ;;
*) echo "usage: tests/check.sh [all|whole|programs|fuzz]" >&2; exit 2 ;;
esac
# Time limits and kills at random instants meet a full machine here. So a few parts that failed are run once more, alone,
# and both are told; many are a fault that a second run would not make smaller.
if [ "${1:-all}" != fuzz ] && [ -s "$log/failed" ] && [ "$(wc -l <"$log/failed")" -le 3 ]; then
    sort -o "$log/first" "$log/failed"
    : >"$log/failed"
    echo "once more, alone, what failed beside others:"
    while IFS= read -r part; do "$0" one "$part" </dev/null; done <"$log/first"
    sort -o "$log/failed" "$log/failed"
fi
echo "the ten parts that took longest, of $(($(date +%s) - began)) s in all:"
# Of a part that ran twice the second time counts.
last() {
    awk '{ key = $0; sub(/^[^ ]* [^ ]* [^ ]* [^ ]* /, "", key); row[key] = $0 }
         END { for (k in row) print row[k] }' "$log/results"
}
last | sort -k 4,4nr | head -n 10 | awk '{ s = $4; $1 = $2 = $3 = $4 = ""; printf "%8d s %s\n", s, $0 }'
# Last, where a reader of a long log looks first: what failed, and what failed only while others ran.
comm -23 "$log/first" "$log/failed" 2>/dev/null | sed 's/|.*//; s/^/failed beside others, passed alone: /'
while IFS= read -r part; do
    out=$log/$(printf %s "${part%%|*}" | tr -c 'a-zA-Z0-9_.\n' _).txt
    echo "failed: $out"
    grep -i 'fail\|not ok\|error' "$out" | tail -n 10 | sed 's/^/    /'
done <"$log/failed"
last | awk '{ p += $1; f += $2; s += $3 } END { printf "%d passed, %d failed, %d skipped\n", p, f, s; exit f > 0 }'
