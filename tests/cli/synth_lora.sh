#!/bin/sh
# synth_lora.sh: sets that are drawn with LoRAs, by --lora and by the captions: each picture is that of `imago generate`
# with the same adapters, whatever was drawn before, after it and beside it; rows and manifest name them by hash; with other
# adapters a set does not go on. Prints what fails and, last, "N passed, N failed, N skipped".
#
#     tests/cli/synth_lora.sh [PROGRAM]            default: build/imago
# shellcheck disable=SC2086,SC2319 # lists of options; check reads $? of the condition before it
set -u
imago=${1:-build/imago}
model=tests/golden/models/a
lora=tests/golden/lora.safetensors
# shellcheck source=tests/shell.sh
. tests/shell.sh
unset SLURM_ARRAY_TASK_ID SLURM_PROCID SLURM_NTASKS OMPI_COMM_WORLD_RANK PMI_RANK RANK WORLD_SIZE

mkdir "$dir/loras"
cp $lora "$dir/loras/style.safetensors"
python3 - $lora "$dir/loras/half.safetensors" <<'PYTHON'
import json, struct, sys
data = open(sys.argv[1], "rb").read()
n = struct.unpack("<Q", data[:8])[0]
head, body = json.loads(data[8:8 + n]), b""
head = {k: v for k, v in head.items() if not k.startswith("text_encoder.")}
for key, v in head.items():
    if key != "__metadata__":
        own = data[8 + n:][slice(*v["data_offsets"])]
        v["data_offsets"] = [len(body), len(body) + len(own)]
        body += own
text = json.dumps(head).encode()
open(sys.argv[2], "wb").write(struct.pack("<Q", len(text)) + text + body)
PYTHON
printf '%s\n' cat tree >"$dir/classes"
{
    echo '{"class": "cat", "caption": "a cat <lora:style:0.5>"}'
    echo '{"class": "cat", "caption": "a cat"}'
    echo '{"class": "tree", "caption": "a tree<lora:half><lora:style:-0.25>"}'
    echo '{"class": "tree", "caption": "a tree in spring <lora:style:0.5>"}'
} >"$dir/captions.jsonl"
steps="--steps 1 --scheduler ddim"
plan="--classes $dir/classes --recipe captions=$dir/captions.jsonl --per-class 3 --guidance 1,3"
draw() {        # draw SET ARGUMENT...
    set_=$1
    shift
    run synth -m $model $plan $steps -q --lora-dir "$dir/loras" -o "$dir/$set_" "$@"
}
same() { diff -r "$dir/$1" "$dir/$2" >"$dir/err" 2>&1; check "$3"; }

draw named -b 8
[ "$rc" = 0 ] && [ "$(find "$dir/named" -name '*.png' | wc -l)" = 6 ]
check "captions that name adapters (found $rc)"
draw ones -b 1 && same named ones "one by one: the same bytes"
draw parts -b 2 --part 2/2 && draw parts -b 3 --part 1/2 && same named parts "in two parts: the same bytes"
draw shards --layout shards --shard-size 4
draw both --lora $lora:-0.5 --lora "$dir/loras/half.safetensors"
[ "$rc" = 0 ] && ! cmp -s "$dir/named/cat/000001.png" "$dir/both/cat/000001.png"
check "--lora beside them (found $rc)"
again() {       # again SET ARGUMENT...: every picture again by `imago generate`
    python3 - "$dir/$1" "$dir/rows" <<'PYTHON'
import json, sys
for line in open(sys.argv[1] + "/metadata.jsonl"):
    row = json.loads(line)
    print(row["seed"], row["guidance"], row["file_name"], row["prompt"], sep="\t", file=open(sys.argv[2], "a"))
PYTHON
    set_=$1 n=0
    shift
    while IFS="$(printf '\t')" read -r seed guidance file prompt; do
        "$imago" generate -m $model $steps -q --lora-dir "$dir/loras" -s "$seed" -g "$guidance" -p "$prompt" -f "$@" \
            -o "$dir/again.png" </dev/null 2>"$dir/err" && same_pixels "$dir/again.png" "$dir/$set_/$file" && n=$((n + 1))
    done <"$dir/rows"
    rm "$dir/rows"
    [ $n = 6 ]
    check "$set_: the pictures of imago generate ($n of 6)"
}
again named
again both --lora $lora:-0.5 --lora "$dir/loras/half.safetensors"

python3 - "$dir" 2>"$dir/err" <<'PYTHON'
import hashlib, io, json, sys, tarfile
here = sys.argv[1]
hashes = {k: hashlib.sha256(open(f"{here}/loras/{k}.safetensors", "rb").read()).hexdigest() for k in ("style", "half")}
def one(name, weight, file=None):
    return {"name": name, "sha256": hashes[file or name], "weight": weight}
own = {"a cat <lora:style:0.5>": [one("style", 0.5)], "a cat": [],
       "a tree<lora:half><lora:style:-0.25>": [one("half", 1), one("style", -0.25)],
       "a tree in spring <lora:style:0.5>": [one("style", 0.5)]}
fixed = {"named": [], "both": [one("lora", -0.5, "style"), one("half", 1)]}
for name, always in fixed.items():
    manifest = json.load(open(f"{here}/{name}/manifest.json"))
    assert manifest["prompt_loras"] == hashes and manifest.get("loras", []) == always, manifest
    rows = [json.loads(line) for line in open(f"{here}/{name}/metadata.jsonl")]
    assert {r["prompt"] for r in rows} == set(own)
    for row in rows:
        assert row.get("loras", []) == always + own[row["prompt"]], row
rows = {json.loads(line)["file_name"] for line in open(f"{here}/shards/metadata.jsonl")}
for k in range(2):
    with tarfile.open(f"{here}/shards/{k:06}.tar") as tar:
        for member in tar.getmembers():
            if member.name.endswith(".json"):
                row = json.load(tar.extractfile(member))
                assert row.get("loras", []) == own[row["prompt"]] and row["file_name"] in rows, row
PYTHON
check "manifest and rows name the adapters by their hashes"

# ---- with other adapters a set does not go on
begun="synth -m $model --recipe captions=$dir/captions.jsonl $steps --lora-dir $dir/loras"
gives 0 'all pictures are there' $begun -o "$dir/named"
gives 1 'loras: none there and lora 0.5 times (SHA-256 ' $begun --lora $lora:0.5 -o "$dir/named"
gives 1 'loras is given there and not here' $begun -o "$dir/both"
gives 1 'loras: lora -0.5 times (SHA-256 ' $begun --lora $lora:-0.25 --lora "$dir/loras/half.safetensors" -o "$dir/both"
gives 0 'the same bytes again' $begun --one cat:0 -o "$dir/named"
cp "$dir/loras/half.safetensors" "$dir/loras/style.safetensors"
gives 1 'prompt_loras: ' $begun -o "$dir/named"
rm "$dir/loras/style.safetensors"
gives 1 'there is no LoRA "style"' $begun -o "$dir/named"
sed 's/lora:[a-z]*/lora:..\/style/' "$dir/captions.jsonl" >"$dir/bad.jsonl"
gives 1 'cannot be the name of a LoRA' synth -m $model --classes "$dir/classes" --recipe "captions=$dir/bad.jsonl" \
    --per-class 1 --lora-dir "$dir/loras" -o "$dir/x"
gives 1 'wanted a number from -100 to 100' synth -m $model $plan $steps --lora $lora:1000 -o "$dir/x"
[ ! -e "$dir/x" ]
check "nothing is begun then"
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
