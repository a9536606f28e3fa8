#!/bin/sh
# vae.sh: generate --vae: the pictures are those of a model that has this VAE; what a picture says of it, what is refused.
# Prints what fails and, last, "N passed, N failed, N skipped".
#
#     tests/cli/vae.sh [PROGRAM]                   default: build/imago
# shellcheck disable=SC2319 # check reads $? of the condition before it
set -u
imago=${1:-build/imago}
model=tests/golden/models/a
# shellcheck source=tests/shell.sh
. tests/shell.sh
draw() { run generate --steps 2 -p castle -s 3 -W 64 -H 64 -q -f "$@"; }

# A VAE with other weights and another scaling_factor, by itself and in a model.
cp -r $model "$dir/other"
python3 - "$dir/other/vae" <<'PYTHON'
import glob, json, struct, sys
path = glob.glob(sys.argv[1] + "/*.safetensors")[0]
data = bytearray(open(path, "rb").read())
n = struct.unpack("<Q", data[:8])[0]
head = json.loads(data[8:8 + n])
at, end = (8 + n + x for x in head["decoder.conv_in.weight"]["data_offsets"])
for i in range(at + 1, end, 2):
    data[i] ^= 0x80                                            # the sign of every value
open(path, "wb").write(data)
config = json.load(open(sys.argv[1] + "/config.json"))
json.dump(config | {"scaling_factor": 0.25}, open(sys.argv[1] + "/config.json", "w"))
PYTHON
draw -m $model -o "$dir/own.png" && draw -m "$dir/other" -o "$dir/other.png"
draw -m $model --vae "$dir/other" -o "$dir/model.png"
[ "$rc" = 0 ] && same_pixels "$dir/model.png" "$dir/other.png" && ! same_pixels "$dir/own.png" "$dir/other.png"
check "the VAE of another model: its pictures"
draw -m $model --vae "$dir/other/vae" -o "$dir/alone.png"
[ "$rc" = 0 ] && same_pixels "$dir/alone.png" "$dir/other.png"
check "one by itself"
draw -m "$dir/other" -i tests/golden/init_64x64.png --strength 0.6 -o "$dir/init.png"
draw -m $model --vae "$dir/other/vae" -i tests/golden/init_64x64.png --strength 0.6 -o "$dir/init2.png"
[ "$rc" = 0 ] && same_pixels "$dir/init.png" "$dir/init2.png"
check "from a picture: its encoder and its scaling_factor"
draw -m $model --vae $model -o "$dir/same.png"
same_pixels "$dir/own.png" "$dir/same.png" && grep -aq '"vae":"a","vae_sha256":"' "$dir/same.png" &&
    ! grep -aq '"vae_sha256"' "$dir/own.png"
check "the model's own, and the picture says so"

gives 0 'the same picture as ' generate --from "$dir/alone.png" -m $model --vae "$dir/other" -o "$dir/again.png"
gives 1 'was made with --vae (SHA-256 ' generate --from "$dir/alone.png" -m $model -o "$dir/no.png"
gives 0 'was made without --vae: the pixels will differ' generate --from "$dir/own.png" -m $model --vae "$dir/other" \
    -o "$dir/differs.png"
mkdir "$dir/set" && cp "$dir/own.png" "$dir/set/3.png"
gives 1 'its VAE, by the SHA-256 of its weights, is none' generate --steps 2 -p castle -s 3 -W 64 -H 64 --skip-existing \
    -m $model --vae "$dir/other" -o "$dir/set/"
gives 1 'wanted 4 and 8' generate -m $model --vae tests/golden/models/b -p a -o "$dir/no.png"
gives 1 'config.json' generate -m $model --vae $model/vae/config.json -p a -o "$dir/no.png"
gives 1 'absent' generate -m $model --vae "$dir/absent" -p a -o "$dir/no.png"
gives 1 'pickle' generate -m $model --vae "$dir/taesd_decoder.pth" -p a -o "$dir/no.png"

# Files: by diffusers' names, by those of the original layout, a whole model, tiny ones.
python3 - "$dir" <<'PYTHON'
import glob, json, re, struct, sys
dir = sys.argv[1]

def rename(path, out, name, metadata=None):
    data = open(path, "rb").read()
    n = struct.unpack("<Q", data[:8])[0]
    head, body = json.loads(data[8:8 + n]), data[8 + n:]
    head.pop("__metadata__", None)
    new, at, parts = {"__metadata__": metadata} if metadata else {}, 0, []
    for old, entry in head.items():
        if not name(old):
            continue
        begin, end = entry["data_offsets"]
        new[name(old)] = dict(entry, data_offsets=[at, at + end - begin])
        at += end - begin
        parts.append(body[begin:end])
    text = json.dumps(new).encode()
    open(dir + "/" + out, "wb").write(struct.pack("<Q", len(text)) + text + b"".join(parts))

def original(name):                                            # of a VAE of four levels
    name = re.sub(r"up_blocks\.(\d)", lambda m: "up.%d" % (3 - int(m[1])), name).replace("down_blocks", "down")
    for a, b in (("resnets", "block"), ("samplers.0.conv", "sample.conv"), ("mid_block.attentions.0", "mid.attn_1"),
                 ("group_norm", "norm"), ("to_out.0", "proj_out"), ("to_", ""), ("conv_norm_out", "norm_out"),
                 ("conv_shortcut", "nin_shortcut")):
        name = name.replace(a, b)
    return re.sub(r"mid_block\.block\.(\d)", lambda m: "mid.block_%d" % (int(m[1]) + 1), name)

other = glob.glob(dir + "/other/vae/*.safetensors")[0]
config = {"vae/config.json": open(dir + "/other/vae/config.json").read()}
rename(other, "plain.safetensors", lambda n: n, config)
rename(other, "original.safetensors", original, config)
rename(other, "first.safetensors", lambda n: "first_stage_model." + original(n), config)
rename(other, "bare.safetensors", original)
tiny = "tests/golden/tiny_vae/diffusion_pytorch_model.safetensors"
half = lambda which, more: lambda n: n.startswith(which) and re.sub(r"^\w+\.layers\.(\d+)",
                                                                    lambda m: str(int(m[1]) + more), n)
both = {"vae/config.json": open("tests/golden/tiny_vae/config.json").read()}
rename(tiny, "taesd_decoder.safetensors", half("decoder", 1), both)
rename(tiny, "taesd_encoder.safetensors", half("encoder", 0), both)
rename(tiny, "alone_decoder.safetensors", half("decoder", 1), both)
rename(tiny, "strange.safetensors", lambda n: "x." + n)
PYTHON
for file in plain original first; do
    draw -m $model --vae "$dir/$file.safetensors" -i tests/golden/init_64x64.png --strength 0.6 -o "$dir/$file.png"
    [ "$rc" = 0 ] && same_pixels "$dir/$file.png" "$dir/init.png"
    check "a file by itself, $file"
done
draw -m $model --vae "$dir/other/vae/diffusion_pytorch_model.safetensors" -o "$dir/beside.png"
[ "$rc" = 0 ] && same_pixels "$dir/beside.png" "$dir/other.png"
check "a file with its config.json beside it"
run convert "$dir/other" -o "$dir/single.safetensors" && draw -m $model --vae "$dir/single.safetensors" -o "$dir/whole.png"
[ "$rc" = 0 ] && same_pixels "$dir/whole.png" "$dir/other.png"
check "a whole model as a file"
gives 1 'wanted (512, 4, 3, 3)' generate -m $model --vae "$dir/bare.safetensors" -p a -o "$dir/no.png"
gives 1 'holds no VAE that imago knows' generate -m $model --vae "$dir/strange.safetensors" -p a -o "$dir/no.png"

draw -m $model --vae tests/golden/tiny_vae -i tests/golden/init_64x64.png --strength 0.6 -o "$dir/tiny.png"
[ "$rc" = 0 ] && ! same_pixels "$dir/tiny.png" "$dir/init.png" && grep -aq '"vae":"tiny_vae","vae_sha256":"' "$dir/tiny.png"
check "a tiny one, and the picture says so"
for half in decoder encoder; do
    draw -m $model --vae "$dir/taesd_$half.safetensors" -i tests/golden/init_64x64.png --strength 0.6 -o "$dir/taesd.png"
    [ "$rc" = 0 ] && same_pixels "$dir/taesd.png" "$dir/tiny.png"
    check "a tiny one under TAESD's names, by its $half"
done
gives 1 'its encoder is not there; wanted alone_encoder.safetensors beside it' generate -m $model \
    --vae "$dir/alone_decoder.safetensors" -p a -o "$dir/no.png"
gives 1 'AutoencoderKL' train diffusion --vae tests/golden/tiny_vae --data "$dir" --config $model --size 64 -o "$dir/no"
draw -m $model --vae tests/golden/tiny_vae --tile -o "$dir/tiled.png"
[ "$rc" = 0 ] && grep -aq '"tile":true' "$dir/tiled.png"
check "a tiny one in strips"

# A folder whose own VAE is a tiny one: the pictures of --vae with that one.
cp -r $model "$dir/own_tiny" && rm -r "$dir/own_tiny/vae" && cp -r tests/golden/tiny_vae "$dir/own_tiny/vae"
sed -i 's/AutoencoderKL/AutoencoderTiny/' "$dir/own_tiny/model_index.json"
for more in "" "-i tests/golden/init_64x64.png --strength 0.6"; do
    # shellcheck disable=SC2086 # options and their values
    draw -m $model --vae tests/golden/tiny_vae $more -o "$dir/by_option.png"
    # shellcheck disable=SC2086
    draw -m "$dir/own_tiny" $more -o "$dir/by_folder.png"
    [ "$rc" = 0 ] && same_pixels "$dir/by_folder.png" "$dir/by_option.png"
    check "a model whose VAE is a tiny one${more:+, from a picture}"
done
draw -m "$dir/own_tiny" -o "$dir/by_folder.png"
run convert "$dir/own_tiny" -o "$dir/copied"
[ "$rc" = 0 ] && draw -m "$dir/copied" -o "$dir/by_copy.png" && same_pixels "$dir/by_folder.png" "$dir/by_copy.png"
check "convert to a folder keeps it"
gives 1 ' has no place in the original layout; write a folder' convert \
    "$dir/own_tiny" -o "$dir/copied.safetensors"
gives 1 'its VAE is an AutoencoderTiny; wanted a model' train diffusion --vae $model --data "$dir" \
    --config "$dir/own_tiny" -o "$dir/no"

sed -i 's/AutoencoderKL/AutoencoderDC/' "$dir/other/vae/config.json"
gives 1 'AutoencoderDC' generate -m $model --vae "$dir/other/vae" -p a -o "$dir/no.png"
[ ! -e "$dir/no.png" ]
check "nothing is drawn then"
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
