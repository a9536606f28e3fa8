#!/bin/sh
# check_style.sh: the rules of STYLE.md that a machine can see: line and file lengths, blanks, function lengths, no promises
# left in the code, no paths of one machine. Prints every line that breaks a rule; ends with 1 if there was one.
set -u
cd "$(dirname "$0")/.." || exit 2
found=$(mktemp) || exit 2
trap 'rm -f "$found"' EXIT
c_files() { find src tests bench \( -name '*.c' -o -name '*.h' -o -name '*.def' -o -name '*.cu' -o -name '*.cuh' \) | sort; }
text_files() {
    c_files
    find tests bench weights docs \( -name '*.sh' -o -name '*.py' -o -name '*.md' -o -name '*.mk' \) | sort
    ls Makefile ./*.md .ci/run
}

# shellcheck disable=SC2016,SC2129 # awk's own $; one redirection a rule reads better
text_files | xargs awk '
    length($0) > 124 && FILENAME !~ /\.(md|py)$/ { print FILENAME ":" FNR ": longer than 124 columns" }
    /[ \t]$/                                 { print FILENAME ":" FNR ": blanks at the end" }
    /\t/ && FILENAME !~ /(Makefile|\.mk)$/   { print FILENAME ":" FNR ": a tab" }
    /\r/                                     { print FILENAME ":" FNR ": a carriage return" }' >>"$found"
text_files | while read -r f; do
    [ "$(wc -l <"$f")" -le 600 ] || echo "$f: longer than 600 lines"
    [ -z "$(tail -c 1 "$f")" ] || echo "$f: does not end in a newline"
done >>"$found"
text_files | grep -v check_style.sh | xargs grep -nE '\<(TODO|FIXME|XXX|HACK)\>' | sed 's/$/    <- do it or file it/' >>"$found"
text_files | grep -v check_style.sh | xargs grep -nE '(^|[^A-Za-z0-9_.$}])/(root|home|work)/' |
    sed 's/$/    <- a path of one machine/' >>"$found"

# A function of src fits on a screen; kernels of src/tensor/cpu may be longer. It begins after "{" in column 1.
c_files | grep '^src/' | grep -v '^src/tensor/cpu/' | xargs awk '
    FNR == 1  { start = 0 }
    /^\{/     { start = FNR }
    /^\}/     { if (start && FNR - start > 82) print FILENAME ":" start ": a function of " FNR - start - 1 " lines"; start = 0 }' \
    >>"$found"

# A C file begins by saying what it is.
c_files | while read -r f; do
    head -c 2 "$f" | grep -q '/\*' || echo "$f: does not begin with a comment"
done >>"$found"

sed 's/^/  /' "$found"
[ ! -s "$found" ] || { echo "check_style: $(wc -l <"$found") line(s) break a rule"; exit 1; }
echo "check_style: $(c_files | wc -l) C files, $(c_files | xargs cat | wc -l) lines"
