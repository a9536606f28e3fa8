#!/bin/sh
# prompts.sh: `imago synth --prompts-only`: prompts of all classes of ImageNet beside WordNet as another program read it,
# seeds, guidance, captions, parts, and what bad lists of classes get. Prints what fails and, last,
# "N passed, N failed, N skipped".
#
#     tests/cli/prompts.sh [PROGRAM]        default: build/imago
# shellcheck disable=SC2319 # check reads $? of the condition before it, on purpose
set -u
imago=${1:-build/imago}
# shellcheck source=tests/shell.sh
. tests/shell.sh
unset SLURM_ARRAY_TASK_ID SLURM_PROCID SLURM_NTASKS OMPI_COMM_WORLD_RANK PMI_RANK RANK WORLD_SIZE IMAGO_WORDNET

prompts() {     # prompts NAME ARGUMENT...: the lines to $dir/NAME
    name=$1
    shift
    "$imago" synth --prompts-only "$@" >"$dir/$name" 2>"$dir/err"
    rc=$?
}
python() { python3 - "$@" 2>"$dir/err"; }

# ---- 1000 of 1000 classes, every recipe
for recipe in name hypernym definition background hypernym-background multiple multiple-different; do
    prompts $recipe --classes imagenet1k --recipe $recipe --per-class 2
    [ "$rc" = 0 ] && python "$dir/$recipe" $recipe <<'PYTHON'
import gzip, json, sys
want = [l.rstrip("\n").split("\t") for l in gzip.open("tests/golden/imagenet1k_wordnet30.tsv.gz", "rt") if l[0] != "#"]
places = set(open("src/data/text/places365.txt").read().splitlines())
rows = [json.loads(l) for l in open(sys.argv[1])]
recipe = sys.argv[2]
assert len(want) == 1000 and len(rows) == 2000 and len(places) == 365
forms = {"name": "{c}", "hypernym": "{c}, {h}", "definition": "{c}, {d}", "background": "{c} inside {b}",
         "hypernym-background": "{c}, {h} inside {b}", "multiple": "multiple {c}",
         "multiple-different": "multiple different {c}"}
right = 0
for n, row in enumerate(rows):
    assert list(row) == ["class", "index", "recipe", "prompt", "seed", "guidance", "file"], row
    wnid, c, _, h, d = want[n % 1000]
    b = row["prompt"].rpartition(" inside ")[2] if "{b}" in forms[recipe] else ""
    assert not b or b in places, row
    assert (row["class"], row["index"], row["recipe"], row["guidance"]) == (wnid, n // 1000, recipe, 2.0), row
    assert row["file"].startswith("%s/%06d." % (wnid, n // 1000)) and 0 <= row["seed"] < 2 ** 32
    right += row["prompt"] == forms[recipe].format(c=c, h=h, d=d, b=b)
assert right == 2000, right
assert len({(r["class"], r["seed"]) for r in rows}) == 2000
PYTHON
    check "$recipe: 1000 of 1000 classes"
done
cut -d'"' -f8- "$dir/name" >"$dir/a" && cut -d'"' -f8- "$dir/hypernym" | cmp -s - "$dir/a"
[ $? = 1 ]
check "seeds depend on the recipe"
prompts scenes --classes n01440764 --recipe background --per-class 20000
python "$dir/scenes" <<'PYTHON'
import collections, json, sys
n = collections.Counter(json.loads(l)["prompt"].split(" inside ")[1] for l in open(sys.argv[1]))
chi = sum((k - 20000 / 365) ** 2 / (20000 / 365) for k in n.values())
assert len(n) == 365 and chi < 480, (len(n), chi)      # 364 degrees of freedom: 480 is beyond four deviations
PYTHON
check "scenes are drawn evenly from all 365"

# ---- lists
prompts hundred --classes imagenet100 --per-class 1
[ "$(wc -l <"$dir/hundred")" = 100 ] && head -1 "$dir/hundred" | grep -q n01558993 &&
    tail -1 "$dir/hundred" | grep -q n13040303
check "imagenet100"
prompts first --classes n01440764,n01443537 --lemmas first --per-class 1
[ "$(grep -o '"prompt":"[^"]*"' "$dir/first" | tr '\n' ' ')" = '"prompt":"tench" "prompt":"goldfish" ' ]
check "wnids with a comma between them, the first lemma"
printf '\357\273\277# a list\r\nn02123045\r\n\r\n  tabby |  cat | a grey one \nSt. Ägidius/x\n' >"$dir/classes.txt"
prompts own --classes "$dir/classes.txt" --per-class 1
python "$dir/own" <<'PYTHON'
import json, sys
rows = [json.loads(l) for l in open(sys.argv[1])]
assert [r["class"] for r in rows] == ["n02123045", "tabby", "St. Ägidius/x"], rows
assert rows[0]["prompt"] == "tabby, tabby cat" and rows[2]["file"].startswith("St. Ägidius_x/000000."), rows
PYTHON
check "a file: a mark of UTF-8, CRLF, a comment, an empty line, a name that is not a folder"
printf 'tabby|cat|a grey one\n' >"$dir/one.txt"
prompts d --classes "$dir/one.txt" --recipe definition --per-class 1
grep -qF '"class":"tabby","index":0,"recipe":"definition","prompt":"tabby, a grey one"' "$dir/d"
check "name | hypernym | definition"

# ---- guidance, seeds, captions
prompts g --classes "$dir/one.txt" --per-class 6 --guidance 1,2,7.5
[ "$(grep -o '"guidance":[0-9.]*' "$dir/g" | cut -d: -f2 | tr '\n' ' ')" = "1.0 2.0 7.5 1.0 2.0 7.5 " ]
check "--guidance 1,2,7.5: in turn"
prompts g2 --classes "$dir/one.txt" --per-class 2000 --guidance 1.5:4 && python "$dir/g2" <<'PYTHON'
import json, sys
g = [json.loads(l)["guidance"] for l in open(sys.argv[1])]
assert min(g) >= 1.5 and max(g) <= 4 and abs(sum(g) / 2000 - 2.75) < 0.08 and len(set(g)) > 1000
assert all(round(x, 3) == x for x in g)
PYTHON
check "--guidance 1.5:4: drawn from the interval"
prompts s1 --classes "$dir/one.txt" --per-class 6 --seed 1 --guidance 1,2,7.5
[ "$(grep -o '"seed":[0-9]*' "$dir/s1")" != "$(grep -o '"seed":[0-9]*' "$dir/g")" ]
check "--seed changes the seeds"
cat >"$dir/a.jsonl" <<'TEXT'
{"class": "tabby", "caption": "a tabby asleep"}
{"class": "dog", "caption": "of no class of the list"}

{"label": "tabby", "text": "a tabby, awake"}
TEXT
printf '{"class":"tabby","prompt":"third"}' >"$dir/b.jsonl"
prompts cap --classes "$dir/one.txt" --recipe "captions=$dir/a.jsonl,$dir/b.jsonl" --per-class 6 --guidance 1,2
[ "$(grep -o '"prompt":"[^"]*"' "$dir/cap" | cut -d'"' -f4 | tr '\n' '|')" = \
    'a tabby asleep|a tabby, awake|third|a tabby asleep|a tabby, awake|third|' ] &&
    grep -q '"recipe":"captions"' "$dir/cap" &&
    [ "$(grep -o '"guidance":[0-9.]*' "$dir/cap" | cut -d: -f2 | tr '\n' ' ')" = "1.0 1.0 1.0 2.0 2.0 2.0 " ]
check "captions of two files, in turn, each with each guidance"
prompts all --classes imagenet100 --per-class 7
prompts p3 --classes imagenet100 --per-class 7 --part 3/3 --quiet
prompts p1 --classes imagenet100 --per-class 7 --part 1/3
grep -q '^part 1/3, as --part says$' "$dir/err" && prompts p2 --classes imagenet100 --per-class 7 --part 2/3
cat "$dir/p1" "$dir/p2" "$dir/p3" | cmp -s - "$dir/all" && [ "$(wc -l <"$dir/p1")" = 233 ]
check "parts 1/3, 2/3, 3/3 are the whole: floor(iD/N) to floor((i+1)D/N)"
prompts shards --classes imagenet100 --per-class 7 --layout shards --shard-size 300
sed -n 301p "$dir/shards" | grep -q '"file":"000001.tar/000000300\.'
check "--layout shards: names"

# ---- the environment
taken() {       # taken "VARIABLE=... ..." I/N TEXT
    # shellcheck disable=SC2086 # a list of assignments
    env $1 "$imago" synth --prompts-only --classes imagenet100 --per-class 24 >"$dir/out" 2>"$dir/err"
    "$imago" synth --prompts-only --classes imagenet100 --per-class 24 --part "$2" -q >"$dir/same" 2>/dev/null
    grep -qF "part $2, as $3 says" "$dir/err" && cmp -s "$dir/out" "$dir/same"
    check "$1 is part $2"
}
taken "SLURM_ARRAY_TASK_ID=5 SLURM_ARRAY_TASK_MIN=3 SLURM_ARRAY_TASK_COUNT=4" 3/4 SLURM_ARRAY_TASK_ID
taken "SLURM_ARRAY_TASK_ID=7 SLURM_ARRAY_TASK_MIN=3 SLURM_ARRAY_TASK_COUNT=4 SLURM_ARRAY_TASK_STEP=2" 3/4 \
    SLURM_ARRAY_TASK_ID
taken "SLURM_PROCID=0 SLURM_NTASKS=4 RANK=1 WORLD_SIZE=2" 1/4 SLURM_PROCID/SLURM_NTASKS
taken "SLURM_ARRAY_TASK_ID=1 SLURM_ARRAY_TASK_MIN=0 SLURM_ARRAY_TASK_COUNT=2 SLURM_PROCID=2 SLURM_NTASKS=4" 7/8 \
    "SLURM_ARRAY_TASK_ID and SLURM_PROCID/SLURM_NTASKS"
taken "OMPI_COMM_WORLD_RANK=1 OMPI_COMM_WORLD_SIZE=2 PMI_RANK=0 PMI_SIZE=3" 2/2 \
    OMPI_COMM_WORLD_RANK/OMPI_COMM_WORLD_SIZE
taken "PMI_RANK=2 PMI_SIZE=3" 3/3 PMI_RANK/PMI_SIZE
taken "RANK=0 WORLD_SIZE=1" 1/1 RANK/WORLD_SIZE
RANK=1 WORLD_SIZE=2 "$imago" synth --prompts-only --classes imagenet100 --per-class 7 --part none | cmp -s - "$dir/all"
check "--part none: everything, whatever the environment says"
odd() {         # odd "VARIABLE=... ..." TEXT
    # shellcheck disable=SC2086 # a list of assignments
    env $1 "$imago" synth --prompts-only --classes imagenet100 --per-class 1 >"$dir/out" 2>"$dir/err"
    [ $? = 1 ] && grep -qF "$2" "$dir/err" && [ ! -s "$dir/out" ]
    check "$1: $2"
}
odd "SLURM_ARRAY_TASK_ID=9 SLURM_ARRAY_TASK_MIN=1 SLURM_ARRAY_TASK_COUNT=3" "its numbers have gaps"
odd "RANK=2 WORLD_SIZE=2" "process 2 (from 0) of 2"
odd "RANK=x WORLD_SIZE=2" 'RANK is "x"'

# ---- what is refused
refused() {     # refused TEXT CLASSES RECIPE
    gives 1 "$1" synth --prompts-only --per-class 1 --classes "$2" --recipe "$3"
    [ ! -s "$dir/out" ]
    check "nothing is printed for it"
}
refused '2 wnids are not in WordNet 3.0: n00000001, n99999999' n00000001,n01440764,n99999999 name
printf 'tabby\nsteel|metal\nrose\n' >"$dir/some.txt"
refused '2 of 3 classes have no hypernym, which the recipe hypernym needs: tabby, rose' "$dir/some.txt" hypernym
refused '3 of 3 classes have no definition' "$dir/some.txt" definition
refused '2 of 3 classes have no caption, which the recipe captions needs: steel, rose' "$dir/some.txt" \
    "captions=$dir/a.jsonl"
refused '1 of 1 classes have no hypernym' n00001740 hypernym-background
printf 'rose\nn01440764\nrose | plant\n' >"$dir/twice.txt"
refused 'the class "rose" is there twice' "$dir/twice.txt" name
printf 'a/b\na_b\n' >"$dir/folders.txt"
refused 'would share the folder "a_b"' "$dir/folders.txt" name
printf '# none\n\n' >"$dir/empty.txt"
refused 'holds no classes' "$dir/empty.txt" name
printf 'a|b|c|d\n' >"$dir/four.txt"
refused 'line 1: has more than three fields' "$dir/four.txt" name
printf 'x\nn01440764 tench\n' >"$dir/more.txt"
refused 'line 2: found more behind the wnid n01440764' "$dir/more.txt" name
printf '|b\n' >"$dir/nameless.txt"
refused 'line 1: the name is empty' "$dir/nameless.txt" name
printf 'a\377\n' >"$dir/bytes.txt"
refused 'is not UTF-8' "$dir/bytes.txt" name
refused 'nowhere.txt: cannot open' "$dir/nowhere.txt" name
refused 'there is no recipe "hyper"' "$dir/some.txt" hyper
printf '{"class": "tabby"}\n' >"$dir/c.jsonl"
refused 'line 1: has no "caption"' "$dir/one.txt" "captions=$dir/c.jsonl"
printf '{"class"\n' >"$dir/e.jsonl"
refused 'line 1: column' "$dir/one.txt" "captions=$dir/e.jsonl"
IMAGO_WORDNET=$dir/none refused 'install the Debian package wordnet-base' n01440764 name
gives 2 '--guidance is empty' synth --prompts-only --classes "$dir/one.txt" --per-class 1 --guidance ''
for g in x 1,,2 4:2 1:2:3 1,2:3 nan; do
    gives 1 'wanted a number' synth --prompts-only --classes "$dir/one.txt" --per-class 1 --guidance "$g"
done
for p in 0/3 4/3 1/0 x 1 1/2/3 -1/2; do
    gives 1 'wanted I/N' synth --prompts-only --classes "$dir/one.txt" --per-class 1 --part "$p"
done
gives 2 '--classes FILE is missing' synth --prompts-only --per-class 1
gives 2 '--per-class N is missing' synth --prompts-only --classes "$dir/one.txt"

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
