#!/bin/sh
# synth.sh: `imago synth`: the same bytes in one go, after kills, in parts, by two at once, at any batch; shards; signals; a
# full disk; what --verify and --one say; what is refused. Prints what fails and, last, "N passed, N failed, N skipped".
#
#     tests/cli/synth.sh [PROGRAM]        default: build/imago
# shellcheck disable=SC2319 # check reads $? of the condition before it, on purpose
set -u
imago=${1:-build/imago}
model=tests/golden/models/a                       # 64x64 pixels, random weights
# shellcheck source=tests/shell.sh
. tests/shell.sh
unset SLURM_ARRAY_TASK_ID SLURM_PROCID SLURM_NTASKS OMPI_COMM_WORLD_RANK PMI_RANK RANK WORLD_SIZE

printf '%s\n' 'strawberry | fruit' 'cat | animal' 'tree | plant' 'St. John/x | name' >"$dir/four.txt"
for k in 1 2 3 4 5 6 7 8 9 10 11 12; do echo "thing $k | object"; done >"$dir/twelve.txt"
draw() {        # draw SET ARGUMENT...: 4 classes, 6 pictures each
    set_=$1
    shift
    run synth -m $model --classes "$dir/four.txt" --recipe hypernym --per-class 6 --steps 1 --scheduler ddim -q \
        -o "$dir/$set_" "$@"
}
same() {        # same A B NAME: the same files with the same bytes
    diff -r "$dir/$1" "$dir/$2" >"$dir/err" 2>&1
    check "$3"
}
pictures() { find "$dir/$1" -name '*.png' 2>/dev/null | wc -l; }
wait_for() {    # wait_for COMMAND...: until it succeeds, for 20 s at most
    n=0
    while ! "$@" && [ $n -lt 400 ]; do sleep 0.05; n=$((n + 1)); done
}
started() { find "$dir/$1/.parts" -name '*-of-*' 2>/dev/null | grep -q .; }

# ---- one go
draw whole -b 5
[ "$rc" = 0 ] && [ "$(pictures whole)" = 24 ] && [ "$(wc -l <"$dir/whole/metadata.jsonl")" = 24 ]
check "24 pictures, a row each"
[ "$(cd "$dir/whole" && find . -name '.?*' | wc -l)$(find "$dir/whole" -name '*.tmp*')" = 0 ]
check "nothing else is left"
python3 - "$dir/whole" "$imago" <<'PYTHON' 2>"$dir/err"
import hashlib, json, subprocess, sys
rows = [json.loads(l) for l in open(sys.argv[1] + "/metadata.jsonl")]
said = subprocess.run([sys.argv[2], "synth", "--prompts-only", "-o", sys.argv[1]], capture_output=True, check=True)
plan = [json.loads(l) for l in said.stdout.splitlines()]
manifest = json.load(open(sys.argv[1] + "/manifest.json"))
assert len(rows) == len(plan) == manifest["pictures"] == 24
for row, want in zip(rows, plan):
    assert row["file_name"] == want.pop("file"), row
    assert all(row[k] == want[k] for k in want), (row, want)
    assert row["model_hash"] == manifest["model_hash"] and len(row["model_hash"]) == 64
    assert row["file_hash"] == hashlib.sha256(open(sys.argv[1] + "/" + row["file_name"], "rb").read()).hexdigest()
text = open(sys.argv[1] + "/metadata.jsonl", "rb").read()
assert manifest["metadata_hash"] == hashlib.sha256(text).hexdigest()
assert [c["class"] for c in manifest["classes"]] == ["strawberry", "cat", "tree", "St. John/x"]
assert len({r["file_hash"] for r in rows}) == 24 and manifest["guidance"] == "2" and manifest["steps"] == 1
PYTHON
check "metadata.jsonl and manifest.json: prompts, seeds, hashes"
run data "$dir/whole"
grep -q '24 pictures' "$dir/out" && grep -q '^classes: 4, of 6 to 6 pictures' "$dir/out" &&
    grep -q '^captions: 24' "$dir/out"
check "imago data reads the set"
run synth -m $model --classes "$dir/four.txt" --recipe hypernym --per-class 1 --steps 2 --scheduler ddim --eta 0.3 -q \
    -o "$dir/eta"
seed=$(sed -n 2p "$dir/eta/metadata.jsonl" | sed 's/.*"seed":\([0-9]*\).*/\1/')
run generate -m $model -p "cat, animal" --steps 2 --scheduler ddim --eta 0.3 --guidance 2 -s "$seed" -q -o "$dir/eta.png"
grep -q '"eta": 0.3,' "$dir/eta/manifest.json" && ! grep -q '"eta"' "$dir/whole/manifest.json" &&
    same_pixels "$dir/eta.png" "$dir/eta/cat/000000.png" && run synth -m $model -o "$dir/eta" && [ "$rc" = 0 ]
check "a set whose pictures have noise put back says so"
seed=$(sed -n 6p "$dir/whole/metadata.jsonl" | sed 's/.*"seed":\([0-9]*\).*/\1/')
run generate -m $model -p "cat, animal" --steps 1 --scheduler ddim --guidance 2 -s "$seed" -q -o "$dir/cat.png"
python3 - "$dir/cat.png" "$dir/whole/cat/000001.png" <<'PYTHON' 2>"$dir/err"
import sys, zlib
def data(path):
    b, at, out = open(path, "rb").read(), 8, b""
    while at < len(b):
        n = int.from_bytes(b[at:at + 4], "big")
        out += b[at + 8:at + 8 + n] if b[at + 4:at + 8] == b"IDAT" else b""
        at += 12 + n
    return zlib.decompress(out)
assert data(sys.argv[1]) == data(sys.argv[2])
PYTHON
check "the picture of imago generate with its prompt, seed and guidance"
draw whole
[ "$rc" = 0 ]
check "the same command again has nothing to do"
run synth -m $model -o "$dir/whole"
[ "$rc" = 0 ] && grep -q 'all pictures are there' "$dir/err"
check "the set alone tells its settings"

# ---- killed, in parts, by several at once
for k in 1 2 3 4 5; do
    "$imago" synth -m $model --classes "$dir/four.txt" --recipe hypernym --per-class 6 --steps 1 \
        --scheduler ddim -q -b 1 -t 1 -o "$dir/killed" 2>/dev/null &
    pid=$!
    # without a pause: a fast machine draws the rest within one
    until [ "$(pictures killed)" -ge $((2 * k)) ] || ! kill -0 $pid 2>/dev/null; do :; done
    kill -9 $pid 2>/dev/null
    wait $pid 2>/dev/null
done
left=$(pictures killed)
[ "$left" -ge 10 ] && [ "$left" -lt 24 ]
check "five kills leave pictures, and not all ($left)"
touch "$dir/killed/cat/000001.png.tmp.1.0" "$dir/killed/manifest.json.tmp.2.0"
run synth -m $model -q -b 7 -t 2 -o "$dir/killed"
[ "$rc" = 0 ]
check "what is missing is drawn"
same whole killed "killed five times: the same bytes"
draw parts --part 3/3 && draw parts --part 1/3
[ ! -e "$dir/parts/metadata.jsonl" ] && [ "$(pictures parts)" = 16 ]
check "two of three parts are no set yet"
gives 1 'is not finished' synth --verify -o "$dir/parts"
draw parts --part 2/3 -b 1
same whole parts "parts 3/3, 1/3, 2/3: the same bytes"
for k in 1 2 3; do
    "$imago" synth -m $model --classes "$dir/four.txt" --recipe hypernym --per-class 6 --steps 1 \
        --scheduler ddim -q -b $k -t 1 -o "$dir/three" 2>"$dir/err$k" &
done
wait
! cat "$dir/err1" "$dir/err2" "$dir/err3" | grep -v '^imago: warning: .*no network asks for'
check "three workers on one part"
same whole three "three workers on one part: the same bytes"
for k in 1 2; do
    SLURM_PROCID=$((k - 1)) SLURM_NTASKS=2 "$imago" synth -m $model --classes "$dir/four.txt" --recipe hypernym \
        --per-class 6 --steps 1 --scheduler ddim -t 1 -o "$dir/slurm" 2>"$dir/err$k" &
done
wait
grep -q '^part 2/2, as SLURM_PROCID/SLURM_NTASKS says$' "$dir/err2" &&
    grep -q ' pictures of 4 classes' "$dir/err1" "$dir/err2"
check "two parts at once, as the environment says"
same whole slurm "two parts at once: the same bytes"

# ---- the embedded model, as long as the issue asks for, in short
small() { run synth --classes "$dir/twelve.txt" --per-class 2 --steps 1 -q "$@"; }
small -o "$dir/small" -b 12 && small -o "$dir/thirds" --part 2/3 && small -o "$dir/thirds" --part 1/3 -b 3
small -o "$dir/thirds" --part 3/3 -t 1
[ "$(pictures small)" = 24 ]
same small thirds "the embedded model: in one go and in thirds"

# ---- shards
draw shards --layout shards --shard-size 7
[ "$rc" = 0 ] &&
    [ "$(cd "$dir/shards" && echo *)" = '000000.tar 000001.tar 000002.tar 000003.tar manifest.json metadata.jsonl' ]
check "shards: four of up to seven pictures"
draw shards2 --layout shards --shard-size 7 --part 2/2 -b 3 && draw shards2 --layout shards --shard-size 7 --part 1/2
same shards shards2 "shards in parts: the same bytes"
"$imago" synth -m $model --classes "$dir/four.txt" --recipe hypernym --per-class 6 --steps 1 --scheduler ddim \
    -q -b 2 -t 1 -o "$dir/shards3" --layout shards --shard-size 7 2>/dev/null &
pid=$!
one_shard() { [ -e "$dir/shards3/000000.tar" ]; }
wait_for one_shard
kill -9 $pid 2>/dev/null
wait $pid 2>/dev/null
run synth -m $model -q -o "$dir/shards3"
same shards shards3 "shards after a kill: the same bytes"
tar xOf "$dir/shards/000001.tar" 000000009.png | cmp -s - "$dir/whole/cat/000002.png" &&
    tar xOf "$dir/shards/000001.tar" 000000009.json | grep -q '"class":"cat","index":2,'
check "a shard holds the pictures and their rows"
run data "$dir/shards"
grep -q '24 pictures' "$dir/out" && grep -q '^classes: 4, of 6 to 6 pictures' "$dir/out"
check "imago data reads shards with metadata.jsonl beside them"
gives 0 'all 24 pictures are as they were drawn' synth --verify -o "$dir/shards"
gives 0 '000001.tar/000000009.png: the same bytes again' synth -m $model --one cat:2 -o "$dir/shards"

# ---- signals and a full disk
for sig in TERM USR1 USR2 INT; do
    "$imago" synth -m $model --classes "$dir/four.txt" --recipe hypernym --per-class 2000 --steps 2 -b 2 -o "$dir/$sig" \
        2>"$dir/err" &
    pid=$!
    some() { [ "$(pictures "$sig")" -ge 2 ]; }
    wait_for some
    # a shell starts its background commands deaf to SIGINT
    if [ $sig = INT ]; then kill -TERM $pid; else kill -$sig $pid; fi
    wait $pid
    [ $? = 75 ] && grep -q '^stopped: what is drawn stays' "$dir/err" && ! started $sig
    check "SIG$sig stops it with code 75"
done
(ulimit -f 1; "$imago" synth -m $model --classes "$dir/four.txt" --recipe hypernym --per-class 6 --steps 1 \
    --scheduler ddim -q -o "$dir/full") \
    2>"$dir/err"
[ $? = 1 ] && grep -q 'cannot write' "$dir/err" && [ "$(pictures full)" = 0 ] && [ -z "$(find "$dir/full" -name '*.tmp*')" ]
check "a file that cannot be written stops the run and leaves nothing half-written"
draw full
same whole full "... and the run goes on"

# ---- --verify, --one
cp -r "$dir/whole" "$dir/spoilt"
mkdir "$dir/spoilt/.parts" && touch "$dir/spoilt/.parts/finish" "$dir/spoilt/.parts/1-of-1.elsewhere.17"   # of killed ones
gives 0 'all 24 pictures are as they were drawn' synth --verify -o "$dir/spoilt"
rm "$dir/spoilt/cat/000001.png" && printf x >>"$dir/spoilt/tree/000002.png" && touch "$dir/spoilt/cat/more.png"
gives 1 'of its 24 pictures 1 are missing and 1 were changed; 1 files are not of the set' synth --verify -o "$dir/spoilt"
grep -q '^cat/000001.png is missing$' "$dir/err" && grep -q '^tree/000002.png was changed$' "$dir/err" &&
    grep -q '^cat/more.png is not of the set$' "$dir/err"
check "--verify names what is wrong"
gives 0 'cat/000001.png: written' synth -m $model --one cat:1 -o "$dir/spoilt"
gives 1 'tree/000002.png: other bytes' synth -m $model --one tree:2 -o "$dir/spoilt"
gives 0 'tree/000002.png: written' synth -m $model --one tree:2 --force -o "$dir/spoilt"
rm "$dir/spoilt/cat/more.png"
gives 0 'St. John_x/000005.png: the same bytes again' synth -m $model --one 'St. John/x:5' -o "$dir/spoilt"
same whole spoilt "--one mends the set"
printf ' ' >>"$dir/spoilt/metadata.jsonl"
gives 1 'is not the file that manifest.json tells of' synth --verify -o "$dir/spoilt"
gives 1 'there is no class "dog"' synth -m $model --one dog:1 -o "$dir/whole"
gives 1 'pictures 0 to 5' synth -m $model --one cat:6 -o "$dir/whole"
gives 1 'wanted CLASS:INDEX' synth -m $model --one cat -o "$dir/whole"
gives 1 'holds no manifest.json' synth --verify -o "$dir"
draw single --one cat:2
cmp -s "$dir/single/cat/000002.png" "$dir/whole/cat/000002.png"
check "--one into a folder of its own"

# ---- guidance, sizes, pictures to begin from, near copies
draw sweep --guidance 0.5,3 && [ "$(pictures sweep)" = 24 ]
check "guided and unguided pictures in one set"
seed=$(sed -n 2p "$dir/sweep/metadata.jsonl" | sed 's/.*"seed":\([0-9]*\).*/\1/')
run generate -m $model -p "cat, animal" --steps 1 --scheduler ddim --guidance 0.5 -s "$seed" -q -o "$dir/unguided.png"
python3 - "$dir/unguided.png" "$dir/sweep/cat/000000.png" <<'PYTHON' 2>"$dir/err"
import sys
a, b = (open(p, "rb").read() for p in sys.argv[1:])
assert a[a.index(b"IDAT"):] == b[b.index(b"IDAT"):]
PYTHON
check "an unguided one is that of imago generate"
draw saved --save-size 32 --size 48
python3 - "$dir/saved/cat/000000.png" <<'PYTHON' 2>"$dir/err"
import struct, sys
assert struct.unpack(">II", open(sys.argv[1], "rb").read(24)[16:]) == (32, 32)
PYTHON
check "--size 48 --save-size 32: files of 32x32"
draw begun --init-data "$dir/whole" --strength 1 && [ "$(pictures begun)" = 24 ] &&
    grep -q '"strength": 1.0' "$dir/begun/manifest.json" && ! cmp -s "$dir/begun/cat/000000.png" "$dir/whole/cat/000000.png"
check "--init-data"
third() {       # three steps of ten, from pictures
    run synth -m $model --classes "$dir/four.txt" --per-class 1 --steps 10 --scheduler ddim -q --init-data "$dir/whole" \
        -o "$dir/third" "$@"
}
third --strength 0.3 && rm "$dir/third/cat/000000.png" && third && [ "$rc" = 0 ] && [ "$(pictures third)" = 4 ] &&
    grep -q '"strength": 0.3,' "$dir/third/manifest.json" &&
    sed -i 's/"strength": 0.3,/"strength": 0.300000012,/' "$dir/third/manifest.json" && third --strength .3 && [ "$rc" = 0 ]
check "--strength 0.3 goes on, also of a set of a version that wrote all digits of the float"
draw alike --dedup 64
[ "$(pictures alike)" = 4 ] && [ "$(wc -l <"$dir/alike/metadata.jsonl")" = 4 ] &&
    [ "$(wc -l <"$dir/alike/dropped.jsonl")" = 20 ] &&
    grep -q '"class":"cat","index":5,"why":"near copy","of":0,"bits":' "$dir/alike/dropped.jsonl"
check "--dedup 64: of each class the first stays"
gives 0 'all 4 pictures are as they were drawn' synth --verify -o "$dir/alike"
gives 1 'was dropped from the set' synth -m $model --one cat:3 -o "$dir/alike"
run synth -m $model -o "$dir/alike"
[ "$rc" = 0 ] && [ "$(pictures alike)" = 4 ]
check "dropped pictures are not drawn again"
draw alike2 --dedup 64 --layout shards --part 2/2 && draw alike2 --dedup 64 --layout shards --part 1/2
[ "$(tar tf "$dir/alike2/000000.tar" | wc -l)" = 8 ] && [ "$(wc -l <"$dir/alike2/metadata.jsonl")" = 4 ]
check "--dedup with shards"

# ---- JPEG, and a classifier that filters
draw jpegs --format jpeg --quality 90 -b 5
[ "$rc" = 0 ] && [ "$(find "$dir/jpegs" -name '*.jpg' | wc -l)" = 24 ] && [ "$(pictures jpegs)" = 0 ] &&
    grep -q '"quality": 90' "$dir/jpegs/manifest.json"
check "--format jpeg --quality 90"
draw jpegs2 --format jpeg --quality 90 --part 2/2 -b 1 && draw jpegs2 --format jpeg --quality 90 --part 1/2 -t 1
same jpegs jpegs2 "JPEG in parts: the same bytes"
gives 0 'all 24 pictures are as they were drawn' synth --verify -o "$dir/jpegs"
gives 0 'cat/000002.jpg: the same bytes again' synth -m $model --one cat:2 -o "$dir/jpegs"
gives 1 'quality is 90 there and 80 here' synth -m $model --quality 80 -o "$dir/jpegs"
seed=$(sed -n 6p "$dir/jpegs/metadata.jsonl" | sed 's/.*"seed":\([0-9]*\).*/\1/')
draw jshards --format jpeg --layout shards --quality 90
tar xOf "$dir/jshards/000000.tar" 000000009.jpg | cmp -s - "$dir/jpegs/cat/000002.jpg"
check "JPEG in shards"
run train resnet --data "$dir/whole" --arch resnet18 --width 8 --small-stem --size 32 --batch 8 --epochs 2 -q -t 1 \
    -o "$dir/judge"
[ "$rc" = 0 ]
check "a classifier of the set"
filter=classifier=$dir/judge:keep=.5
draw sifted --filter "$filter"
[ "$rc" = 0 ] && [ "$(pictures sifted)" = 12 ] &&
    [ "$(grep -c '"why":"filter","score":-' "$dir/sifted/dropped.jsonl")" = 12 ]
check "--filter keep=.5: half of each class stays"
run eval -m "$dir/judge" --data "$dir/whole" --json -q -t 1 -o "$dir"
before=$(sed -n 's/^ "loss": \(.*\),$/\1/p' "$dir/out")
run eval -m "$dir/judge" --data "$dir/sifted" --json -q -t 1 -o "$dir"
python3 -c 'import sys; assert float(sys.argv[1]) < float(sys.argv[2])' \
    "$(sed -n 's/^ "loss": \(.*\),$/\1/p' "$dir/out")" "$before" 2>"$dir/err"
check "what stays has the lower loss"
draw sifted2 --filter "$filter" --part 2/2 -b 3 -t 1 && draw sifted2 --filter "$filter" --part 1/2 -t 2
same sifted sifted2 "a filtered set in parts: the same bytes"
run synth -m $model -o "$dir/sifted"
[ "$rc" = 0 ] && [ "$(pictures sifted)" = 12 ]
check "a filtered set alone tells its settings"
draw late --filter "$filter" --part 2/2
gives 1 'the set was begun with a filter; name it again' synth -m $model -o "$dir/late"
grep -q 'warning: .*/late was begun with a filter' "$dir/err"
check "... which is told before anything is drawn"
run synth -m $model -o "$dir/late" --filter "$filter"
same sifted late "... and the set is finished when it is named"
draw both --filter "$filter" --dedup 12
python3 - "$dir/both" "$dir/whole" <<'PYTHON' 2>"$dir/err"
import json, math, sys
gone = [json.loads(l) for l in open(sys.argv[1] + "/dropped.jsonl")]
stay = [json.loads(l) for l in open(sys.argv[1] + "/metadata.jsonl")]
for key in ("strawberry", "cat", "tree", "St. John/x"):
    copies = sum(r["class"] == key and r["why"] == "near copy" for r in gone)
    assert sum(r["class"] == key for r in stay) == math.ceil((6 - copies) / 2), key
PYTHON
check "--dedup and --filter: half of what is left of each class"
draw fshards --filter "$filter" --layout shards --shard-size 7
[ "$rc" = 0 ] && [ "$(wc -l <"$dir/fshards/metadata.jsonl")" = 12 ]
check "--filter with shards"
cp -r "$dir/fshards" "$dir/fless" && rm "$dir/fless/000002.tar"
run synth -m $model -q -o "$dir/fless" --filter "$filter"
same fshards fless "--filter, a shard lost: the same bytes again"
gives 1 'filter is not given there' synth -m $model --filter classifier="$dir/judge":keep=1 -o "$dir/whole"
gives 1 'wanted classifier=RUN:keep=Q' synth -m $model --filter "classifier=$dir/judge" -o "$dir/none"
gives 1 'wanted classifier=RUN:keep=Q' synth -m $model --filter "classifier=$dir/judge:keep=2" -o "$dir/none"
gives 1 'has no class "thing 1"' synth -m $model --classes "$dir/twelve.txt" --per-class 1 --filter "$filter" -o "$dir/none"
[ ! -e "$dir/none" ]
check "no folder for a filter that does not fit"

# ---- what is refused
begun() {       # begun TEXT ARGUMENT...: the set was begun with other settings
    text=$1
    shift
    gives 1 "$text" synth -m $model -o "$dir/whole" "$@"
}
begun 'steps is 1 there and 3 here' --steps 3
begun 'recipe is "hypernym" there and "name" here' --recipe name
begun 'the classes are others' --classes "$dir/twelve.txt"
begun 'per_class is 6 there and 7 here' --per-class 7
begun 'guidance is "2" there and "2,3" here' --guidance 2,3
begun 'seed is 0 there and 9 here' -s 9
begun 'arithmetic is "f32 on cpu" there and "f16 on cpu' --dtype f16
gives 1 'model_hash is' synth -o "$dir/whole"
same whole killed "a refusal changes nothing"
mkdir "$dir/other" && touch "$dir/other/notes.txt"
gives 1 'holds notes.txt and no manifest.json' synth -m $model --classes "$dir/four.txt" --per-class 1 -o "$dir/other"
[ "$(find "$dir/other" -mindepth 1 | wc -l)" = 1 ]
check "nothing is put into another folder"
gives 1 'cannot make the folder' synth -m $model --classes "$dir/four.txt" --per-class 1 -o "$dir/other/notes.txt/set"
gives 1 '--save-size 65 is more than the 64 pixels' synth -m $model --classes "$dir/four.txt" --per-class 1 --save-size 65 \
    -o "$dir/new"
gives 1 'has no picture of the class "thing 1"' synth -m $model --classes "$dir/twelve.txt" --per-class 1 -o "$dir/new" \
    --init-data "$dir/whole"
[ ! -e "$dir/new" ]
check "no folder for what is refused"
gives 2 '-o SET is missing' synth -m $model --classes "$dir/four.txt" --per-class 1
gives 2 '--force needs --one' synth -m $model --classes "$dir/four.txt" --per-class 1 -f -o "$dir/new"
gives 2 'cannot be combined' synth --verify --prompts-only -o "$dir/whole"
"$imago" synth -m $model --classes "$dir/four.txt" --per-class 2000 --steps 2 -q --part 1/2 -o "$dir/live" 2>/dev/null &
pid=$!
alive() { started live; }
wait_for alive
gives 1 'shares pictures with part 1/2, which is being drawn' synth -m $model --classes "$dir/four.txt" --per-class 2000 \
    --steps 2 -q --part 1/3 -o "$dir/live"
kill -TERM $pid
wait $pid 2>/dev/null

# a model that gives no numbers
echo tree >"$dir/tree.txt"
cp -r $model "$dir/broken" && chmod -R u+w "$dir/broken"
python3 - "$dir/broken/unet" <<'PYTHON' 2>"$dir/err"
import glob, json, struct, sys
for path in glob.glob(sys.argv[1] + "/*.safetensors"):
    b = bytearray(open(path, "rb").read())
    n = struct.unpack("<Q", b[:8])[0]
    head = json.loads(b[8:8 + n])
    if "conv_out.bias" in head:
        at = 8 + n + head["conv_out.bias"]["data_offsets"][0]
        b[at:at + 4] = b"\xff\xff\xff\x7f"
    open(path, "wb").write(b)
PYTHON
gives 1 'tree/000000.png: evaluation 1 of 3' synth -m "$dir/broken" --classes "$dir/tree.txt" \
    --per-class 1 --steps 2 -o "$dir/nan"

# ---- what a power cut, a full disk or a hand takes away is drawn again
cp -r "$dir/shards" "$dir/lost"
rm "$dir/lost/000001.tar"
gives 1 '1 of the shards that it lists is not there, the first is 000001.tar' data "$dir/lost"
run data "$dir/lost/*.tar"
[ "$rc" = 0 ] && grep -q '17 pictures' "$dir/out"
check "shards by name are what they are"
run synth -m $model -t 1 -o "$dir/lost"
[ "$rc" = 0 ] && grep -q 'was finished, but lacks 7 of its pictures, which are drawn again' "$dir/err" "$dir/out"
check "a finished set without one of its shards says so"
same shards lost "... and gets it again: the same bytes"
cp -r "$dir/whole" "$dir/less"
rm "$dir/less/cat/000003.png" "$dir/less/metadata.jsonl"
: >"$dir/less/cat/000001.png"
head -c 100 "$dir/whole/cat/000002.png" >"$dir/less/cat/000002.png"
run synth -m $model -q -t 1 -o "$dir/less"
[ "$rc" = 0 ]
same whole less "a finished set without a picture and its rows, with one empty and one cut: the same bytes"
cp "$dir/less/cat/000001.png" "$dir/less/cat/000002.png" && rm "$dir/less/cat/000003.png"
gives 1 'other pictures are not what they were when it was finished' synth -m $model -q -t 1 -o "$dir/less"
gives 1 '0 are missing and 1 were changed' synth --verify -o "$dir/less"
head -c 5000 "$dir/shards/000001.tar" >"$dir/lost/000001.tar"
: >"$dir/lost/000002.tar"
run synth -m $model -q -t 1 -o "$dir/lost"
same shards lost "a finished set with a cut and an empty shard: the same bytes"
draw half --part 1/2
for f in "$dir"/half/*/*.png; do
    : >"$f"
    break
done
draw half --part 2/2 && [ ! -e "$dir/half/metadata.jsonl" ]
check "an empty picture is not there: the set is not finished"
run synth -m $model -q -t 1 -o "$dir/half"
same whole half "... until it is drawn again: the same bytes"

gives 1 'ask for a smaller size' synth -m $model --classes "$dir/four.txt" --per-class 1 --steps 1 --size 65536 -q \
    -o "$dir/huge"
[ ! -e "$dir/huge" ]
check "a set too large for the memory leaves no folder"
cp -r "$dir/alike" "$dir/unlisted" && rm "$dir/unlisted/dropped.jsonl"
gives 1 'dropped.jsonl: is missing, which says what the finished set left out' synth -m $model -q -o "$dir/unlisted"

# ---- classes of odd names; a set of which even the counting takes long
printf '%s\n' manifest.json metadata.jsonl dropped.jsonl >"$dir/files.txt"
run synth -m $model --classes "$dir/files.txt" --per-class 1 --steps 1 --scheduler ddim -q -o "$dir/files"
[ "$rc" = 0 ] && [ -s "$dir/files/_metadata.jsonl/000000.png" ] && [ -s "$dir/files/metadata.jsonl" ]
check "classes named as the files of a set (found $rc)"
"$imago" synth -m $model --classes imagenet1k --per-class 1000000 --steps 1 --scheduler ddim -q -o "$dir/vast" \
    >"$dir/out" 2>"$dir/err" &
pid=$!
sleep 2
kill -TERM $pid
n=0
while kill -0 $pid 2>/dev/null && [ $n -lt 100 ]; do
    sleep 0.1
    n=$((n + 1))
done
kill -9 $pid 2>/dev/null
wait $pid
rc=$?
[ $rc = 75 ] || [ $rc = 143 ]
check "SIGTERM while the pictures of a vast set are counted (found $rc)"

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
