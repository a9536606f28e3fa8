#!/bin/sh
# check_style.sh: the rules of STYLE.md that a machine can see: line and file lengths, blanks, function lengths, no promises
# left in the code, no paths of one machine; headers that compile alone; names of symbols. Prints every line that breaks a
# rule; ends with 1 if there was one.
#
#     tests/check_style.sh [BUILD]      BUILD (default build) holds libimago.a and the objects of each instruction set
set -u
cd "$(dirname "$0")/.." || exit 2
build=${1:-${BUILD:-build}}
cc=${CC:-gcc}
found=$(mktemp) || exit 2
trap 'rm -f "$found"' EXIT
c_files() {
    find src tests bench weights \( -name '*.c' -o -name '*.h' -o -name '*.def' -o -name '*.cu' -o -name '*.cuh' \) | sort
}
text_files() {
    c_files
    find tests bench weights docs python \( -name '*.sh' -o -name '*.py' -o -name '*.md' -o -name '*.mk' \) | sort
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
text_files | grep -v check_style.sh | xargs grep -nE '\<(TODO|FIXME|XXX|HACK)\>' |
    sed 's/$/    <- do it or file it/' >>"$found"
text_files | grep -v check_style.sh | xargs grep -nE '(^|[^A-Za-z0-9_.$}])/(root|home|work)/' |
    sed 's/$/    <- a path of one machine/' >>"$found"

# Through void ** nothing but a void * may be read or written (strict aliasing).
c_files | xargs grep -n '(void \*\*)' | sed 's/$/    <- a pointer of another type behind void **/' >>"$found"

# A function of src fits on a screen; kernels of src/tensor/cpu may be longer. It begins after "{" in column 1.
c_files | grep '^src/' | grep -v '^src/tensor/cpu/' | xargs awk '
    FNR == 1  { start = 0 }
    /^\{/     { start = FNR }
    /^\}/     { n = FNR - start - 1; if (start && n > 81) print FILENAME ":" start ": a function of " n " lines"
                start = 0 }' >>"$found"

# A C file begins by saying what it is.
c_files | while read -r f; do
    head -c 2 "$f" | grep -q '/\*' || echo "$f: does not begin with a comment"
done >>"$found"

# A header needs nothing before it (those of src/tensor/cpu need an instruction set); the public ones are strict C11 and
# C++17.
find src bench -name '*.h' -not -path 'src/tensor/cpu/*' | sort | while read -r h; do
    $cc -std=gnu11 -fsyntax-only -Wall -Wno-unused -Werror -Isrc -I. -x c "$h" 2>&1 | grep -m 3 error
done >>"$found"
strict="-fsyntax-only -Wall -Wextra -Wpedantic -Werror"
cxx=$(command -v g++ || command -v clang++ || command -v clang || echo c++)
# shellcheck disable=SC2086 # flags
for h in src/imago.h src/imago_engine.h src/imago_generate.h src/imago_train.h; do
    $cc -std=c11 $strict -x c "$h" && $cxx -std=c++17 $strict -x c++ "$h"
done 2>&1 | grep -E 'error|not found' >>"$found"

# Global symbols begin with im_. What is compiled for one instruction set defines nothing without its suffix: of two
# functions of one name the linker would take the AVX-512 one, on every machine.
symbols() {
    nm -g --defined-only "$1" | awk 'NF == 3 { print $3 }'
}
if [ -f "$build/libimago.a" ]; then
    symbols "$build/libimago.a" | grep -v '^im_' | sed 's/$/    <- a global symbol without im_/' >>"$found"
    for o in "$build"/tensor/cpu/*/*.o; do
        isa=$(basename "$(dirname "$o")")
        symbols "$o" | grep -v "_$isa\$" | sed "s|^|$o: |; s/\$/    <- a global symbol without _$isa/"
    done >>"$found"
else
    echo "$build/libimago.a is not there: make it first" >>"$found"
fi

sed 's/^/  /' "$found"
[ ! -s "$found" ] || { echo "check_style: $(wc -l <"$found") line(s) break a rule"; exit 1; }
echo "check_style: $(c_files | wc -l) C files, $(c_files | xargs cat | wc -l) lines"
