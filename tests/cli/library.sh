#!/bin/sh
# library.sh: the example of docs/library.md, compiled as C and as C++ and run: it draws what `imago generate` draws. Prints
# what fails and, last, "N passed, N failed, N skipped".
#
#     tests/cli/library.sh [PROGRAM]              default: build/imago; its library lies beside it
# shellcheck disable=SC2016,SC2319 # backquotes of Markdown; check reads $? of the condition before it, on purpose
set -u
imago=${1:-build/imago}
# shellcheck source=tests/shell.sh
. tests/shell.sh
library=$(dirname "$imago")/libimago.a
here=$PWD
libs=$(${MAKE:-make} -s libs)

sed -n '/^```c$/,/^```$/p' docs/library.md | sed '1d;$d' >"$dir/draw.c"
[ "$(wc -l <"$dir/draw.c")" -gt 30 ]
check "docs/library.md has its example"

"$imago" generate -q -p strawberry -s 1 --steps 20 --guidance 4 -o "$dir/wanted1.png" &&
    "$imago" generate -q -p 'flag of Japan' -s 1 --steps 20 --guidance 4 -o "$dir/wanted3.png"
check "imago generate draws two of the pictures"

cxx=$(command -v g++ || command -v clang++)
for language in c c++; do
    compiler=${CC:-gcc}
    [ $language = c ] || compiler=$cxx
    # shellcheck disable=SC2086 # a list of libraries; a compiler with its wrapper
    $compiler -x $language -Wall -Wextra -Werror -Isrc "$dir/draw.c" -x none -o "$dir/draw" "$library" $libs \
        >"$dir/err" 2>&1
    check "the example compiles as $language"
    mkdir "$dir/$language"
    (cd "$dir/$language" && IMAGO_WEIGHTS=$here/weights ../draw) >"$dir/out" 2>"$dir/err"
    check "the example runs"
    [ "$(cd "$dir/$language" && echo *)" = '1.png 3.png preview.png' ] && [ "$(tail -n 1 "$dir/out")" = '21 of 21' ] &&
        [ "$(pixels "$dir/$language/1.png")" = "$(pixels "$dir/wanted1.png")" ] &&
        [ "$(pixels "$dir/$language/3.png")" = "$(pixels "$dir/wanted3.png")" ]
    check "two pictures are those of imago generate, the third was given up"
done

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
