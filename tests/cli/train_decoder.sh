#!/bin/sh
# train_decoder.sh: `imago train decoder`: a run left alone, one that was stopped, and one with other threads that
# computes blocks again write the same tiny VAE; it comes nearer to the large one; `generate --vae` takes it, and so does
# diffusers, to the same picture (skipped where there is no diffusers: IMAGO_GOLDEN names a Python that has it); `convert`
# makes it half as large; what does not go together is refused by name. Prints what fails and, last, "N passed, N failed, N
# skipped".
#
#     tests/cli/train_decoder.sh [PROGRAM]         default: build/imago
# shellcheck disable=SC2086,SC2319 # lists of options; check reads $? of the condition before it
set -u
imago=${1:-build/imago}
model=tests/golden/models/a
file=vae/diffusion_pytorch_model.safetensors
# shellcheck source=tests/shell.sh
. tests/shell.sh

python3 - "$dir" <<'PYTHON'
import os, sys
sys.path.insert(0, "tests")
from stripes import png
for n in range(12):
    folder = f"{sys.argv[1]}/{'held' if n < 4 else 'set'}/a"
    os.makedirs(folder, exist_ok=True)
    png(f"{folder}/{n:02}.png", n, 64)
PYTHON
check "drawing pictures"
base="train decoder --data $dir/set --vae $model --size 64 --batch 2 --ema 0.5 --seed 3 -q"
tiny="$base --width 8 --blocks 1 --val $dir/held --steps 12 --checkpoint-every 4 --lr 3e-3"

run $tiny -t 1 -o "$dir/whole"
[ "$rc" = 0 ] && [ -s "$dir/whole/$file" ] && [ ! -e "$dir/whole/model.safetensors" ]
check "a run ends with a tiny VAE (found $rc)"
python3 - "$dir/whole" <<'PYTHON'
import json, struct, sys
rows = [json.loads(line) for line in open(sys.argv[1] + "/log.jsonl")]
psnr = [row["val_psnr"] for row in rows if "val_psnr" in row]
assert len(rows) == 12 and len(psnr) == 3 and psnr[-1] > psnr[0] + 0.5, psnr
assert rows[-1]["loss"] < rows[0]["loss"] / 1.5, rows
config = json.load(open(sys.argv[1] + "/vae/config.json"))
theirs = json.load(open("tests/golden/tiny_vae/config.json"))
assert sorted(config) == sorted(theirs) and all(type(config[k]) is type(theirs[k]) for k in theirs), config
assert config["num_decoder_blocks"] == [1, 1, 1, 1] and config["decoder_block_out_channels"] == [8] * 4, config
data = open(sys.argv[1] + "/vae/diffusion_pytorch_model.safetensors", "rb").read()
names = json.loads(data[8:8 + struct.unpack("<Q", data[:8])[0]])
assert "decoder.layers.0.weight" in names and "encoder.layers.0.weight" in names
PYTHON
check "the loss falls, PSNR rises, config.json is diffusers'"
same() { [ "$rc" = 0 ] && cmp -s "$dir/whole/$file" "$dir/$1/$file"; check "$2: the same bits (found $rc)"; }
run $tiny -t 2 --workers 1 --recompute -o "$dir/other"
same other "two threads and --recompute"
cp -r "$dir/whole" "$dir/cut"
rm -r "$dir/cut/vae" "$dir"/cut/checkpoints/step-00000008.safetensors "$dir"/cut/checkpoints/step-00000012.safetensors
run train decoder --resume -q -t 1 -o "$dir/cut"
same cut "going on from step 4"
cp -r $model "$dir/changed"
python3 - "$dir/changed/vae" <<'PYTHON'
import glob, sys
path = glob.glob(sys.argv[1] + "/*.safetensors")[0]
data = bytearray(open(path, "rb").read())
data[-2] ^= 1
open(path, "wb").write(data)
PYTHON
gives 1 'its autoencoder had other weights' train decoder --resume -q --vae "$dir/changed" -o "$dir/cut"
gives 1 '--width is 8 there and 16 here' train decoder --resume -q --width 16 -o "$dir/cut"
run $base --width 4 --blocks 2 --steps 2 --target picture --accumulate 2 --dtype bf16 -o "$dir/picture"
[ "$rc" = 0 ] && grep -q '"target": "picture"' "$dir/picture/config.json"
check "the picture as what is to be decoded; parts, bf16"

# ---- on from a tiny VAE
run $base --init "$dir/whole/vae" --steps 1 -o "$dir/on"
[ "$rc" = 0 ] && grep -q '"width": 8' "$dir/on/config.json" && ! cmp -s "$dir/whole/$file" "$dir/on/$file"
check "--init trains a tiny VAE on, in its own shape"
gives 1 'its width is 8, and --width is 16; leave that out' $base --init "$dir/whole/vae" --width 16 -o "$dir/x"
gives 1 'scaling_factor is 0.75; wanted 1' $base --init tests/golden/tiny_vae -o "$dir/x"
gives 1 'is an AutoencoderKL; wanted a tiny VAE' $base --init $model -o "$dir/x"
gives 1 'wanted 4 and 8, as ' $base --init weights/imago-small/tiny -o "$dir/x"

# ---- what it draws
draw() { run generate --steps 4 -p 'stripes 1, drawing' -s 3 -W 64 -H 64 -q -f "$@"; }
draw -m $model -o "$dir/plain.png"
draw -m $model --vae "$dir/whole/vae" -o "$dir/tiny.png"
[ "$rc" = 0 ] && ! same_pixels "$dir/plain.png" "$dir/tiny.png"
check "generate --vae takes it"
cp -r $model "$dir/own" && cp -r "$dir/whole/vae" "$dir/own/tiny"
draw -m "$dir/own" --vae tiny -o "$dir/named.png"
[ "$rc" = 0 ] && same_pixels "$dir/named.png" "$dir/tiny.png"
check "--vae tiny: the one in the model's folder"
gives 0 'the same picture as ' generate --from "$dir/named.png" -m "$dir/own" --vae tiny -o "$dir/again.png"
gives 1 'this model has no tiny VAE of its own' generate -m $model --vae tiny -p a -o "$dir/x.png"
run convert "$dir/whole/vae" -o "$dir/half" --dtype f16
[ "$rc" = 0 ] && cmp -s "$dir/whole/vae/config.json" "$dir/half/config.json" &&
    python3 - "$dir/whole/$file" "$dir/half/diffusion_pytorch_model.safetensors" <<'PYTHON'
import json, struct, sys
def tensors(path):
    data = open(path, "rb").read()
    n = struct.unpack("<Q", data[:8])[0]
    return {k: (v["dtype"], data[8 + n + v["data_offsets"][0]:8 + n + v["data_offsets"][1]])
            for k, v in json.loads(data[8:8 + n]).items() if k != "__metadata__"}
whole, half = tensors(sys.argv[1]), tensors(sys.argv[2])
assert sorted(whole) == sorted(half)
for name, (dtype, values) in half.items():
    assert dtype == "F16" and whole[name][0] == "F32"
    n = len(values) // 2
    assert values == struct.pack(f"<{n}e", *struct.unpack(f"<{n}f", whole[name][1])), name
PYTHON
check "convert writes it in f16, rounded as Python rounds"
draw -m $model --vae "$dir/half" -o "$dir/half.png"
[ "$rc" = 0 ]
check "and generate --vae takes that"
gives 1 'wanted --dtype f32, f16 or bf16' convert "$dir/whole/vae" -o "$dir/x"
run convert $model/vae -o "$dir/kl" --dtype f16 && draw -m $model --vae "$dir/kl" -o "$dir/kl.png"
[ "$rc" = 0 ]
check "convert takes an AutoencoderKL by itself"
python=${IMAGO_GOLDEN:-python3}
if PYTHONPATH=tests/golden "$python" -c 'import diffusers, torch' 2>/dev/null; then
    PYTHONPATH=tests/golden "$python" tests/drawn_as_diffusers.py vae $model \
        "$dir/whole/vae" "$dir/tiny.png" "$dir/plain.png" 2>"$dir/err"
    check "AutoencoderTiny.from_pretrained of diffusers takes it, and draws the same picture"
else
    skipped=$((skipped + 1))
    echo "SKIP diffusers loads the tiny VAE: there is no diffusers here (IMAGO_GOLDEN names a Python that has it)"
fi

# ---- what does not go together
gives 2 '--vae FOLDER is missing: a model, or a VAE, to learn from' train decoder --data "$dir/set" -o "$dir/x"
gives 2 'wanted one of decoded|picture' $base --target latents -o "$dir/x"
gives 1 'is a tiny VAE itself (AutoencoderTiny)' train decoder --data "$dir/set" --vae tests/golden/tiny_vae \
    --size 64 -o "$dir/x"
gives 1 'pictures of 60 pixels do not fit an autoencoder that shrinks by 8' train decoder --data "$dir/set" \
    --vae $model --size 60 -o "$dir/x"
gives 1 "$dir/absent" train decoder --data "$dir/set" --vae "$dir/absent" -o "$dir/x"
[ ! -e "$dir/x" ]
check "nothing is begun then"
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
