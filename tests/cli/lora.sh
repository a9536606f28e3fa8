#!/bin/sh
# lora.sh: --lora, and LoRAs that prompts name: the layouts that other programs write give the same picture to the byte but
# for the file's hash; what is no LoRA of this model is refused. Prints what fails and, last, "N passed, N failed, N
# skipped".
#
#     tests/cli/lora.sh [PROGRAM]                  default: build/imago
# shellcheck disable=SC2319 # check reads $? of the condition before it
set -u
imago=${1:-build/imago}
model=tests/golden/models/a
lora=tests/golden/lora.safetensors
# shellcheck source=tests/shell.sh
. tests/shell.sh
draw() { run generate -m $model --steps 2 -p castle -s 3 -q -f "$@"; }

python3 - $lora "$dir" <<'PYTHON'
import json, os, struct, sys
sys.path.insert(0, "tests")
import st_file
tensors, meta = st_file.read(sys.argv[1])
meta = json.loads(meta["lora_adapter_metadata"])

def write(name, tensors, metadata=None):
    st_file.write(os.path.join(sys.argv[2], name), tensors, metadata)

def alpha(key):
    return meta[("unet." if key.startswith("unet.") else "text_encoder.") + "lora_alpha"]

kohya, old = {}, {}
for k, t in tensors.items():
    part, rest = k.split(".", 1)
    module, role = rest.rsplit(".lora_", 1)
    side = "down" if role.startswith("A") else "up"
    base = ("lora_unet_" if part == "unet" else "lora_te_text_model_") + module.replace(".", "_")
    kohya[f"{base}.lora_{side}.weight"] = t
    kohya[f"{base}.alpha"] = ("F32", [], struct.pack("<f", alpha(k)))
    if ".attn" in module:                   # the oldest layout of diffusers had the attention only
        head, name = module.rsplit(".", 2 if module.endswith(".0") else 1)[:2]
        old[f"{part}.{head}.processor.{name}_lora.{side}.weight"] = t
write("kohya.safetensors", kohya)
write("old.safetensors", old)
write("new.safetensors", {k: t for k, t in tensors.items() if ".attn" in k})
unet = {k: t for k, t in tensors.items() if k.startswith("unet.")}
write("unet.safetensors", unet, {"lora_adapter_metadata": json.dumps(meta)})
write("peft/adapter_model.safetensors", {k.replace("unet.", "base_model.model.", 1): t for k, t in unet.items()})
json.dump({"peft_type": "LORA", "r": 2, "lora_alpha": 3, "alpha_pattern": {}, "use_rslora": False},
          open(os.path.join(sys.argv[2], "peft/adapter_config.json"), "w"))
first = next(iter(unet))
write("dora.safetensors", unet | {first.replace("lora_A.weight", "lora_magnitude_vector"): ("F16", [1], b"\0\0")})
write("half.safetensors", {first: unet[first]})
write("xl.safetensors", {k.replace("attentions.0", "attentions.9"): t for k, t in unet.items() if "attentions.0" in k})
write("some.safetensors", unet | {"unet.nowhere.lora_A.weight": ("F16", [1, 1], b"\0\0"),
                                  "unet.nowhere.lora_B.weight": ("F16", [1, 1], b"\0\0")})
up = first.replace("lora_A", "lora_B")
write("shape.safetensors", {first: unet[first], up: ("F16", [1, 2], b"\0\0\0\0")})
PYTHON
check "the files"

draw -o "$dir/plain.png"
draw --lora $lora -o "$dir/lora.png"
[ "$rc" = 0 ] && ! same_pixels "$dir/plain.png" "$dir/lora.png"
check "a LoRA changes the picture"
draw --lora "$dir/kohya.safetensors" -o "$dir/kohya.png"
same_pixels "$dir/lora.png" "$dir/kohya.png"
check "kohya's names and alphas: the same picture"
draw --lora "$dir/unet.safetensors" -o "$dir/unet.png" && draw --lora "$dir/peft" -o "$dir/peft.png"
same_pixels "$dir/unet.png" "$dir/peft.png" && ! same_pixels "$dir/unet.png" "$dir/lora.png"
check "PEFT's folder with adapter_config.json: the same picture as diffusers' file of the UNet"
draw --lora "$dir/new.safetensors" -o "$dir/new.png" && draw --lora "$dir/old.safetensors" -o "$dir/old.png"
same_pixels "$dir/new.png" "$dir/old.png"
check "the processors of older diffusers: the same picture; without alpha both have that of their rank"
draw --lora $lora:0 -o "$dir/zero.png"
same_pixels "$dir/plain.png" "$dir/zero.png"
check "weight 0 changes nothing"
draw --lora $lora:0.5 --lora "$dir/unet.safetensors:-1" -o "$dir/two.png"
[ "$rc" = 0 ] && ! same_pixels "$dir/two.png" "$dir/lora.png"
check "two of them"

gives 0 'the same picture as ' generate -m $model --from "$dir/two.png" --lora $lora:0.5 \
    --lora "$dir/unet.safetensors:-1" -o "$dir/again.png"
gives 1 'was made with the LoRA lora (SHA-256 ' generate -m $model --from "$dir/lora.png" -o "$dir/no.png"
gives 1 'times; give the same with --lora' generate -m $model --from "$dir/lora.png" --lora $lora:0.5 -o "$dir/no.png"
gives 0 'was made without --lora: the pixels will differ' generate -m $model --from "$dir/plain.png" --lora $lora \
    -o "$dir/other.png"
mkdir "$dir/set" && cp "$dir/lora.png" "$dir/set/3.png"
gives 1 'its list of LoRAs is ' generate -m $model --steps 2 -p castle -s 3 --skip-existing -o "$dir/set/"
grep -aq 'castle <lora:lora:1>' "$dir/lora.png"
check "the text for other programs names it as they do"

gives 1 'is a DoRA (it has ' generate -m $model -p a --lora "$dir/dora.safetensors" -o "$dir/no.png"
gives 1 'has only lora_A of ' generate -m $model -p a --lora "$dir/half.safetensors" -o "$dir/no.png"
gives 1 'is a LoRA of another kind of model' generate -m $model -p a --lora "$dir/xl.safetensors" -o "$dir/no.png"
gives 1 'is it of another kind of model?' generate -m $model -p a --lora "$dir/shape.safetensors" -o "$dir/no.png"
gives 0 '1 tensor that no network asks for is left out: unet.nowhere.lora_A.weight' generate -m $model -p a --steps 1 \
    --lora "$dir/some.safetensors" -o "$dir/some.png"
gives 1 'absent.safetensors' generate -m $model -p a --lora "$dir/absent.safetensors:0.5" -o "$dir/no.png"
gives 1 'pickle' generate -m $model -p a --lora "$dir/a.pt" -o "$dir/no.png"
gives 1 'wanted a number from -100 to 100' generate -m $model -p a --lora $lora:1000 -o "$dir/no.png"
gives 1 'has no pytorch_lora_weights.safetensors' generate -m $model -p a --lora "$dir/set" -o "$dir/no.png"
[ ! -e "$dir/no.png" ]
check "nothing is drawn then"

# ---- LCM-LoRA and Hyper-SD: kohya's names, an adapter at every layer of the UNet but the first and the last, alphas; and
# the same in diffusers' older and newer names
python3 - $model/unet/diffusion_pytorch_model.safetensors "$dir" <<'PYTHON'
import json, math, random, re, struct, sys
data = open(sys.argv[1], "rb").read(1 << 20)
n = struct.unpack("<Q", data[:8])[0]
layers = re.compile(r"(to_[qkv]|to_out\.0|proj_in|proj_out|ff\.net\.0\.proj|ff\.net\.2|conv1|conv2|conv_shortcut|conv|"
                    r"time_emb_proj)\.weight$")
stream, rank, files = random.Random(5), 2, {"kohya": {}, "peft": {}, "old": {}}
for name, entry in sorted(json.loads(data[8:8 + n]).items()):
    if name == "__metadata__" or not layers.search(name):
        continue
    shape, module = entry["shape"], name[:-len(".weight")]
    down, up = [rank] + shape[1:], [shape[0], rank] + [1] * (len(shape) - 2)
    values = [(s, struct.pack(f"<{math.prod(s)}f", *(stream.gauss(0, 0.05) for _ in range(math.prod(s)))))
              for s in (down, up)]
    base = "lora_unet_" + module.replace(".", "_")
    files["kohya"] |= {base + ".lora_down.weight": values[0], base + ".lora_up.weight": values[1],
                       base + ".alpha": ([], struct.pack("<f", rank))}
    files["peft"] |= {f"unet.{module}.lora_A.weight": values[0], f"unet.{module}.lora_B.weight": values[1]}
    files["old"] |= {f"unet.{module}.lora.down.weight": values[0], f"unet.{module}.lora.up.weight": values[1]}
assert len(files["kohya"]) > 600, len(files["kohya"])
for kind, tensors in files.items():
    head, at = {}, 0
    for key, (shape, value) in tensors.items():
        head[key] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + len(value)]}
        at += len(value)
    text = json.dumps(head).encode()
    with open(f"{sys.argv[2]}/few.{kind}.safetensors", "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(v for _, v in tensors.values()))
PYTHON
few() { run generate -m $model --steps 4 -g 1 --scheduler lcm -p castle -s 3 -W 64 -H 64 -q -f "$@"; }
few -o "$dir/few.png"
for kind in kohya peft old; do
    few --lora "$dir/few.$kind.safetensors" -o "$dir/few.$kind.png"
    [ "$rc" = 0 ] && ! grep -q "few.$kind.*left out" "$dir/err" && same_pixels "$dir/few.kohya.png" "$dir/few.$kind.png" &&
        ! same_pixels "$dir/few.png" "$dir/few.$kind.png"
    check "a LoRA of every layer, as LCM-LoRA has it, in the names of $kind"
done
python=${IMAGO_GOLDEN:-python3}
if PYTHONPATH=tests/golden "$python" -c 'import diffusers, peft, torch' 2>/dev/null; then
    PYTHONPATH=tests/golden "$python" - $model "$dir" 2>"$dir/err" <<'PYTHON'
import sys
from diffusers import LCMScheduler
from reference import SCHEDULERS, compare, draw, is_same, load_folder, read_png
SCHEDULERS["lcm"] = (LCMScheduler, {})
pipe = load_folder(sys.argv[1])
pipe.load_lora_weights(sys.argv[2], weight_name="few.kohya.safetensors")
picture, _ = draw(pipe, {"prompt": "castle", "negative": "", "steps": 4, "guidance": 1.0, "scheduler": "lcm", "seed": 3,
                         "W": 64, "H": 64})
off = compare(read_png(sys.argv[2] + "/few.kohya.png"), picture)
assert is_same(off), off
PYTHON
    check "diffusers draws the same with it"
else
    skipped=$((skipped + 1))
    echo "SKIP diffusers beside it: there is no diffusers here (IMAGO_GOLDEN names a Python that has it)"
fi

# ---- <lora:NAME:WEIGHT> in a prompt
mkdir "$dir/loras" "$dir/loras/folder" "$dir/loras/empty" && cp $lora "$dir/loras/empty/x.safetensors"
cp $lora "$dir/loras/style one.safetensors"
cp "$dir/unet.safetensors" "$dir/loras/unet.safetensors"
cp "$dir/peft/"* "$dir/loras/folder"
named() { run generate -m $model --steps 2 -s 3 -q -f --lora-dir "$dir/loras" "$@"; }
named -p 'castle <lora:style one>' -o "$dir/named.png"
[ "$rc" = 0 ] && same_pixels "$dir/lora.png" "$dir/named.png" && ! grep -q "as text" "$dir/err"
check "a tag in the prompt: the picture of --lora, without the tag in its text"
named -p '<lora:style one: 0.5 >castle<lora:folder:-1>' -o "$dir/named.png"
same_pixels "$dir/two.png" "$dir/named.png"
check "two of them with weights, one a folder"
named -p 'castle <lora:unet:-1>' --lora $lora:0.5 -o "$dir/named.png"
same_pixels "$dir/two.png" "$dir/named.png"
check "beside --lora, whose come first"
printf 'castle <lora:style one>\ncastle\ncastle <lora:unet>\n<lora:style one> castle\n' >"$dir/prompts"
run generate -m $model --steps 2 -s 3 -q --lora-dir "$dir/loras" --prompts "$dir/prompts" -b 3 -o "$dir/many"
[ "$rc" = 0 ] && same_pixels "$dir/many/3.png" "$dir/lora.png" &&
    run generate -m $model --steps 2 -s 4 -q -p castle -o "$dir/4.png" && same_pixels "$dir/many/4.png" "$dir/4.png"
check "prompts with others, in batches: each has its own, and one without has none"
gives 0 '4 of 4 pictures were there already' generate -m $model --steps 2 -s 3 --lora-dir "$dir/loras" \
    --prompts "$dir/prompts" --skip-existing -o "$dir/many"
gives 0 'the same picture as ' generate -m $model --from "$dir/many/5.png" --lora-dir "$dir/loras" -o "$dir/five.png"
cp $lora "$dir/loras/unet.safetensors"
gives 1 'wanted FILE, or FILE:WEIGHT with one number' generate -m $model -p x --lora "$dir/loras/unet.safetensors:0.5:0.5" \
    -o "$dir/no.png"
gives 1 '--lora :0.5: there is no file ""' generate -m $model -p x --lora :0.5 -o "$dir/no.png"
gives 1 'was made with the LoRA unet (SHA-256 ' generate -m $model --from "$dir/many/5.png" --lora-dir "$dir/loras" \
    -o "$dir/no.png"
gives 1 'its list of LoRAs is ' generate -m $model --steps 2 -s 3 --lora-dir "$dir/loras" --prompts "$dir/prompts" \
    --skip-existing -o "$dir/many"
gives 1 "there is no LoRA \"x\" in $dir/loras, which has folder, style one, unet" generate -m $model \
    --lora-dir "$dir/loras" -p 'a <lora:x:1>' -o "$dir/no.png"
gives 1 'there is no folder loras in or beside ' generate -m $model -p 'a <lora:x>' -o "$dir/no.png"
gives 1 'cannot be the name of a LoRA' generate -m $model --lora-dir "$dir/loras" -p '<lora:../lora:1>' -o "$dir/no.png"
gives 1 'the weight is "1:0.5", wanted one number' generate -m $model --lora-dir "$dir/loras" -p '<lora:unet:1:0.5>' \
    -o "$dir/no.png"
gives 1 'is not a folder' generate -m $model --lora-dir $lora -p 'a' -o "$dir/no.png"
cp -r $model "$dir/model" && mkdir "$dir/model/loras" && cp $lora "$dir/model/loras"
run generate -m "$dir/model" --steps 2 -s 3 -q -p 'castle <lora:lora>' -o "$dir/own.png"
same_pixels "$dir/lora.png" "$dir/own.png" && mv "$dir/model/loras" "$dir/loras" &&
    run generate -m "$dir/model/" --steps 2 -s 3 -q -p 'castle <lora:unet>' -o "$dir/beside.png" &&
    same_pixels "$dir/lora.png" "$dir/beside.png"
check "loras/ in the model's folder, and beside it"
[ ! -e "$dir/no.png" ]
check "nothing is drawn where a prompt names what is not there"
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
