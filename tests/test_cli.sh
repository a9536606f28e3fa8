#!/bin/sh
# test_cli.sh: the command imago as its users meet it: exit codes, messages, files. Prints what fails and, last,
# "N passed, N failed, N skipped".
#
#     tests/test_cli.sh [PROGRAM]          default: build/imago; runs from the root of the repository
# shellcheck disable=SC2319 # check reads $? of the condition before it, on purpose
set -u
imago=${1:-build/imago}
model=tests/golden/models/a                       # 64x64 pixels, random weights, pndm
# shellcheck source=tests/shell.sh
. tests/shell.sh

json() {        # json EXPRESSION: over d, the list of the objects on standard output
    python3 -c 'import json, sys
d = [json.loads(line) for line in open(sys.argv[1]) if line.strip()]
sys.exit(0 if eval("(" + sys.argv[2] + ")") else 1)' "$dir/out" "$1"
}
draw() { run generate -m $model -q --steps 2 "$@"; }
retell() {      # retell IN OUT KEY VALUE: the same PNG, with another text VALUE for KEY in what it says of its making
    python3 - "$@" <<'PYTHON'
import json, sys, zlib
data, at = open(sys.argv[1], "rb").read(), 8
out = data[:8]
while at < len(data):
    n, kind = int.from_bytes(data[at:at + 4], "big"), data[at + 4:at + 8]
    body = data[at + 8:at + 8 + n]
    if kind == b"tEXt" and body.startswith(b"imago\0"):
        told = json.loads(body[6:].decode("latin-1"))
        told[sys.argv[3]] = sys.argv[4]
        body = b"imago\0" + json.dumps(told).encode()
    out += len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")
    at += 12 + n
open(sys.argv[2], "wb").write(out)
PYTHON
}
stop() {        # stop ARGUMENT...: Ctrl-C once the first of 4000 pictures in $stopped is made; standard input from $typed
    : >"$dir/err"
    "$imago" generate -m $model -s 1 --steps 10 --count 4000 "$@" -o "$stopped" >"$dir/out" 2>"$dir/err" \
        <"${typed:-/dev/null}" &
    pid=$!
    tries=0
    while ! grep -q '/1.png  seed 1' "$dir/err" && [ $tries -lt 1200 ]; do sleep 0.1; tries=$((tries + 1)); done
    kill -INT $pid
    start=$(date +%s%N)
    wait $pid
    rc=$?
    ms=$((($(date +%s%N) - start) / 1000000))
}
go_on() {       # what a stopped run tells to type, for 2 pictures instead of 4000
    eval "$(sed -n 's/^to go on: imago /run /p' "$dir/err" | sed 's/--count 4000/--count 2/')"
}

# ---- how it is used
gives 0 'usage: imago VERB' --help
gives 0 'usage: imago VERB' help
gives 0 "imago $(sed -n 's/^#define IM_VERSION "\(.*\)"/\1/p' src/imago.h)" --version
for verb in generate info init-weights convert trace tokenize bench data; do
    gives 0 "usage: imago $verb" help $verb
    gives 0 "usage: imago $verb" $verb --help
    gives 2 "there is no option --nonsense" $verb --nonsense
done
gives 0 '.TH IMAGO 1' help --man
gives 2 'did you mean generate' generat
gives 2 'there is no verb' paint
run
[ "$rc" = 2 ] && [ ! -s "$dir/out" ]
check "no verb: usage on stderr and 2"
gives 2 'did you mean --steps' generate -p x --stpes 3
gives 2 'did you mean --guidance' generate -p x --guidanse=3
gives 2 '--steps is "many", wanted a whole number from 1 to 1000' generate -p x --steps many
gives 2 '--steps is "0"' generate -p x --steps 0
gives 2 '--steps is "3x"' generate -p x --steps=3x
gives 2 '--steps is given twice' generate -p x --steps 3 --steps 4
gives 2 '--steps needs a value' generate -p x --steps
gives 2 '--steps needs a value' generate -p x --steps --seed 1
gives 2 '--quiet takes no value' generate -p x --quiet=yes
gives 2 '--guidance is "nan", wanted a number' generate -p x --guidance nan
gives 2 '--seed is "-2"' generate -p x -s -2
gives 2 '-o is an option, and as a value it is written --negative=-o' generate -p x -n -o "$dir/x.png"
gives 2 '--seed is "18446744073709551616"' generate -p x -s 18446744073709551616
gives 2 '--dtype is "f64", wanted one of f32|f16|bf16' generate -p x --dtype f64
gives 2 '--device is "tpu"' generate -p x --device tpu
gives 2 'there is no option -Z' generate -p x -Z
gives 2 'what to draw is missing' generate
gives 2 'cannot be combined' generate -p x --prompts y
gives 2 'cannot be combined' generate -p x --force --skip-existing
gives 2 '--strength needs a picture' generate -p x --strength 0.5
gives 2 'one argument too many' generate -p x y
gives 2 'FILE.safetensors is missing' trace -p x
gives 2 'is missing' init-weights
gives 2 'is missing' convert $model
gives 2 'MODEL|FILE|RUN is missing' convert
gives 2 'nothing called' bench fast
gives 2 'did you mean unet' bench unte
CUDA_VISIBLE_DEVICES='' gives 1 '; use --device cpu' generate -p x --device cuda -o "$dir/a.png"
gives 2 'wanted a name ending in .png or .jpg' generate -m $model -p x -o "$dir/a.gif"
gives 2 'pictures were asked for; name a folder' generate -m $model -p x --count 2 -o "$dir/a.png"
"$imago" help >/dev/full 2>"$dir/err"
[ $? = 1 ] && grep -q 'cannot write to standard output' "$dir/err"
check "a full standard output is 1"

# ---- a picture
draw -p 'a horse' -s 42 -o "$dir/a.png"
[ "$rc" = 0 ] && [ -s "$dir/a.png" ] && ! grep -v 'left out: text_model.embeddings.position_ids$' "$dir/err"
check "generate writes a picture, and nothing on stderr with -q but what the model has too many of"
draw -p 'a horse' -s42 --out="$dir/b.png"
cmp -s "$dir/a.png" "$dir/b.png"
check "the same again, with options written otherwise"
run generate -q -p 'an apple' -s 1 --steps 1 -o "$dir/embedded.png"
[ "$rc" = 0 ] && [ -s "$dir/embedded.png" ]
check "the embedded model draws"
[ -z "$(find weights/imago-small -type f -size +16777216c)" ] &&
    [ "$(find weights/imago-small weights/runs -type f -exec cat {} + 2>/dev/null | wc -c)" -le 41943040 ]
check "the embedded model has at most 40 MiB, and no file above 16 MiB"
gives 1 'is there already; --force writes over it' generate -m $model -p 'a horse' -s 42 -o "$dir/a.png"
draw -p 'a cow' -s 42 -o "$dir/b.png" --force
[ "$rc" = 0 ] && ! cmp -s "$dir/a.png" "$dir/b.png"
check "--force writes over"
draw -p 'a horse' -s 42 -o "$dir/t1.png" -t 1 && draw -p 'a horse' -s 42 -o "$dir/t3.png" -t 3
cmp -s "$dir/t1.png" "$dir/t3.png"
check "one thread and three give the same file"
draw -p 'a horse' -s 42 -o "$dir/e.png" --eager
cmp -s "$dir/a.png" "$dir/e.png"
check "--eager gives the same file"
if [ "$(id -u)" = 0 ]; then
    skipped=$((skipped + 1))
    echo "SKIP a folder without write permission: root may write anywhere"
else
    mkdir "$dir/locked" && chmod a-w "$dir/locked"
    gives 1 'locked' generate -m $model -p x -o "$dir/locked/a.png"
fi

# ---- several
draw -p 'a horse' -s 41 --count 3 --batch 2 -o "$dir/many"
[ "$rc" = 0 ] && [ "$(ls "$dir/many")" = '41.png
42.png
43.png' ]
check "--count 3 makes 41.png 42.png 43.png in a new folder"
cmp -s "$dir/a.png" "$dir/many/42.png"
check "a picture is the same alone and in a batch"
gives 1 'and 2 more of the 3 pictures are there already' generate -m $model -p 'a horse' -s 41 --count 3 -o "$dir/many"
rm "$dir/many/42.png" && draw -p 'a horse' -s 41 --count 3 -o "$dir/many" --skip-existing
[ "$rc" = 0 ] && cmp -s "$dir/a.png" "$dir/many/42.png"
check "--skip-existing makes the missing one"
printf 'a horse\n\n{"prompt": "a horse", "seed": 42, "negative": "blue"}\r\na cow\n' >"$dir/p.txt"
run generate -m $model --steps 2 --prompts "$dir/p.txt" -s 42 --batch 3 -o "$dir/lines"
[ "$rc" = 0 ] && [ "$(ls "$dir/lines")" = '42-p1.png
42-p3.png
43.png' ] && grep -q 'shared by several prompts' "$dir/err"
check "prompts that share a seed get names of their own, and that is said"
cmp -s "$dir/a.png" "$dir/lines/42-p1.png" && ! cmp -s "$dir/lines/42-p1.png" "$dir/lines/42-p3.png"
check "prompts of a file: the same bits as alone; a negative prompt counts"
echo 'a horse' | "$imago" generate -q -m $model --steps 2 --prompts - -s 42 -o "$dir/stdin.png" \
    && cmp -s "$dir/a.png" "$dir/stdin.png"
check "--prompts - reads standard input"
printf 'a\n{"prompt": "b", "sed": 1}\n' >"$dir/bad.txt"
gives 1 'line 2: "sed" is unknown' generate -m $model --prompts "$dir/bad.txt" -o "$dir/x"
printf '{"prompt": "b"\n' >"$dir/bad.txt"
gives 1 'line 1: begins with { but is not a JSON object' generate -m $model --prompts "$dir/bad.txt" -o "$dir/x"
printf 'a\n\377\n' >"$dir/bad.txt"
gives 1 'bad.txt, line 2: byte 0 (0xff) is not UTF-8' generate -m $model --prompts "$dir/bad.txt" -o "$dir/x"
: >"$dir/bad.txt"
gives 1 'has no prompts' generate -m $model --prompts "$dir/bad.txt" -o "$dir/x"
gives 1 'No such file' generate -m $model --prompts "$dir/none.txt" -o "$dir/x"
gives 1 'the prompt: byte 1 (0xff) is not UTF-8' generate -m $model -p "$(printf 'a\377')" -o "$dir/x.png"
[ ! -e "$dir/x" ] && [ ! -e "$dir/x.png" ]
check "nothing is made of a list that is refused"

# ---- what is said
draw -p 'a horse' -s 42 --count 2 --json -o "$dir/j" && json 'len(d) == 3 and d[0]["seed"] == 42 and d[1]["seed"] == 43
    and d[0]["path"].endswith("/42.png") and d[0]["seconds"] > 0 and d[0]["scheduler"] == "pndm" and d[2]["pictures"] == 2'
check "--json: an object a picture and a summary"
run generate -m $model --steps 2 -p 'a horse' -s 42 --profile --json -o "$dir/prof.png"
[ "$rc" = 0 ] && grep -q 'GFLOP/s' "$dir/err" && json 'any("profile" in x and x["profile"]["ops"] for x in d)'
check "--profile: a table, and JSON"
cmp -s "$dir/a.png" "$dir/prof.png"
check "--profile changes no bit"
run generate -m $model --steps 2 -p "$(printf 'word %.0s' $(seq 100))" -s 1 -o "$dir/long.png"
[ "$rc" = 0 ] && grep -q 'warning: .*word' "$dir/err"
check "a prompt that is too long is cut with a warning that quotes what was cut"
draw -p 'a horse' -s 42 --count 3 -o "$dir/s" --sheet "$dir/sheet.png"
[ "$rc" = 0 ] && python3 -c 'import sys
d = open(sys.argv[1], "rb").read()
w, h = int.from_bytes(d[16:20], "big"), int.from_bytes(d[20:24], "big")
sys.exit(0 if d[:8] == b"\x89PNG\r\n\x1a\n" and w > 128 and h > 128 else 1)' "$dir/sheet.png"
check "--sheet writes a picture of all pictures"

# ---- metadata, and the picture made again
python3 - "$dir/a.png" <<'PYTHON'
import json, sys
from png_parts import texts as texts_of
texts = texts_of(sys.argv[1])
j, p = json.loads(texts["imago"]), texts["parameters"]
assert p.startswith("a horse\nSteps: 2, Sampler: PLMS, CFG scale: 7.5, Seed: 42, Size: 64x64, Model: "), p
assert j["seed"] == 42 and j["steps"] == 2 and j["prompt"] == "a horse" and len(j["model_hash"]) == 64, j
assert not any("/" in str(v) for v in j.values()), j
PYTHON
check "the PNG carries parameters and imago"
run generate -m $model --from "$dir/a.png" -o "$dir/again.png"
[ "$rc" = 0 ] && cmp -s "$dir/a.png" "$dir/again.png" && grep -q 'bit for bit' "$dir/err"
check "--from makes the same file again and says so"
draw -p 'Ein Pferd, süß, 馬' -n 'blau' -s 18446744073709551615 --guidance 7.1 --scheduler euler_a -W 72 -H 56 \
    --rng cuda --dtype bf16 -o "$dir/odd.png"
run generate -m $model --from "$dir/odd.png" -o "$dir/odd2.png"
[ "$rc" = 0 ] && cmp -s "$dir/odd.png" "$dir/odd2.png"
check "--from with every setting unusual"
draw --from "$dir/a.png" -s 43 -o "$dir/other.png"
cmp -s "$dir/other.png" "$dir/many/43.png"
check "--from with another seed"
draw -p 'a horse' -s 42 -i "$dir/b.png" --strength 0.6 -o "$dir/i2i.png"
gives 1 'was made with --init' generate -m $model --from "$dir/i2i.png" -o "$dir/i2i2.png"
draw --from "$dir/i2i.png" -i "$dir/b.png" -o "$dir/i2i2.png"
cmp -s "$dir/i2i.png" "$dir/i2i2.png"
check "--from with the picture it began from"
gives 1 'give the same with -m, or --any-model' generate -m tests/golden/models/b --from "$dir/a.png" -o "$dir/m.png"
run generate -m tests/golden/models/b --any-model --from "$dir/a.png" -o "$dir/m.png"
[ "$rc" = 0 ] && [ -s "$dir/m.png" ]
check "--any-model takes another model"
gives 1 'carries no text' generate -m $model --from tests/golden/init_64x64.png -o "$dir/n.png"
gives 1 "$dir/none.png" generate -m $model --from "$dir/none.png" -o "$dir/n.png"
retell "$dir/a.png" "$dir/told.png" dtype u8
gives 1 '"dtype" is "u8", wanted one of f32|f16|bf16' generate -m $model --from "$dir/told.png" -o "$dir/n.png"
draw --from "$dir/told.png" --dtype f32 -o "$dir/n.png"
cmp -s "$dir/a.png" "$dir/n.png"
check "--from: an option stands in for a word that is not known"
retell "$dir/a.png" "$dir/told.png" rng foo
gives 1 '"rng" is "foo", wanted one of cpu|cuda' generate -m $model --from "$dir/told.png" -o "$dir/n2.png"

# ---- latents
draw -p 'a horse' -s 42 --count 2 -o "$dir/l" --save-latents "$dir/l.safetensors"
run info "$dir/l.safetensors"
grep -q 'latents *F32 *(2, 4, 8, 8)' "$dir/out"
check "--save-latents writes (N, 4, h, w)"
draw -p 'a horse' -s 42 -o "$dir/l1.png" --latents "$dir/l.safetensors"
[ "$rc" = 1 ] && grep -q 'holds latents of 2 pictures' "$dir/err"
check "--latents of another count is refused"
draw -p 'a horse' -s 1 --count 2 -o "$dir/l2" --latents "$dir/l.safetensors" && draw --from "$dir/l2/1.png" -o "$dir/l3.png"
[ "$rc" = 1 ] && grep -q 'was made with --latents' "$dir/err"
check "--from asks for the latents"
draw --from "$dir/l2/2.png" --latents "$dir/l.safetensors" -o "$dir/l3.png"
cmp -s "$dir/l2/2.png" "$dir/l3.png"
check "--from a picture made of the second latents takes these, and says so again"
draw -p x -s 1 --count 3 -o "$dir/l5" --save-latents "$dir/l5.safetensors" &&
    draw -p x -s 1 --count 3 -o "$dir/l6" --latents "$dir/l5.safetensors"
gives 1 'began from number 3 of its file' generate -m $model --from "$dir/l6/3.png" --latents "$dir/l.safetensors" \
    -o "$dir/l7.png"
draw -p x -s 1 -W 128 --count 2 -o "$dir/l4" --latents "$dir/l.safetensors"
[ "$rc" = 1 ] && grep -q 'does not fit pictures of 128x64' "$dir/err"
check "--latents of another size is refused"

# ---- what is refused
gives 1 'nosuch' generate -p x -m "$dir/nosuch" -o "$dir/r.png"
gives 1 'multiple' generate -p x -m $model -W 65 -o "$dir/r.png"
gives 1 'memory' generate -p x -m $model -W 32768 -H 32768 -o "$dir/r.png"
gives 1 'nosuch' generate -p x -m $model --scheduler nosuch -o "$dir/r.png"
gives 1 'nosuch.png' generate -p x -m $model -i "$dir/nosuch.png" -o "$dir/r.png"
gives 1 'p.txt' generate -p x -m $model -i "$dir/p.txt" -o "$dir/r.png"
cp -r $model "$dir/broken" && chmod -R u+w "$dir/broken"
head -c 1000 $model/unet/diffusion_pytorch_model.safetensors >"$dir/broken/unet/diffusion_pytorch_model.safetensors"
gives 1 'diffusion_pytorch_model.safetensors' generate -p x -m "$dir/broken" -o "$dir/r.png"
cp $model/unet/*.safetensors "$dir/broken/unet/" && echo '{"sample_size": "big"}' >"$dir/broken/unet/config.json"
gives 1 'config.json' generate -p x -m "$dir/broken" -o "$dir/r.png"
: >"$dir/model.ckpt"
gives 1 'convert' generate -p x -m "$dir/model.ckpt" -o "$dir/r.png"
gives 2 'names the file of a picture of this run' generate -p x -m $model -o "$dir/r.png" --sheet "$dir/./r.png"
gives 2 'names the file of a picture of this run' generate -p x -m $model -o "$dir/r.png" --save-latents "$dir/r.png"
gives 2 'name the same file' generate -p x -m $model -o "$dir/r.png" --sheet "$dir/q.png" --save-latents "$dir/q.png"
timeout 60 "$imago" generate -q -p x -m $model -s 1 --count 40000 -o "$dir/r" --sheet "$dir/r.png" 2>"$dir/err"
[ $? = 1 ] && grep -q 'at most 32767 a side' "$dir/err" && [ ! -e "$dir/r" ]
check "a sheet that is too large is refused before anything is drawn"
[ ! -e "$dir/r.png" ]
check "nothing is written of what is refused"
gives 2 'many/42.png; give it' generate -p x -m $model -s 41 --count 3 -o "$dir/many" --force --sheet "$dir/many/42.png"
cmp -s "$dir/a.png" "$dir/many/42.png"
check "--force with a sheet of a picture's name keeps the picture"

# ---- Ctrl-C: stops at once, keeps what is finished, says how to go on
stopped=$dir/stop
stop -p 'a horse'
[ "$rc" = 130 ] && [ "$ms" -lt 1000 ] && grep -q '^to go on: imago generate ' "$dir/err"
check "SIGINT ends it within a second with 130 (found $rc after $ms ms)"
[ -e "$dir/stop/1.png" ] && ! find "$dir/stop" -name '*tmp*' | grep -q .
check "finished pictures stay, nothing half-written does"
count=$(find "$dir/stop" -name '*.png' | wc -l)
[ "$count" -lt 4000 ] && "$imago" generate -m $model -q --from "$dir/stop/1.png" -o "$dir/stop1.png" \
    && cmp -s "$dir/stop/1.png" "$dir/stop1.png"
check "a picture kept is a whole one"
stopped=$dir/stop2
stop -n-f -fp 'a horse'
grep -q "^to go on: imago .* -n-f -p 'a horse' .* --skip-existing$" "$dir/err" && go_on && [ "$rc" = 0 ] &&
    grep -q 'of 2 pictures were there already' "$dir/err"
check "after --force: going on leaves out -f, and not the value that looks like it"
cp "$dir/a.png" "$stopped/4000.png" && stop --force -p 'a horse'
[ "$rc" = 130 ] && grep -q '^to begin again: imago .* --force ' "$dir/err" && ! grep -q 'skip-existing' "$dir/err"
check "after --force over older pictures: all anew, as --skip-existing would keep those"
stopped=$dir/stop3
stop -p 'a horse' --save-latents "$dir/stop3.safetensors"
grep -q '^to begin again: the same command, with --force; --save-latents needs all pictures' "$dir/err"
check "after --save-latents: all anew"
printf 'a horse\n%.0s' $(seq 4000) >"$dir/horses.txt"
: >"$dir/err"
"$imago" generate -m $model --steps 10 -fs -1 --prompts "$dir/horses.txt" -o "$dir/drawn" 2>"$dir/err" &
pid=$!
tries=0
while ! grep -q 'png  seed' "$dir/err" && [ $tries -lt 1200 ]; do sleep 0.1; tries=$((tries + 1)); done
kill -INT $pid
wait $pid
went=$(sed -n 's/.*\/\([0-9]*\)\.png  seed.*/\1/p' "$dir/err" | head -n 1)
[ -n "$went" ] &&
grep -q "^to go on: imago generate -m $model --steps 10 --prompts .* --seed $went --skip-existing$" "$dir/err"
check "-s -1 draws a seed, and going on says which"
draw -p 'a horse' -s -1 -o "$dir/drawn.png" && mv "$dir/drawn.png" "$dir/drawn1.png" && draw -p 'a horse' -s -1 \
    -o "$dir/drawn.png" && ! cmp -s "$dir/drawn.png" "$dir/drawn1.png" && run generate -m $model --from "$dir/drawn.png" \
    -o "$dir/drawn3.png" && cmp -s "$dir/drawn.png" "$dir/drawn3.png"
check "-s -1: each time another seed, which the picture says"
run generate -m $model --steps 2 -p x -s -1 -o "$dir/drawn4.png"
grep -q "drawn4.png  seed $("$imago" generate -m $model -q --from "$dir/drawn4.png" -o "$dir/drawn5.png" --json | \
    sed -n '1s/.*"seed":\([0-9]*\).*/\1/p')," "$dir/err"
check "... and which is printed"
stopped=$dir/stop4
typed=$dir/typed.txt
echo 'a horse' >"$typed"
stop --prompts -
grep -q '^to go on: the same command and the same prompts, with --skip-existing$' "$dir/err"
check "after --prompts -: in words"

# ---- the other verbs
run tokenize --json -m $model -- 'a horse'
[ "$rc" = 0 ] && json 'len(d[0]["ids"]) == 77 and len(d[0]["pieces"]) == 77 and sorted(d[0]) == ["ids", "pieces"]'
check "tokenize --json with a folder"
run tokenize --json -- 'a photograph of an astronaut riding a horse'
[ "$rc" = 0 ] && json 'd[0]["ids"][:10] == [49406, 320, 8853, 539, 550, 18376, 6765, 320, 4558, 49407]
    and d[0]["pieces"][8] == "horse</w>"'
check "tokenize with the built-in vocabulary"
mkdir "$dir/tok" && cp -r $model/tokenizer "$dir/tok/" && run tokenize -m "$dir/tok" -- 'a horse'
[ "$rc" = 0 ] && grep -q '^ *[0-9]' "$dir/out"
check "tokenize with a folder that holds only tokenizer/"
rm -r "$dir/tok/tokenizer" && cp -r "${model%/*}/b_resaved/tokenizer" "$dir/tok/" && run tokenize -m "$dir/tok" -- 'a horse'
check "tokenize with a folder that holds only tokenizer.json"
gives 1 'found no vocab.json' tokenize -m "$dir/j" -- x
gives 0 'steps</w>' tokenize -- --steps
gives 1 'UTF-8' tokenize -- "$(printf '\377')"
gives 0 'unet' info $model
gives 0 'mid_block.attentions.0' info $model
run info --json $model
[ "$rc" = 0 ] && python3 -c 'import json, sys
d = json.load(open(sys.argv[1]))
assert [n["name"] for n in d["networks"]] == ["text_encoder", "unet", "vae_decoder", "vae_encoder"], d["networks"]
assert all(n["parameters"] > 0 and n["flop"] > 0 and n["ops"] > 0 for n in d["networks"])
assert len(d["files"]) == 3' "$dir/out"
check "info --json"
gives 0 'instruction set' info --device cpu
gives 0 'groupnorm' info --ops
gives 1 'p.txt' info "$dir/p.txt"
run trace -m $model -p 'a horse' -o "$dir/trace.safetensors" && run info "$dir/trace.safetensors"
[ "$rc" = 0 ] && grep -q 'down_blocks.0' "$dir/out"
check "trace writes tensors named as in diffusers"
gives 1 'exists already' trace -m $model -p x -o "$dir/trace.safetensors"
run init-weights --like $model -s 1 -o "$dir/init" \
    && "$imago" generate -q -m "$dir/init" -p x -s 1 --steps 2 -o "$dir/init.png"
check "init-weights makes a model that draws"
run init-weights --like $model -s 1 -o "$dir/init2"
diff -r "$dir/init" "$dir/init2" >/dev/null
check "init-weights: the same seed, the same bytes"
gives 1 'already' init-weights --like $model -s 1 -o "$dir/init2"
gives 1 'nosuch' init-weights --like "$dir/nosuch" -o "$dir/init3"
[ ! -e "$dir/init3" ]
check "init-weights leaves nothing when it fails"
run convert $model -o "$dir/one.safetensors" && run info "$dir/one.safetensors"
[ "$rc" = 0 ] && grep -q 'model.diffusion_model.' "$dir/out" && grep -q '^vae_decoder' "$dir/out"
check "convert to a single file of the original layout"
run convert $model -o "$dir/half" --dtype f16 && run info "$dir/half"
[ "$rc" = 0 ] && grep -q ' F16 ' "$dir/out" && "$imago" generate -q -m "$dir/half" -p x -s 1 --steps 2 -o "$dir/half.png"
check "convert to f16 gives a model that draws"
gives 1 'already' convert $model -o "$dir/half"
run convert $model -o "$dir/parts" --max-file 200K
[ "$rc" = 0 ] && [ -s "$dir/parts/unet/diffusion_pytorch_model-00002-of-00005.safetensors" ] \
    && "$imago" generate -q -m "$dir/parts" -p x -s 1 --steps 2 -o "$dir/parts.png" \
    && "$imago" generate -q -m $model -p x -s 1 --steps 2 -o "$dir/whole.png" \
    && same_pixels "$dir/parts.png" "$dir/whole.png"
check "convert --max-file splits a network, and the model draws the same"
gives 2 '--max-file is "16X", wanted a number of bytes' convert $model -o "$dir/x" --max-file 16X
gives 2 '--max-file is "17179869184G"' convert $model -o "$dir/x" --max-file 17179869184G
gives 1 'cannot be split' convert $model -o "$dir/x.safetensors" --max-file 16M
for what in clip unet vae generate; do
    run bench $what -m $model --rounds 1 --steps 1 --dtype f32 --json --csv "$dir/rows.csv"
    [ "$rc" = 0 ] && json 'd[0]["ms"] > 0 and d[0]["ms_min"] > 0 and d[0]["gflops"] > 0 and d[0]["threads"] > 0
        and d[0]["dtype"] == "f32" and all(k in d[0] for k in ("bench", "percent_of_peak", "isa", "cpu", "commit"))'
    check "bench $what"
done
run bench generate -m $model --rounds 1 --steps 1 --dtype int8 --batch 2 --count 3 -t 2 --json
[ "$rc" = 0 ] && json 'd[0]["pictures"] == 3 and d[0]["shape"].startswith("3 pictures, 2 at once, 1 steps") and
    abs(d[0]["pictures_per_hour"] * d[0]["ms"] / 3.6e6 - 3) < 1e-6 and abs(d[0]["core_seconds"] - d[0]["ms"] / 1500) < 1e-6'
check "bench generate --batch --count: pictures per hour, core-seconds"
[ "$(wc -l <"$dir/rows.csv")" = 7 ] && head -n 1 "$dir/rows.csv" | grep -q '^commit,cpu,isa'
check "bench --csv: a header and a row each, and two of the start"
echo 'x,y' >"$dir/other.csv"
gives 1 'its first line is not' bench clip -m $model --rounds 1 --csv "$dir/other.csv"

# ---- what a network is fed
mkdir -p "$dir/set/a" "$dir/set/b" "$dir/list"
for name in a/1 a/2 b/1 b/2; do cp tests/golden/init_83x70.png "$dir/set/$name.png"; done
cp tests/golden/photo.jpg "$dir/set/b/3.jpg"
: >"$dir/set/a/empty.jpg"
head -c 200 tests/golden/photo.jpg >"$dir/set/a/cut.jpg"
fed() { run data "$dir/set" --augment dino --size 32 -n 6 -s 4 --epoch 2 --force "$@"; }
fed -o "$dir/fed.png" --json "$dir/fed1.json" --dump "$dir/fed1.safetensors" --decoders 1
[ "$rc" = 0 ] && grep -q 'class folders, 6 pictures' "$dir/out" &&
    grep -q 'classes: 2, of 3 to 3 pictures: a .. b' "$dir/out" && grep -q '^broken: 2$' "$dir/out" &&
    grep -q 'a/empty.jpg: has 0 bytes' "$dir/out" && [ -s "$dir/fed.png" ]
check "data: a summary and a sheet"
fed --json "$dir/fed3.json" --dump "$dir/fed3.safetensors" --decoders 3
cmp -s "$dir/fed1.json" "$dir/fed3.json" && cmp -s "$dir/fed1.safetensors" "$dir/fed3.safetensors"
check "data: the same for 1 and 3 threads"
python3 - "$dir/fed1.json" "$dir/fed1.safetensors" <<'PYTHON'
import json, struct, sys
d, f = json.load(open(sys.argv[1])), open(sys.argv[2], "rb").read()
n = struct.unpack("<Q", f[:8])[0]
head, body = json.loads(f[8:8 + n]), f[8 + n:]
p = d["pictures"]
assert len(p) == 6 and sorted(x["meant"] for x in p) == list(range(6)) and d["classes"] == ["a", "b"]
assert [x["file"] for x in d["broken"]] == ["a/empty.jpg", "a/cut.jpg"] and sum(x["index"] != x["meant"] for x in p) == 1
assert all(len(x["crops"]) == 9 and x["class"] == x["file"][0] == "ab"[x["label"]] for x in p)
assert head["crop0"]["shape"] == [6, 32, 32, 3] and head["crop8"]["shape"] == [6, 13, 13, 3] and "crop9" not in head
a, b = head["labels"]["data_offsets"]
assert list(struct.unpack("<6i", body[a:b])) == [x["label"] for x in p]
PYTHON
check "data: JSON and tensors agree"
fed --strict
[ "$rc" = 1 ] && grep -q 'a/empty.jpg' "$dir/err"
check "data --strict"
gives 1 'exists already' data "$dir/set" -o "$dir/fed.png"
gives 1 'holds no pictures' data "$dir/list"
gives 1 'nosuch' data "$dir/nosuch"
gives 2 '--augment dino' data "$dir/set" --locals 3
printf 'b\r\nz\r\n' >"$dir/classes"
gives 1 '1 of the 2 classes' data "$dir/set" --classes "$dir/classes"
printf 'b\r\n' >"$dir/classes"
gives 0 'classes: 1, of 3 to 3 pictures: b' data "$dir/set" --classes "$dir/classes"
(cd "$dir/set" && tar cf "$dir/set.tar" a b)
gives 0 'tar shards, 6 pictures' data "$dir/set.tar"

# ---- weights/fetch.sh, from a site that knows no rest of a complete file
mkdir -p "$dir/fetch/bin" "$dir/fetch/to"
cp weights/fetch.sh "$dir/fetch/" && echo big.safetensors >"$dir/fetch/sd-v1-4.manifest"
cat >"$dir/fetch/bin/curl" <<'SH'
#!/bin/sh
case $* in
*/raw/*) printf 'oid sha256:%s\nsize 9\n' "$SUM" ;;
*) echo 'curl: (22) The requested URL returned error: 416' >&2; exit 22 ;;
esac
SH
chmod +x "$dir/fetch/bin/curl"
fetch() {       # fetch BYTES: with BYTES in what an earlier run left
    printf %s "$1" >"$dir/fetch/to/big.safetensors.part"
    SUM=$(printf 123456789 | sha256sum | cut -d ' ' -f 1) PATH="$dir/fetch/bin:$PATH" "$dir/fetch/fetch.sh" \
        "$dir/fetch/to" >"$dir/out" 2>"$dir/err"
}
! fetch 1234567890 && grep -q 'has 10 bytes, wanted 9 at most, so it is not that file; remove it' "$dir/err"
check "fetch.sh: a part that is too long"
! fetch 12345678 && grep -q 'cannot be fetched from' "$dir/err"
check "fetch.sh: curl's failure is explained"
fetch 123456789 && [ "$(cat "$dir/fetch/to/big.safetensors")" = 123456789 ] && grep -q '^complete: ' "$dir/out"
check "fetch.sh: a part that is complete is checked and renamed"

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
