#!/bin/sh
# coverage.sh: runs the test programs and the quick tests of the command line on a build with gcov's counters, and prints
# the share of lines that ran: a line a folder, then the files of src/tensor and src/data below 90 %. Kernels count in the
# instruction set that was built with counters (the Makefile's SAN_ISA). A test that fails does not end the count.
#
#     tests/coverage.sh           with BUILD from the Makefile; PARTS=all|programs|none (none: only counts again)
set -u
BUILD=${BUILD:-build/coverage}
log=$BUILD/log
mkdir -p "$log"
quick='environment existing configs checkpoints folders file_names generate_usage large_numbers model_hash not_finite
       outputs pictures_in pictures_out progress prompts run_files tokens wrong_input eval measure'

each() {        # what runs, a line each
    for t in "$BUILD"/tests/test_*; do
        case $t in *.* | */test_full_size) continue ;; esac
        echo "$t"
    done
    [ "${PARTS:-all}" = all ] || return
    for t in $quick; do echo "tests/cli/$t.sh $BUILD/imago"; done
    echo "tests/test_cli.sh $BUILD/imago"
}
if [ "${PARTS:-all}" != none ]; then
    find "$BUILD" -name '*.gcda' -exec rm {} +
    # shellcheck disable=SC2016 # the inner shell expands them
    each | xargs -d '\n' -n 1 -P "${JOBS:-$(nproc 2>/dev/null || echo 2)}" sh -c '
        name=$(basename "${1%% *}" .sh)
        $1 >"$0/$name.txt" 2>&1 || echo "$name fails: $0/$name.txt"' "$log"
fi

# "FILE LINES RUN" of every source that was compiled here; several objects of one source: the most that ran.
lines() {
    find "$BUILD" -name '*.gcno' ! -path "$BUILD/tests/*" | while read -r notes; do
        gcov -n "$notes" 2>/dev/null
    done | awk -F"'" '
        /^File /           { file = $2 }
        /^Lines executed:/ { split($0, p, /[:% ]+/)                 # Lines executed NN of M
                             run = p[3] * p[5] / 100
                             if (file ~ /^src\/.*\.[ch]$/ && (run > most[file] || !(file in of))) {
                                 most[file] = run
                                 of[file] = p[5]
                             }
                             file = "" }
        END                { for (f in of) print f, of[f], most[f] }'
}
lines | sort >"$log/lines"
awk '{ folder = $1; sub(/\/[^\/]*$/, "", folder); of[folder] += $2; run[folder] += $3; all += $2; some += $3 }
     END { for (f in of) printf "%-28s %6d lines %6.1f %%\n", f, of[f], 100 * run[f] / of[f] | "sort"
           close("sort"); printf "%-28s %6d lines %6.1f %%\n", "all", all, 100 * some / all }' "$log/lines"
echo "below 90 % in src/tensor and src/data (tests/README.md has the reasons):"
awk '$1 ~ /^src\/(tensor|data)\// && $2 && $3 < .9 * $2 { printf "%-40s %5d lines %6.1f %%\n", $1, $2, 100 * $3 / $2 }' \
    "$log/lines"
