#!/bin/sh
# prompt_lines.sh: what a line of --prompts may say beside its prompt, as JSON and as options, and wildcards: each picture
# has the bytes of the same asked for by itself. Prints what fails and, last, "N passed, N failed, N skipped".
#
#     tests/cli/prompt_lines.sh [PROGRAM]          default: build/imago; runs from the root of the repository
# shellcheck disable=SC2319,SC3045 # check reads $? of the condition before it, on purpose; dash has ulimit -v
set -u
imago=${1:-build/imago}
model=tests/golden/models/a                       # 64x64 pixels, random weights
# shellcheck source=tests/shell.sh
. tests/shell.sh
draw() { run generate -m $model -q "$@"; }
same() { cmp -s "$dir/$1" "$dir/$2"; check "$3"; }

# ---- lines that say more
cat >"$dir/lines.txt" <<'LINES'
a cat
--prompt "a dog, \"asleep\"" --negative_prompt 'it'"'"'s ugly' --steps 3 --seed 11 --cfg_scale 1.5 --sampler_name "Euler a"
{"prompt": "a cow", "width": 32, "height": 96, "steps": 1, "seed": 12, "scheduler": "ddim", "guidance": 2}
--prompt two "long words" --seed 13 --negative all of this --height 32
--prompt last --seed -1
LINES
draw --prompts "$dir/lines.txt" --steps 2 -s 5 -n none --batch 5 -o "$dir/all" --sheet "$dir/sheet.png"
[ "$rc" = 0 ] && [ "$(find "$dir/all" -name '*.png' | wc -l)" = 5 ]
check "five pictures of several sizes in one batch"
draw -p 'a cat' -n none --steps 2 -s 5 -o "$dir/1.png"
same 1.png all/5.png "a line that says nothing more"
draw -p 'a dog, "asleep"' -n "it's ugly" --steps 3 -s 11 --guidance 1.5 --scheduler euler_a -o "$dir/2.png"
same 2.png all/11.png "options, quoted as in a shell"
draw -p 'a cow' -n none --steps 1 -s 12 --guidance 2 --scheduler ddim -W 32 -H 96 -o "$dir/3.png"
same 3.png all/12.png "an object with a size"
draw -p 'two long words' -n 'all of this' --steps 2 -s 13 -H 32 -o "$dir/4.png"
same 4.png all/13.png "texts of several words"
draw -p last -n none --steps 2 -s 6 -o "$dir/5.png"
same 5.png all/6.png "seed -1 is none of its own"
gives 0 '5 of 5 pictures were there already' generate -m $model --prompts "$dir/lines.txt" --steps 2 -s 5 -n none \
    -o "$dir/all" --skip-existing
gives 0 'the same picture as ' generate -m $model --from "$dir/all/12.png" -o "$dir/again.png"

wrong() {       # wrong LINE TEXT
    printf 'a cat\n%s\n' "$1" >"$dir/wrong.txt"
    gives 1 "wrong.txt, line 2: $2" generate -m $model --prompts "$dir/wrong.txt" -o "$dir/no"
}
wrong '--prompt a --subseed 4' '"--subseed" is none of the options that a line may have'
wrong '--prompt a --steps' '--steps has no value'
wrong '--prompt a --steps many' '"steps" is "many"; wanted a whole number from 1 to 100000'
wrong '--steps 3' 'has no "prompt"'
wrong '--prompt "a' 'a quotation mark'
wrong '--prompt a --sampler_name Eule' '"sampler_name" is "Eule"; wanted a scheduler'
wrong '{"prompt": "a", "stepz": 1}' '"stepz" is unknown; wanted prompt, negative (negative_prompt), seed, steps'
wrong '{"prompt": "a", "guidance": "much"}' '"guidance" is "much"; wanted a number from -1000 to 1000'
printf -- '--prompt a --width 20\n' >"$dir/wrong.txt"
gives 1 '20' generate -m $model --prompts "$dir/wrong.txt" -o "$dir/no"
printf -- 'a\n--prompt a --width 32\n' >"$dir/wrong.txt"
gives 1 '--latents and --save-latents need one size' generate -m $model --prompts "$dir/wrong.txt" -o "$dir/no" \
    --save-latents "$dir/no.safetensors"
wrong '--prompt a --cfg_scale 0x10' '"cfg_scale" is "0x10"; wanted a number from -1000 to 1000'
wrong '--prompt a --steps 2.5' '"steps" is 2.5; wanted a whole number from 1 to 100000'
wrong '{"prompt": "a", "guidance": NaN}' '"guidance" is "NaN"; wanted a number from -1000 to 1000'
wrong '{"prompt": "a", "seed": 18446744073709551616}' \
    '"seed" is "18446744073709551616"; wanted a whole number from 0 to 18446744073709551615'
wrong '{"prompt": "a", "steps": 18446744073709551616}' '"steps" is "18446744073709551616"; wanted a whole number'
[ ! -e "$dir/no" ]
check "nothing is drawn where a line is wrong"

# ---- numbers as Python writes and reads them
cat >"$dir/lines.txt" <<'LINES'
{"prompt": "a cat", "seed": 18446744073709551615}
--prompt a cat --seed 9223372036854775808 --steps 01 --cfg_scale +2
--prompt a cat --seed +7 --cfg_scale 2. --width 064
--prompt a cat --seed 08 --cfg_scale .5
{"prompt": "a cat\ud83d", "seed": 9}
LINES
draw --prompts "$dir/lines.txt" --steps 1 -o "$dir/numbers"
[ "$rc" = 0 ] && [ "$(find "$dir/numbers" -name '*.png' | wc -l)" = 5 ]
check "a list of numbers as Python has them"
draw -p 'a cat' --steps 1 -s 18446744073709551615 -o "$dir/n1.png"
same n1.png numbers/18446744073709551615.png "the largest seed, in JSON"
draw -p 'a cat' --steps 1 -s 9223372036854775808 -g 2 -o "$dir/n2.png"
same n2.png numbers/9223372036854775808.png "a large seed, as an option"
draw -p 'a cat' --steps 1 -s 7 -g 2 -o "$dir/n3.png"
same n3.png numbers/7.png "+7, 2. and 064"
draw -p 'a cat' --steps 1 -s 8 -g .5 -o "$dir/n4.png"
same n4.png numbers/8.png "08 and .5"

# ---- ends of lines as editors of all systems write them
printf '\357\273\277a cat\ra dog\r\r--prompt "a cow" --seed 9\r' >"$dir/lines.txt"
draw --prompts "$dir/lines.txt" --steps 1 -s 5 -o "$dir/cr"
[ "$rc" = 0 ] && [ "$(cd "$dir/cr" && echo *)" = '5.png 6.png 9.png' ]
check "a CR ends a line"
draw -p 'a dog' --steps 1 -s 6 -o "$dir/r1.png"
same r1.png cr/6.png "the second of lines that end in CR"
printf 'a\r\nb\rc\n\377' >"$dir/lines.txt"
gives 1 'lines.txt, line 4: ' generate -m $model --prompts "$dir/lines.txt" -o "$dir/no"

# ---- lists without an end: an error by name, in little memory
bounded() {     # bounded TEXT FILE: TEXT is what is said of it
    (ulimit -v 4000000 && exec "$imago" generate -m $model -q -t 1 --steps 1 --prompts "$2" -o "$dir/no") >"$dir/out" \
        2>"$dir/err"
    [ $? = 1 ] && grep -qF -- "$1" "$dir/err"
}
bounded '/dev/zero, line 1: holds a zero byte' /dev/zero
check "zeros without an end"
tr '\0' x </dev/zero 2>"$dir/tr" | bounded '-, line 1: has more than 1048576 bytes' -
check "a line without an end"
yes 2>"$dir/tr" | bounded '-, line 1000001: with it the list has more than 1000000 pictures' -
check "lines without an end"
yes "$(printf '%1000s' '')" 2>"$dir/tr" | bounded 'is behind 268435456 bytes' -
check "blanks without an end"

# ---- wildcards
mkdir -p "$dir/cards/more"
printf '# colours\nred\n  green\n\nblue\nyellow\n' >"$dir/cards/colour.txt"
printf '__colour__ hat\r\n__more/wood__ chair\r\n' >"$dir/cards/thing_of.txt"
printf 'oak\rbeech\rash\r' >"$dir/cards/more/wood.txt"
printf 'a __self__\n' >"$dir/cards/self.txt"
draw -p 'a __colour__ cat, a __thing_of__, __no such__, a_b__c' -n '__colour__' --wildcards "$dir/cards" --steps 1 \
    -c 12 -s 100 -o "$dir/wild" --json
cp "$dir/out" "$dir/wild.json"
# The rule of docs/prompts.md, in Python.
python3 - "$dir/wild.json" <<'PYTHON' 2>"$dir/err"
import json, re, sys
M = 2 ** 64 - 1
cards = {"colour": ["red", "green", "blue", "yellow"], "thing_of": ["__colour__ hat", "__more/wood__ chair"],
         "more/wood": ["oak", "beech", "ash"]}
def mix(z):
    z = z + 0x9e3779b97f4a7c15 & M
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9 & M
    z = (z ^ z >> 27) * 0x94d049bb133111eb & M
    return z ^ z >> 31
def fill(text, seed, stream):
    k = 0
    while m := re.search(r"__([A-Za-z0-9_-][A-Za-z0-9_/-]*?)__", text):     # the leftmost first: in order, nested ones too
        x = mix(seed + mix((stream << 32) + k) & M)
        lines = cards[m[1]]
        text, k = text[:m.start()] + lines[x * len(lines) >> 64] + text[m.end():], k + 1
    return text
rows = [json.loads(line) for line in open(sys.argv[1])][:-1]
assert len(rows) == 12
for r in rows:
    assert r["template"] == "a __colour__ cat, a __thing_of__, __no such__, a_b__c"
    assert r["negative_template"] == "__colour__"
    assert r["prompt"] == fill(r["template"], r["seed"], 0), (r["prompt"], fill(r["template"], r["seed"], 0))
    assert r["negative"] == fill(r["negative_template"], r["seed"], 1), r
assert len({r["prompt"] for r in rows}) > 6 and {r["negative"] for r in rows} <= set(cards["colour"])
PYTHON
check "which line: a function of the seed, by the written rule; resolved and as written in the metadata"
drawn=$(python3 -c 'import json, sys; print(json.loads(open(sys.argv[1]).readline())["prompt"])' "$dir/wild.json")
ugly=$(python3 -c 'import json, sys; print(json.loads(open(sys.argv[1]).readline())["negative"])' "$dir/wild.json")
draw -p "$drawn" -n "$ugly" --steps 1 -s 100 -o "$dir/typed.png"
same_pixels "$dir/typed.png" "$dir/wild/100.png"
check "the picture of the text that was chosen"
draw --from "$dir/wild/100.png" -o "$dir/from.png"
same from.png wild/100.png "--from gives the same bytes, without the folder"
gives 0 '12 of 12 pictures were there already' generate -m $model \
    -p 'a __colour__ cat, a __thing_of__, __no such__, a_b__c' -n '__colour__' --wildcards "$dir/cards" --steps 1 -c 12 \
    -s 100 -o "$dir/wild" --skip-existing
printf '__colour__\n--prompt a __colour__ --seed 3 --steps 1\n' >"$dir/lines.txt"
draw --prompts "$dir/lines.txt" --wildcards "$dir/cards" --steps 1 -s 1 -o "$dir/lines"
[ "$rc" = 0 ] && grep -aq '"template":"a __colour__"' "$dir/lines/3.png"
check "in lines of --prompts"
gives 0 'a prompt looks as if it had wildcards' generate -m $model -p 'a __colour__' --steps 1 -s 1 -o "$dir/text.png"
gives 1 'prompt 1: names the wildcard __none__, but there is no file' generate -m $model -p __none__ \
    --wildcards "$dir/cards" -o "$dir/no.png"
gives 1 'more than 8 deep' generate -m $model -p __self__ --wildcards "$dir/cards" -o "$dir/no.png"
gives 1 'there is no such folder' generate -m $model -p a --wildcards "$dir/nowhere" -o "$dir/no.png"
: >"$dir/cards/empty.txt"
gives 1 'holds no line to choose' generate -m $model -p __empty__ --wildcards "$dir/cards" -o "$dir/no.png"
[ ! -e "$dir/no.png" ]
check "nothing is drawn where a wildcard is wrong"

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
