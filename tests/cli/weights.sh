#!/bin/sh
# weights.sh: --prompt-syntax and --clip-skip: what they change, what a picture says of them, what is told of marks that are
# text. Prints what fails and, last, "N passed, N failed, N skipped".
#
#     tests/cli/weights.sh [PROGRAM]               default: build/imago
# shellcheck disable=SC2319 # check reads $? of the condition before it
set -u
imago=${1:-build/imago}
model=tests/golden/models/a
# shellcheck source=tests/shell.sh
. tests/shell.sh
draw() { run generate -m $model --steps 2 -s 3 -q -f "$@"; }

draw -p 'a (castle:1.3)' --prompt-syntax a1111 --clip-skip 2 -o "$dir/weighted.png"
[ "$rc" = 0 ] && ! grep -q "as text" "$dir/err"
check "a weight is no longer told of as text"
grep -aq '"prompt_syntax":"a1111","clip_skip":2' "$dir/weighted.png" && grep -aq 'Clip skip: 2, Version' "$dir/weighted.png"
check "the picture says both"
draw -p 'a (castle:1.3)' --clip-skip 2 -o "$dir/plain.png"
[ "$rc" = 0 ] && grep -q '"(castle:1.3)" in the prompt is read as text.*--prompt-syntax a1111' "$dir/err"
check "plain says what it looks like"
! same_pixels "$dir/plain.png" "$dir/weighted.png" && ! grep -aq prompt_syntax "$dir/plain.png"
check "and is another picture"
draw -p 'a ((castle))' -o "$dir/double.png"
grep -qF '"((castle))" in the prompt is read as text' "$dir/err"
check "double brackets look weighted, too"
draw -p 'a castle' -o "$dir/a.png" && draw -p '(a castle:1)' --prompt-syntax a1111 --clip-skip 1 -o "$dir/b.png"
same_pixels "$dir/a.png" "$dir/b.png"
check "weight 1 and the last layer: the plain picture"
gives 0 'the same picture as ' generate -m $model --from "$dir/weighted.png" -o "$dir/again.png"
gives 0 'values differ from ' generate -m $model --from "$dir/weighted.png" --clip-skip 1 -o "$dir/other.png"
mkdir "$dir/set" && cp "$dir/weighted.png" "$dir/set/3.png"
gives 0 'were there already' generate -m $model --steps 2 -s 3 -p 'a (castle:1.3)' --prompt-syntax a1111 --clip-skip 2 \
    --skip-existing -o "$dir/set/"
gives 1 'its syntax of prompts is "a1111", wanted none; its clip skip is 2, wanted none' generate -m $model --steps 2 -s 3 \
    -p 'a (castle:1.3)' --skip-existing -o "$dir/set/"
gives 0 '"[a:b:0.5]" in the prompt is read as text' generate -m $model --steps 1 -p 'x [a:b:0.5]' --prompt-syntax a1111 \
    -o "$dir/change.png"
gives 1 'clip skip: found 4, wanted 1 (the last layer) to 3' generate -m $model -p a --clip-skip 4 -o "$dir/no.png"
gives 2 'plain|a1111' generate -m $model -p a --prompt-syntax compel -o "$dir/no.png"
long=$(printf 'very, very detailed %.0s' 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20)
gives 0 '--prompt-syntax a1111 reads it in parts' generate -m $model --steps 1 -p "$long" -o "$dir/cut.png"
draw -p "$long" --prompt-syntax a1111 -o "$dir/long.png"
[ "$rc" = 0 ] && ! grep -q 'prompt is longer' "$dir/err"
check "a long prompt is read whole"
printf '%s\na\n%s\n' "$long" "$long x" >"$dir/prompts"
run generate -m $model --steps 2 -s 3 -q --prompt-syntax a1111 --prompts "$dir/prompts" -b 3 -o "$dir/many"
[ "$rc" = 0 ] && same_pixels "$dir/many/3.png" "$dir/long.png"
check "in a batch with others: the same picture"
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
