#!/bin/sh
# python.sh: the binding for Python (python/): what the headers declare, the tests of python/tests, the examples, types,
# `pip install ./python` and an installed library. Without numpy it is skipped by name. Prints what fails and, last, "N
# passed, N failed, N skipped".
#
#     tests/cli/python.sh [PROGRAM]              default: build/imago; its library lies beside it
# shellcheck disable=SC2319 # check reads $? of the condition before it, on purpose
set -u
imago=${1:-build/imago}
# shellcheck source=tests/shell.sh
. tests/shell.sh
build=$(dirname "$imago")
skip() {        # skip NAME WHY
    skipped=$((skipped + 1))
    echo "SKIP $1: $2"
}
finish() {
    echo "$passed passed, $failed failed, $skipped skipped"
    [ "$failed" = 0 ]
    exit
}
# Debian's own has Debian's numpy, whichever comes first in the path.
python=
for p in python3 /usr/bin/python3; do
    if [ -z "$python" ] && "$p" -c 'import numpy' 2>/dev/null; then python=$p; fi
done
if [ -z "$python" ]; then
    skip "the binding for Python" "no python3 here has numpy (Debian: python3-numpy)"
    finish
fi
${MAKE:-make} -s BUILD="$build" "$build/libimago.so" >"$dir/out" 2>"$dir/err"
check "make $build/libimago.so"
here=$PWD
IMAGO=$imago IMAGO_LIBRARY=$(cd "$build" && pwd)/libimago.so PYTHONPATH=$here/python
export IMAGO IMAGO_LIBRARY PYTHONPATH

"$python" python/declare.py --check >"$dir/out" 2>"$dir/err"
check "python/imago has what the headers declare"

"$python" python/tests/run.py >"$dir/tests" 2>&1
check "python/tests"
counts=$(tail -n 1 "$dir/tests" | tr -dc '0-9 ')
# shellcheck disable=SC2086 # three numbers
set -- $counts
passed=$((passed + ${1:-0})) failed=$((failed + ${2:-1})) skipped=$((skipped + ${3:-0}))
grep '^SKIP' "$dir/tests"
[ "${2:-1}" = 0 ] || tail -n 60 "$dir/tests"

# ---- the examples: pictures of the program, and a classifier that is better than chance (0.5)
"$python" python/examples/generate.py "$dir/pictures" >"$dir/out" 2>"$dir/err" &&
    "$imago" generate -q -p strawberry -s 1 --steps 20 -g 4 -o "$dir/wanted.png" &&
    [ "$(cd "$dir/pictures" && echo *)" = 'a-cat.png flag-of-Japan.png strawberry.png' ] &&
    PYTHONPATH=tests same_pixels "$dir/pictures/strawberry.png" "$dir/wanted.png"
check "examples/generate.py draws what imago generate draws"
"$python" python/examples/steps.py "$dir/steps" >"$dir/out" 2>"$dir/err" &&
    [ "$(tail -n 1 "$dir/out")" = 'finished cancelled' ] && [ -s "$dir/steps/preview.png" ] &&
    PYTHONPATH=tests same_pixels "$dir/steps/strawberry.png" "$dir/wanted.png"
check "examples/steps.py: the same picture, and a preview"
"$python" python/examples/train.py "$dir/train" 60 >"$dir/out" 2>"$dir/err" &&
    sed -n 's/^top-1 \([0-9.]*\) of 32 .*/\1/p' "$dir/out" | awk '{ found = $1 } END { exit !(found >= .75) }' &&
    grep -q '^one layer: its loss went from 1\.099 to 0\.' "$dir/out"
check "examples/train.py learns"

if "$python" -c 'import mypy' 2>/dev/null; then
    (cd python && "$python" -m mypy --cache-dir "$dir/mypy") >"$dir/err" 2>&1
    check "mypy --strict"
else
    skip "mypy --strict" "$python has no mypy"
fi

# ---- installed: the library by make, the package by pip, away from the repository
unset PYTHONPATH IMAGO_LIBRARY IMAGO_WEIGHTS
${MAKE:-make} -s BUILD="$build" PREFIX="$dir/prefix" install >"$dir/out" 2>"$dir/err"
check "make install"
cp -R python "$dir/source"
if ! "$python" -m venv --system-site-packages "$dir/venv" >"$dir/err" 2>&1; then
    skip "pip install ./python" "$python makes no venv (Debian: python3-venv)"
elif ! "$dir/venv/bin/python" -c 'import setuptools, wheel' 2>"$dir/err"; then
    skip "pip install ./python" "there is no setuptools with wheel (Debian: python3-setuptools, python3-wheel)"
else
    "$dir/venv/bin/python" -m pip install -q --no-build-isolation --no-deps --no-index "$dir/source" >"$dir/out" \
        2>"$dir/err"
    check "pip install ./python"
    cat >"$dir/draw.py" <<'PYTHON'
import importlib.metadata, importlib.resources, sys, imago
assert importlib.metadata.version("libimago") == imago.__version__
assert importlib.resources.files(imago).joinpath("py.typed").is_file()
with imago.Model.load() as model:
    imago.write_picture(sys.argv[1], model.generate("strawberry", seed=1, steps=20, guidance=4))
print(imago.library().path)
PYTHON
    (cd "$dir" && LD_LIBRARY_PATH="$dir/prefix/lib" venv/bin/python draw.py loader.png) >"$dir/out" 2>"$dir/err" &&
        PYTHONPATH=tests same_pixels "$dir/loader.png" "$dir/wanted.png"
    check "the loader finds the library, and that its model"
    if command -v pkg-config >/dev/null; then
        (cd "$dir" && PKG_CONFIG_PATH="$dir/prefix/lib/pkgconfig" venv/bin/python draw.py found.png) >"$dir/out" \
            2>"$dir/err" && PYTHONPATH=tests same_pixels "$dir/found.png" "$dir/wanted.png"
        check "pkg-config knows where the library is"
    else
        skip "pkg-config" "there is none"
    fi
fi
finish
