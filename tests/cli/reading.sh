#!/bin/sh
# reading.sh: trace and tokenize read prompts as generate does: --prompt-syntax, --clip-skip, --embedding, --lora. Prints
# what fails and, last, "N passed, N failed, N skipped".
#
#     tests/cli/reading.sh [PROGRAM]               default: build/imago
# shellcheck disable=SC2319 # check reads $? of the condition before it
set -u
imago=${1:-build/imago}
model=tests/golden/models/a
words=tests/golden/embeddings
# shellcheck source=tests/shell.sh
. tests/shell.sh

# ---- tokenize
python3 - "$imago" $model >"$dir/rows" 2>"$dir/err" <<'PYTHON'
import gzip, json, subprocess, sys
rows = json.load(gzip.open("tests/golden/weighted.json.gz"))["rows"]
for row in rows[::3]:
    said = subprocess.run([sys.argv[1], "tokenize", "--json", "--prompt-syntax", "a1111", "-m", sys.argv[2], "--",
                           row["prompt"]], capture_output=True, check=True)
    said = json.loads(said.stdout)
    assert len(said["ids"]) == len(said["weights"]) == 77 * row["chunks"], row
    for k in range(row["chunks"]):
        ids, weights = row["ids"][k], [w for w, n in row["weights"][k] for _ in range(n)]
        own = slice(77 * k, 77 * k + len(ids))
        assert said["ids"][own] == ids and set(said["ids"][own.stop:77 * k + 77]) <= {1013}, row
        assert all(abs(a - b) < 1e-5 for a, b in zip(said["weights"][own], weights, strict=True)), row
PYTHON
check "tokenize --prompt-syntax a1111: the ids and weights of the reference"
run tokenize -m $model --prompt-syntax a1111 -- 'a (hat:1.5) BREAK x'
grep -q '^chunk 2 of 2$' "$dir/out" && grep -q 'at</w>  1.5 times$' "$dir/out"
check "tokenize: chunks and weights"
run tokenize -m $model --embedding $words -- 'a wool hat'
[ "$rc" = 0 ] && grep -q 'wool, vector 1 of 1$' "$dir/out" && ! grep -q 'ool</w>' "$dir/out"
check "tokenize --embedding: a word's vectors"
gives 1 'has no embedding for this model' tokenize -m weights/imago-small --embedding $words -- 'a wool hat'

# ---- trace
names() { python3 -c 'import json, struct, sys
data = open(sys.argv[1], "rb").read(struct.unpack("<Q", open(sys.argv[1], "rb").read(8))[0] + 8)
print("\n".join(sorted(json.loads(data[8:]))))' "$1"; }
trace() { out=$1 && shift && run trace -m $model --steps 2 -s 3 -f "$@" -o "$dir/$out"; }
trace plain -p 'a wool hat' && trace one --prompt-syntax a1111 -p 'a wool (hat:1)'
[ "$rc" = 0 ] && cmp -s "$dir/plain" "$dir/one"
check "trace --prompt-syntax a1111: a weight of 1 changes nothing"
trace heavy --prompt-syntax a1111 -p 'a wool (hat:1.5)' && ! cmp -s "$dir/plain" "$dir/heavy"
check "trace: another weight does"
trace skip --clip-skip 2 -p 'a wool hat' && names "$dir/plain" >"$dir/all" && names "$dir/skip" >"$dir/fewer"
[ "$(diff "$dir/all" "$dir/fewer")" = "$(printf '%s\n' "$(diff "$dir/all" "$dir/fewer" | head -n 1)" \
    '< text_model.encoder.layers.2')" ]
check "trace --clip-skip 2: without the last layer of the text encoder"
trace word --embedding $words -p 'a wool hat' && ! cmp -s "$dir/plain" "$dir/word"
check "trace --embedding"
trace lora --lora tests/golden/lora.safetensors:0.5 -p 'a wool hat' && ! cmp -s "$dir/plain" "$dir/lora" &&
    trace tag --lora-dir tests/golden -p '<lora:lora:0.5>a wool hat' && cmp -s "$dir/tag" "$dir/lora"
check "trace --lora, and as the prompt names it"
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
