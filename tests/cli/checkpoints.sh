#!/bin/sh
# checkpoints.sh: models as the world has them: tensors that no network asks for, networks that are missing, variants,
# wrapped names, files of other models, pickles. Prints what fails and, last, "N passed, N failed, N skipped".
#
#     tests/cli/checkpoints.sh [PROGRAM]          default: build/imago; runs from the root of the repository
# shellcheck disable=SC2319 # check reads $? of the condition before it, on purpose
set -u
imago=${1:-build/imago}
model=tests/golden/models/a                       # 64x64 pixels, random weights, pndm
# shellcheck source=tests/shell.sh
. tests/shell.sh
unet=unet/diffusion_pytorch_model vae=vae/diffusion_pytorch_model text=text_encoder/model

# edit FILE SCRIPT [TO]: runs SCRIPT over t, a dict of name: [dtype, shape, bytes], and writes the file anew
edit() {
    python3 - "$@" <<'PYTHON'
import json, struct, sys
path, script, out = sys.argv[1], sys.argv[2], sys.argv[-1] if len(sys.argv) > 3 else sys.argv[1]
data = open(path, "rb").read()
n = struct.unpack("<Q", data[:8])[0]
head = json.loads(data[8:8 + n])
meta = head.pop("__metadata__", None)
t = {k: [v["dtype"], v["shape"], data[8 + n:][slice(*v["data_offsets"])]] for k, v in head.items()}
def some(name, dtype="F32", shape=(2,), size=4):
    count = 1
    for d in shape: count *= d
    t[name] = [dtype, list(shape), b"\0" * (count * size)]
exec(script)
head, at, body = {} if meta is None else {"__metadata__": meta}, 0, b""
for k, (dtype, shape, b) in t.items():
    head[k] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(b)]}
    at, body = at + len(b), body + b
text = json.dumps(head).encode()
text += b" " * (-len(text) % 8)
open(out, "wb").write(struct.pack("<Q", len(text)) + text + body)
PYTHON
}
put() {         # put FILE KEY JSON: in a JSON file
    python3 -c 'import json, sys
j = json.load(open(sys.argv[1]))
j[sys.argv[2]] = json.loads(sys.argv[3])
json.dump(j, open(sys.argv[1], "w"))' "$@"
}
json() {        # json EXPRESSION: over d, the object on standard output
    python3 -c 'import json, sys
d = json.load(open(sys.argv[1]))
sys.exit(0 if eval("(" + sys.argv[2] + ")") else 1)' "$dir/out" "$1"
}
fresh() {       # fresh: $dir/m is model a again, without what it carries beside its networks
    rm -rf "$dir/m"
    cp -r "$model" "$dir/m" && chmod -R u+w "$dir/m"
    edit "$dir/m/$text.safetensors" 't.pop("text_model.embeddings.position_ids")'
}
draw() { rm -f "$dir/o.png"; run generate -m "$1" -q -t 1 -s 5 --steps 1 -p "a red kite" -o "$dir/o.png"; }
same() {        # same MODEL NAME: it draws what model a draws
    draw "$1"
    [ "$rc" = 0 ] && [ "$(pixels "$dir/o.png")" = "$want" ]
    check "$2 (found $rc)"
}
warnings() { [ "$(grep -c warning "$dir/err")" = "$1" ]; }
refused() {     # refused TEXT NAME: the last run failed, and said so
    [ "$rc" = 1 ] && grep -qF -- "$1" "$dir/err" && [ "$(wc -l <"$dir/err")" = 1 ]
    check "$2 (found $rc)"
}
fresh
draw "$dir/m"
want=$(pixels "$dir/o.png")
warnings 0
check "a plain model draws without a warning"

# ---------------------------------------------------------------- tensors that no network asks for
edit "$dir/m/$text.safetensors" '
some("text_model.embeddings.position_ids", "I64", (1, 77), 8); some("logit_scale", "F32", ())
some("text_projection.weight")
for i in range(9): some("vision_model.encoder.layers.%d.mlp.fc1.bias" % i)
some("text_model.encoder.layers.3.mlp.fc1.bias")'
edit "$dir/m/$unet.safetensors" '
some("model_ema.decay"); some("sigmas", "F64", (3,), 8); some("global_step", "I32", ()); some("seen", "BOOL", (3,), 1)
some("bytes", "U8", (3,), 1)'
same "$dir/m" "a model with 18 tensors more draws the same"
warnings 1 && grep -q "18 tensors that no network asks for are left out: .*, .*and 14 more" "$dir/err"
check "... and one warning counts them"
run generate -m "$dir/m" -q --steps 1 -p x -o "$dir/o.png" --force --strict
refused "18 tensors that no network asks for" "--strict refuses them"
for verb in "info $dir/m" "convert $dir/m -o $dir/new" "bench unet -m $dir/m --rounds 1" \
            "trace -m $dir/m -p x -o $dir/t.safetensors"; do
    # shellcheck disable=SC2086 # words on purpose
    run $verb --strict
    [ "$rc" = 1 ] && grep -q "18 tensors that no network asks for" "$dir/err"
    check "--strict: imago $verb (found $rc)"
done
[ ! -e "$dir/new" ] && [ ! -e "$dir/t.safetensors" ]
check "... and writes nothing"
run convert "$dir/m" -o "$dir/new"
[ "$rc" = 0 ] && warnings 1 && ! grep -q "vision_model\|sigmas" "$dir/new/$text.safetensors" "$dir/new/$unet.safetensors"
check "convert leaves them out (found $rc)"
same "$dir/new" "... and what it writes draws the same"
warnings 0
check "... without a warning"
run convert "$dir/new" -o "$dir/one.safetensors"
edit "$dir/one.safetensors" '
for i in range(40): some("model_ema.diffusion_model%d" % i)
some("betas", "F64", (9,), 8); some("first_stage_model.loss.logvar"); some("alphas_cumprod")
some("global_step", "I64", (), 8); some("cond_stage_model.logit_scale")
some("cond_stage_model.transformer.text_model.embeddings.position_ids", "I64", (1, 77), 8)'
same "$dir/one.safetensors" "a single file with EMA copies and schedules draws the same"
warnings 1 && grep -q "46 tensors that no network asks for" "$dir/err"
check "... with one warning"
fresh
edit "$dir/m/$unet.safetensors" 't["conv_in.weight_scale"] = t["conv_in.bias"]'
draw "$dir/m"
refused "conv_in.weight_scale is a scale of 8-bit weights" "scales of 8-bit weights are refused, not left out"

# ---------------------------------------------------------------- what is missing
fresh
edit "$dir/m/$unet.safetensors" 't.pop("conv_in.bias"); t["conv_out.bias"][1] = [2, 2]; some("odd")'
edit "$dir/m/$vae.safetensors" 't.pop("post_quant_conv.weight"); t["decoder.conv_in.bias"][0] = "I16"'
edit "$dir/m/$text.safetensors" 't.pop("text_model.final_layer_norm.bias")'
draw "$dir/m"
refused "1 missing: text_model.final_layer_norm.bias" "all networks are looked at at once"
for word in "1 missing: conv_in.bias" "conv_out.bias is (2, 2), wanted (4)" "1 unexpected: odd" \
            "1 missing: post_quant_conv.weight" "decoder.conv_in.bias (I16)"; do
    grep -qF -- "$word" "$dir/err"
    check "... $word"
done
fresh
run convert "$dir/m" -o "$dir/one.safetensors" -f
without() {     # without HEAD: less.safetensors, of one.safetensors
    edit "$dir/one.safetensors" "t = {k: v for k, v in t.items() if not k.startswith('$1')}" "$dir/less.safetensors"
}
for part in first_stage_model:vae cond_stage_model:text_encoder model.diffusion_model:unet; do
    without "${part%%:*}."
    draw "$dir/less.safetensors"
    refused "holds no ${part##*:} (no tensor named ${part%%:*}." "a single file without ${part##*:} is refused"
    [ ! -e "$dir/o.png" ]
    check "... and nothing is drawn"
    run convert "$dir/less.safetensors" -o "$dir/less"
    refused "holds no ${part##*:}" "... convert"
    run info "$dir/less.safetensors"
    refused "holds no ${part##*:}" "... info, after what is there"
    grep -q "^${part##*:}.*missing" "$dir/out" &&
        [ "$(grep -c "missing" "$dir/out")" = "$(grep -c "^${part##*:}" "$dir/out")" ]
    check "... which names it in the table"
    run info --json "$dir/less.safetensors"
    [ "$rc" = 1 ] && json "d['missing'] and all(n.startswith('${part##*:}') for n in d['missing']) and \
len(d['missing']) + len(d['networks']) == 4 and not any(n['name'] in d['missing'] for n in d['networks'])"
    check "... and in its JSON"
done
without first_stage_model.
rm -f "$dir/o.png"
run generate -m "$dir/less.safetensors" --vae "$dir/m/vae" -q -t 1 -s 5 --steps 1 -p "a red kite" -o "$dir/o.png"
[ "$rc" = 0 ] && [ "$(pixels "$dir/o.png")" = "$want" ]
check "a single file without a VAE is drawn with one that is named (found $rc)"
edit "$dir/less.safetensors" 't.pop("model.diffusion_model.out.2.bias")'
run generate -m "$dir/less.safetensors" --vae "$dir/m/vae" -q --steps 1 -p x -o "$dir/i.png"
refused "1 missing: conv_out.bias" "... but not what else it lacks"
without first_stage_model.encoder.
same "$dir/less.safetensors" "without the encoder, which only image to image needs, pictures are drawn"
run generate -m "$dir/less.safetensors" -q --steps 2 -p x -i "$dir/o.png" -o "$dir/i.png"
refused "missing: encoder." "... and image to image is refused"
run info "$dir/less.safetensors"
[ "$rc" = 1 ] && grep -q "^vae_decoder *[0-9]" "$dir/out" && grep -q "^vae_encoder *missing" "$dir/out"
check "... and info says which half is there (found $rc)"

# ---------------------------------------------------------------- other kinds
other() {       # other TEXT SCRIPT: model a's single file, changed, is refused as TEXT
    edit "$dir/one.safetensors" "$2" "$dir/other.safetensors"
    draw "$dir/other.safetensors"
    refused "$1" "refused as $1"
    run info "$dir/other.safetensors"
    refused "$1" "... info as well"
}
key=model.diffusion_model.input_blocks.0.0.weight
other "an inpainting model" "t['$key'][1][1] = 9; t['$key'][2] += bytes(5 * 9 * 2 * 16)"
other "an image-to-image model" "t['$key'][1][1] = 8; t['$key'][2] += bytes(4 * 9 * 2 * 16)"
other "Stable Diffusion XL" 'some("conditioner.embedders.0.x"); some("model.diffusion_model.label_emb.0.0.weight")
t.pop("'$key'")'
other "Stable Diffusion 2" "
t = {k.replace('cond_stage_model.transformer', 'cond_stage_model.model'): v for k, v in t.items()}"
other "Flux" 't.clear(); some("model.diffusion_model.double_blocks.0.img_attn.proj.weight")'
other "Stable Diffusion 2" 't.clear(); meta.clear()
some("model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight", "F16", (320, 1024), 2)'
other "Stable Diffusion XL" 't.clear(); meta.clear()
some("model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight", "F16", (640, 2048), 2)'
edit "$dir/one.safetensors" 't.clear(); some("double_blocks.0.x")' "$dir/other.safetensors"
draw "$dir/other.safetensors"
refused "this is Flux" "refused as Flux without the original layout's names"
fresh
put "$dir/m/unet/config.json" in_channels 9
draw "$dir/m"
refused "conv_in.weight" "a config.json of 9 channels beside weights of 4 is refused"
put "$dir/m/unet/config.json" in_channels 8
draw "$dir/m"
refused "an image-to-image model" "a folder whose UNet takes 8 channels is called image-to-image"
put "$dir/m/unet/config.json" in_channels 4
edit "$dir/m/$unet.safetensors" "t['conv_in.weight'][1][1] = 9; t['conv_in.weight'][2] += bytes(5 * 9 * 2 * 16)"
draw "$dir/m"
refused "an inpainting model" "... whatever its config.json says"
put "$dir/m/model_index.json" _class_name '"StableDiffusionInpaintPipeline"'
draw "$dir/m"
refused "an inpainting model" "an inpainting pipeline is called so"

# ---------------------------------------------------------------- types
fresh
edit "$dir/m/$unet.safetensors" '
import struct
for v in t.values():
    n = len(v[2]) // 2
    v[:] = ["F64", v[1], struct.pack("<%dd" % n, *struct.unpack("<%de" % n, v[2]))]'
same "$dir/m" "a UNet in F64 draws what it draws in f16"
run info --json "$dir/m"
[ "$rc" = 0 ] && json "{t['dtype'] for t in d['files'][1]['tensors']} == {'F64'}"
check "info shows F64 (found $rc)"
run convert "$dir/m" -o "$dir/half" --dtype f16
cmp -s "$dir/half/$unet.safetensors" "$model/$unet.safetensors" || {
    run info --json "$dir/half"
    json "{t['dtype'] for t in d['files'][1]['tensors']} == {'F16'}"
}
check "convert makes F16 of it (found $rc)"
same "$dir/half" "... of the same values"
edit "$dir/m/$unet.safetensors" '
for v in t.values(): v[:] = ["F8_E5M2", v[1], v[2][7::8]]'
draw "$dir/m"
[ "$rc" = 0 ]
check "a UNet in F8_E5M2 draws (found $rc)"
run info --json "$dir/m"
json "{t['dtype'] for t in d['files'][1]['tensors']} == {'F8_E5M2'}"
check "info shows F8_E5M2"

fresh
edit "$dir/m/$unet.safetensors" '
import struct
t["conv_in.bias"][:] = ["F64", t["conv_in.bias"][1], struct.pack("<d", 1e6) * (len(t["conv_in.bias"][2]) // 2)]'
run convert "$dir/m" -o "$dir/lost" --dtype f16
[ "$rc" = 1 ] && [ ! -e "$dir/lost" ] &&
    grep -q 'conv_in.bias: holds 1e+06, which f16 cannot (at most 65504); write it as bf16 or f32' "$dir/err"
check "a finite value is not made infinite"
run convert "$dir/m" -o "$dir/lost" --dtype bf16
[ "$rc" = 0 ]
check "... and bf16 has it"
cp "$dir/m/$unet.safetensors" "$dir/before"
for out in "$dir/m/$unet.safetensors" "$dir/m/unet"; do
    run convert "$dir/m" -o "$out" --force
    [ "$rc" = 1 ] && grep -q 'is a part of' "$dir/err" && cmp -s "$dir/before" "$dir/m/$unet.safetensors"
    check "a model is not written over its own UNet: $out"
done

# ---------------------------------------------------------------- wrapped names
fresh
edit "$dir/m/$unet.safetensors" 't = {"module._orig_mod." + k: v for k, v in t.items()}'
edit "$dir/m/$vae.safetensors" 't = {"_orig_mod." + k: v for k, v in t.items()}'
same "$dir/m" "networks of a compiled model, of a parallel one"
edit "$dir/m/$vae.safetensors" 't["x"] = t.pop("_orig_mod.decoder.conv_in.bias")'
draw "$dir/m"
refused "missing: " "... but only where the whole file has the words"

# ---------------------------------------------------------------- variants
rename() { for f in $2; do mv "$dir/m/$f.safetensors" "$dir/m/$f.$1.safetensors"; done; }
fresh
rename bf16 "$unet $vae $text"
same "$dir/m" "the only variant is read"
warnings 1 && grep -q "only a variant is; it is read: bf16 of text_encoder, bf16 of unet, bf16 of vae" "$dir/err"
check "... with a note"
run info --json "$dir/m"
[ "$rc" = 0 ] && json "[f['file'].endswith('.bf16.safetensors') for f in d['files']] == [True] * 3"
check "... by info (found $rc)"
run generate -m "$dir/m" -q --steps 1 -p x -o "$dir/o.png" --force --variant fp16
refused "has no variant fp16 of its weights; found: bf16 of text_encoder" "--variant that is not there"
cp "$dir/m/$unet.bf16.safetensors" "$dir/m/$unet.non_ema.safetensors"
draw "$dir/m"
refused "has no plain file of weights, but 2 variants: bf16, non_ema; choose one with --variant NAME" \
        "two variants, none plain"
edit "$dir/m/$unet.non_ema.safetensors" 'for v in t.values(): v[2] = bytes(len(v[2]))'
run generate -m "$dir/m" -q -t 1 -s 5 --steps 1 -p "a red kite" -o "$dir/o.png" --force --variant bf16
[ "$rc" = 0 ] && [ "$(pixels "$dir/o.png")" = "$want" ] && warnings 0
check "--variant chooses, without a note (found $rc)"
run generate -m "$dir/m" -q -t 1 -s 5 --steps 1 -p "a red kite" -o "$dir/o.png" --force --variant non_ema
[ "$rc" = 1 ] && grep -q "text_encoder: has neither the variant non_ema nor a plain file" "$dir/err"
check "a network that has neither is an error (found $rc)"
for f in "$vae" "$text"; do cp "$dir/m/$f.bf16.safetensors" "$dir/m/$f.safetensors"; done
run generate -m "$dir/m" -q -t 1 -s 5 --steps 1 -p "a red kite" -o "$dir/o.png" --force --variant non_ema
[ "$rc" = 0 ] && [ "$(pixels "$dir/o.png")" != "$want" ] && warnings 1 &&
    grep -q "has no variant non_ema of text_encoder, vae; the plain files are read there" "$dir/err"
check "networks without the variant are plain, with a note (found $rc)"
mv "$dir/m/$unet.bf16.safetensors" "$dir/m/$unet.safetensors"
same "$dir/m" "plain files come before variants"
warnings 0
check "... without a note"
run generate -m "$dir/one.safetensors" -q --steps 1 -p x -o "$dir/o.png" --force --variant fp16
refused "is a single file, which has no variants" "a single file has no variants"
run generate -m "$dir/m" -q --steps 1 -p x -o "$dir/o.png" --force --variant ../x
refused "wanted the middle of a file's name" "--variant is no path"

# shards: names of today, and of older versions of diffusers
shards() {      # shards VARIANT STYLE FILE: two shards and an index of FILE
    python3 - "$dir/m" "$@" <<'PYTHON'
import json, os, struct, sys
root, variant, style, file = sys.argv[1:]
path = "%s/%s.safetensors" % (root, file)
data = open(path, "rb").read()
n = struct.unpack("<Q", data[:8])[0]
head, body = json.loads(data[8:8 + n]), data[8 + n:]
head.pop("__metadata__", None)
names, stem, where = sorted(head), os.path.basename(file), {}
for i, part in enumerate((names[::2], names[1::2])):
    number = "-%05d-of-00002" % (i + 1)
    tail = "." + variant if variant else ""
    name = stem + (tail + number if style == "new" else number + tail) + ".safetensors"
    h, b = {}, b""
    for k in part:
        x = body[slice(*head[k]["data_offsets"])]
        h[k] = {**head[k], "data_offsets": [len(b), len(b) + len(x)]}
        b += x
        where[k] = name
    text = json.dumps(h).encode()
    text += b" " * (-len(text) % 8)
    open(os.path.join(root, os.path.dirname(file), name), "wb").write(struct.pack("<Q", len(text)) + text + b)
index = stem + ".safetensors.index" + ("." + variant if variant else "") + ".json"
if variant and style == "old":
    index = stem + ".safetensors." + variant + ".index.json"
json.dump({"metadata": {}, "weight_map": where}, open(os.path.join(root, os.path.dirname(file), index), "w"))
os.remove(path)
PYTHON
}
for style in new old; do
    fresh
    shards fp16 $style "$unet"
    shards fp16 $style "$text"
    same "$dir/m" "shards of a variant, as in $style versions"
done
# An older single file beside an index: of UNet and VAE diffusers takes the index, of the text encoder transformers the
# file.
fresh
cp "$dir/m/$unet.safetensors" "$dir/u" && cp "$dir/m/$text.safetensors" "$dir/t"
shards "" new "$unet"
shards "" new "$text"
edit "$dir/u" 'for v in t.values(): v[2] = bytes(len(v[2]))' "$dir/m/$unet.safetensors"
mv "$dir/t" "$dir/m/$text.safetensors"
edit "$dir/m/$text-00001-of-00002.safetensors" 'for v in t.values(): v[2] = bytes(len(v[2]))'
same "$dir/m" "an index beside a file, as diffusers and transformers choose"
rm "$dir/m/$unet.safetensors" "$dir/m/$unet.safetensors.index.json"
draw "$dir/m"
refused "holds shards of weights, but no diffusion_pytorch_model.safetensors.index.json" "shards without their index"

# ---------------------------------------------------------------- pickles
fresh
for name in model.ckpt model.pt pytorch_model.bin; do
    for verb in "generate -p x -q -o $dir/o.png -f -m" "info" "convert -o $dir/new2" "eval --data $model -m"; do
        # shellcheck disable=SC2086 # words on purpose
        run $verb "$dir/$name"
        refused "pickle, which can run any program when it is read and is refused; convert it with: python3" \
                "imago $verb $name, which is not there"
    done
    printf 'PK\3\4 and so on' >"$dir/$name"
    run generate -p x -q -o "$dir/o.png" -f -m "$dir/$name"
    refused "is a PyTorch pickle" "... and which is there"
done
rm "$dir/m/$unet.safetensors"
printf 'PK\3\4 and so on' >"$dir/m/$unet.bin"
draw "$dir/m"
refused "the only weights in this folder are PyTorch pickles, which are refused" "a folder with pickles only"

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
