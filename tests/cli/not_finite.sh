#!/bin/sh
# not_finite.sh: pictures that cannot be right are not written: the others of a run are, and the exit code is 1.
#
#     tests/cli/not_finite.sh [PROGRAM]          default: build/imago; runs from the root of the repository
set -u
imago=${1:-build/imago}
model=tests/golden/models/a
# shellcheck source=tests/shell.sh
. tests/shell.sh

poke() {        # poke FILE TENSOR BYTE HEX: two bytes of a tensor of 16 bits
    python3 - "$@" <<'PYTHON'
import json, struct, sys
file, tensor, at, value = sys.argv[1:]
data = bytearray(open(file, "rb").read())
n = struct.unpack("<Q", data[:8])[0]
start = 8 + n + json.loads(data[8:8 + n])[tensor]["data_offsets"][0] + int(at)
data[start:start + 2] = bytes.fromhex(value)
open(file, "wb").write(data)
PYTHON
}
damaged() {     # damaged NAME: a copy of the model that may be written to
    cp -r $model "$dir/$1" && chmod -R u+w "$dir/$1"
}

# ---- one token's embedding: the pictures of other prompts come out
damaged text
id=$("$imago" tokenize --json -m $model -- horse | python3 -c 'import json, sys; print(json.load(sys.stdin)["ids"][1])')
poke "$dir/text/text_encoder/model.safetensors" text_model.embeddings.token_embedding.weight $((2 * 48 * id)) 007c
printf 'castle\nhorse\na tree\n' >"$dir/prompts"
run generate -t 1 -m "$dir/text" --prompts "$dir/prompts" -s 1 --steps 1 --batch 3 --json -o "$dir/set" \
    --sheet "$dir/sheet.png"
[ "$rc" = 1 ] && [ "$(ls "$dir/set")" = '1.png
3.png' ] && [ ! -e "$dir/sheet.png" ]
check "of a batch with one bad prompt the others are written, and the exit code is 1"
grep -q 'set/2.png: before the first of .* the text encoder gave .* text_encoder text_model.embeddings.token_embedding' \
    "$dir/err" && grep -q '1 of 3 pictures did not come out and were not written, nor was the sheet' "$dir/err"
check "the picture, the network and the layer are named"
python3 - "$dir/out" <<'PYTHON'
import json, sys
d = [json.loads(line) for line in open(sys.argv[1])]
errors = [x["error"] for x in d[:3] if "error" in x]
assert len(d) == 4 and len(errors) == 1 and "the text encoder" in errors[0], d
assert [x["prompt"] for x in d[:3] if "error" in x] == ["horse"], d
assert d[3]["pictures"] == 2 and d[3]["failed"] == 1 and d[3]["wanted"] == 3, d[3]
PYTHON
check "--json says which, and why"
run generate -t 1 -m $model -q -p castle -s 1 --steps 1 -o "$dir/alone.png"
"$imago" generate -t 1 -m $model -q --any-model --from "$dir/set/1.png" -o "$dir/again.png" >/dev/null 2>"$dir/err"
cmp -s "$dir/alone.png" "$dir/again.png"
check "the others have the bits of pictures of the whole model"

# ---- each network: nothing is written, and a file that was there stays
echo kept >"$dir/old.png"
fails_in() {    # fails_in NAME FILE TENSOR TEXT ARGUMENT...
    damaged "$1"
    poke "$dir/$1/$2" "$3" 0 007e
    name=$1 text=$4
    shift 4
    gives 1 "$text" generate -t 1 -m "$dir/$name" -p castle -s 1 --steps 1 -f -o "$dir/old.png" "$@"
}
fails_in unet unet/diffusion_pytorch_model.safetensors down_blocks.0.resnets.1.conv1.weight \
    'the first of them come from unet down_blocks.0.resnets.1.conv1 (conv2d)'
fails_in decoder vae/diffusion_pytorch_model.safetensors decoder.conv_out.bias 'vae_decoder decoder.conv_out (conv2d)'
fails_in encoder vae/diffusion_pytorch_model.safetensors encoder.conv_in.bias 'vae_encoder encoder.conv_in (conv2d)' \
    -i tests/golden/init_64x64.png --strength 1
[ "$(cat "$dir/old.png")" = kept ]
check "a file that was there survives"
run generate -t 1 -m $model -q -p castle -s 1 --steps 1 -o "$dir/good.png"
gives 1 'unet down_blocks.0.resnets.1.conv1' generate -t 1 -m "$dir/unet" --any-model --from "$dir/good.png" \
    -o "$dir/new.png"
run trace -t 1 -m "$dir/unet" -p castle --steps 1 -o "$dir/trace.safetensors"
[ "$rc" = 0 ] && [ -s "$dir/trace.safetensors" ] && [ ! -e "$dir/new.png" ]
check "imago trace, which the error names, writes what every layer gives"

# ---- UniPC without lower_order_final: infinite in diffusers as well
damaged unipc
python3 - "$dir/unipc/scheduler/scheduler_config.json" <<'PYTHON'
import json, sys
j = json.load(open(sys.argv[1]))
j.update(lower_order_final=False)
json.dump(j, open(sys.argv[1], "w"))
PYTHON
gives 1 'evaluation 3 of 3' generate -t 1 -m "$dir/unipc" -p castle -s 1 --steps 3 --scheduler unipc \
    -o "$dir/unipc.png"
grep -q 'the scheduler unipc (UniPCMultistepScheduler, .* lower_order_final false, final_sigmas_type zero' "$dir/err" &&
    [ ! -e "$dir/unipc.png" ]
check "the scheduler and its settings are named, and nothing is written"

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
