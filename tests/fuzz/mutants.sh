#!/bin/sh
# mutants.sh: does test_programs find the faults that the engine once had? Each patch in mutants/ puts one back into a
# copy of the tree, which is built under the sanitizers; then programs run until one fails. Not part of `make check`: it
# takes minutes. Needs a plain build (`make all`), whose kernels serve where no sanitized ones are needed.
#
#     tests/fuzz/mutants.sh [NAME ...]        SECONDS_EACH=120, CC=gcc
#
# Prints a line a mutant, with the seed that found it and the time; 1 where one lives.
set -u
cd "$(dirname "$0")/../.." || exit 2
here=$(pwd)
copy=$(mktemp -d) || exit 2
trap 'rm -rf "$copy"' EXIT
trap 'exit 1' INT TERM
lived=0

{ git ls-files -z && git ls-files -z --others --exclude-standard; } | xargs -0 cp --parents -t "$copy"

build() { make -C "$copy" san-build SAN_TESTS=test_programs BUILD=build KBUILD="$here/build" >"$copy/log" 2>&1; }

# One copy serves all: a patch is put in and taken out again, and what it touches is compiled anew.
try() {         # try NAME PATCH
    if ! (cd "$copy" && patch -sN -F0 --dry-run -p1 <"$here/$2" >/dev/null && patch -sF0 -p1 <"$here/$2"); then
        echo "$1: the patch does not fit the source any more: make it anew"
        return 1
    fi
    if ! build; then
        tail -n 20 "$copy/log"
        echo "$1: does not build"
        lived=1
    else
        search "$1" || lived=1
    fi
    (cd "$copy" && patch -sRF0 -p1 <"$here/$2")
}

search() {      # search NAME: until a program fails, or time is up
    "$copy/build/san/tests/test_programs" --seconds "${SECONDS_EACH:-120}" >"$copy/found" 2>"$copy/why"
    if grep -q '^seed' "$copy/found"; then
        echo "$1: found, $(grep '^seed' "$copy/found")"
        grep -m 1 -E 'ERROR: AddressSanitizer|runtime error|Assertion|: v[0-9]+, step|: run: ' "$copy/why" |
            cut -c 1-110 | sed 's/^/    /'
    else
        echo "$1: lives: $(grep programs "$copy/found") in ${SECONDS_EACH:-120} s"
        return 1
    fi
}

[ $# -gt 0 ] || set -- tests/fuzz/mutants/*.patch
for m; do
    name=$(basename "$m" .patch)
    try "$name" "tests/fuzz/mutants/$name.patch" || lived=1
done
exit $lived
