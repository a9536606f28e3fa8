# shellcheck shell=sh
# shell.sh: what the tests of the command line share: counts, a folder that goes away at the end, and the tests themselves.
# Read by test_cli.sh, test_train.sh, test_sheet.sh and test_report.sh, after $imago is set, from the root of the
# repository.
# shellcheck disable=SC2034,SC2319,SC2154 # counts and $rc are read there; check reads $? of what came before, on purpose
passed=0 failed=0 skipped=0
dir=$(mktemp -d) || exit 2
trap 'chmod -R u+w "$dir"; rm -rf "$dir"' EXIT
unset IMAGO_ISA
XDG_CACHE_HOME=$dir/.cache              # the user's own stays as it is
export XDG_CACHE_HOME

check() {       # check NAME: the test is the exit code just before
    if [ $? -eq 0 ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAIL $1"
        if [ -f "$dir/err" ]; then sed 's/^/    stderr: /' "$dir/err" | tail -n 5; fi
    fi
}
# run ARGUMENT...: leaves $rc, $dir/out and $dir/err
run() { "$imago" "$@" >"$dir/out" 2>"$dir/err" </dev/null; rc=$?; }
gives() {       # gives CODE TEXT ARGUMENT...: exit code, and TEXT in what was said
    want=$1 text=$2
    shift 2
    run "$@"
    [ "$rc" = "$want" ] && grep -qF -- "$text" "$dir/err" "$dir/out"
    check "imago $* -> $want, \"$text\" (found $rc)"
}
# of a PNG, whatever its texts; Python finds png_parts in tests/
pixels() { python3 tests/png_parts.py "$1"; }
same_pixels() { of=$(pixels "$1") && [ -n "$of" ] && [ "$of" = "$(pixels "$2")" ]; }
PYTHONPATH=tests PYTHONDONTWRITEBYTECODE=1
export PYTHONPATH PYTHONDONTWRITEBYTECODE
