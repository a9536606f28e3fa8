#!/bin/sh
# experiment.sh: the experiment with synthetic clones (scripts/experiment.sh) at its small setting, from the Debian packages
# on: the page, the tables, twelve trainings; run again it does nothing anew. With BUILD and MAKE from tests/check.sh.
set -u
cd "$(dirname "$0")/.." || exit 1
BUILD=${BUILD:-build}
OUT=$BUILD/experiment-check
export OUT
passed=0 failed=0
check() {       # check WHAT COMMAND...
    what=$1
    shift
    if "$@"; then passed=$((passed + 1)); else failed=$((failed + 1)) && echo "FAILED: $what"; fi
}
run() { "${MAKE:-make}" -s experiment BUILD="$BUILD" QUICK=1 THREADS=1; }
lines() { wc -l <"$1" | tr -d ' '; }

rm -rf "$OUT"
check "it ends" run
page=$OUT/page.html
check "a page" [ -s "$page" ]
check "a spider plot and bars" grep -q 'Spider plots' "$page"
check "nothing from the network" sh -c "! grep -qE '(src|href)=\"https?:' '$page'"
check "twelve trainings" [ "$(ls "$OUT/runs" | wc -l)" -eq 12 ]
check "every test used once a training" [ "$(lines "$OUT/uses.txt")" -eq 36 ]
check "the tables" sh -c "python3 scripts/experiment_table.py '$OUT' '$OUT/tables' >'$OUT/tables.md'"
check "a row a run" [ "$(lines "$OUT/tables/runs.csv")" -eq 13 ]
# Twelve classes: a guess is right in 8 % of the cases.
check "trained on real drawings, a network knows some of the unseen ones" awk -F, '
    NR == 1 { for (i = 1; i <= NF; i++) if ($i == "test_top1") column = i }
    $1 == "real" { sum += $column; n++ }
    END { printf "real, top-1 on the test: %.3f\n", sum / n; exit !(n == 3 && sum / n > 0.15) }' "$OUT/tables/runs.csv"
before=$(cksum "$OUT"/runs/*/model.safetensors)
check "run again it ends" run
check "run again it trains and tests nothing" [ "$before" = "$(cksum "$OUT"/runs/*/model.safetensors)" ]
check "run again it uses no test" [ "$(lines "$OUT/uses.txt")" -eq 36 ]

# A folder that was begun with other settings is not gone on with.
echo other >"$OUT/settings"
check "another setting is refused" sh -c "! '${MAKE:-make}' -s experiment BUILD='$BUILD' QUICK=1 2>'$OUT/said' >/dev/null"
check "... by name" grep -q 'other settings' "$OUT/said"
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" = 0 ]
