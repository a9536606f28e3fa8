#!/bin/sh
# configs.sh: configuration files of models as the world has them: lists for one number, a text model within a whole CLIP,
# null, a scheduler of two classes or none. Prints what fails and, last, "N passed, N failed, N skipped".
#
#     tests/cli/configs.sh [PROGRAM]          default: build/imago; runs from the root of the repository
# shellcheck disable=SC2319 # check reads $? of the condition before it, on purpose
set -u
imago=${1:-build/imago}
model=tests/golden/models/a                       # 64x64 pixels, random weights, pndm with the noise of v1.4
# shellcheck source=tests/shell.sh
. tests/shell.sh
m=$dir/m
fresh() { rm -rf "$m" && cp -r "$model" "$m" && chmod -R u+w "$m"; }
config() {      # config PART SCRIPT: runs SCRIPT over j, the object in the part's config.json
    python3 - "$m/$1/config.json" "$2" <<'PYTHON'
import json, sys
space = {"j": json.load(open(sys.argv[1]))}
exec(sys.argv[2], space)
json.dump(space["j"], open(sys.argv[1], "w"))
PYTHON
}
draw() {        # draw ARGUMENT...: o.png of the model in m
    run generate -m "$m" -q -t 1 -s 5 --steps 2 -p "a red kite" --force -o "$dir/o.png" "$@"
}
same() {        # same NAME ARGUMENT...: model m draws what model a draws
    name=$1
    shift
    draw "$@"
    [ "$rc" = 0 ] && same_pixels "$dir/o.png" "$dir/want.png"
    check "$name (found $rc)"
}
warnings() { [ "$(grep -c warning "$dir/err")" = "$1" ]; }

fresh
draw
mv "$dir/o.png" "$dir/want.png"
warnings 1 && grep -q "1 tensor that no network asks for is left out: text_model.embeddings.position_ids$" "$dir/err"
check "position_ids, which old versions of transformers wrote, are one short warning"

# ---- lists
config vae 'j["sample_size"] = [64, 48]'
config unet 'j["sample_size"] = [8, 8]'
same "sample_size as lists"
config unet 'j["sample_size"] = [8, 9]'
draw
[ "$rc" = 0 ] && [ "$(od -An -tu1 -j16 -N8 "$dir/o.png" | tr -s ' ')" = ' 0 0 0 72 0 0 0 64' ]
check "a list of the UNet is height and width"
config vae 'j["sample_size"] = [64, "x"]'
draw
[ "$rc" = 1 ] && grep -q 'vae/config.json: "sample_size\[1\]"' "$dir/err"
check "a list with something else in it is refused"
config vae 'j["sample_size"] = []'
draw
[ "$rc" = 1 ] && grep -q 'vae/config.json: "sample_size" is ' "$dir/err"
check "an empty list is refused"
mkdir "$dir/set" && cp "$dir/want.png" "$dir/set/1.png" && cp tests/golden/init_64x64.png "$dir/set/2.png"
config vae 'j["sample_size"] = [64, 48]'
run train autoencoder --data "$dir/set" --config "$m" --batch 1 --steps 1 -t 1 -q -o "$dir/ae"
[ "$rc" = 0 ]
check "training takes the first of a VAE's list, as diffusers does"

# ---- the text model within a whole CLIP
fresh
config text_encoder \
    'j = {"model_type": "clip", "projection_dim": 512, "vision_config": {"hidden_size": 9}, "text_config": j}'
same "text_config of a CLIPModel"
run convert "$m" -o "$dir/one.safetensors"
mv "$m" "$dir/kept" && cp "$dir/one.safetensors" "$m"
[ "$rc" = 0 ] && same "... and in the single file that convert makes of it"
rm "$m"
mv "$dir/kept" "$m"
config text_encoder 'j = {**j["text_config"], "hidden_act": "gelu", "text_config": j["text_config"]}'
same "... within a text model's own, which it takes the place of"
config text_encoder 'j["text_config"]["hidden_size"] = 50'
draw
[ "$rc" = 1 ] && grep -q 'text_encoder/config.json.*hidden_size 50' "$dir/err"
check "an error in it names the file"
config text_encoder 'j["model_type"] = "siglip"'
draw
[ "$rc" = 1 ] && grep -q 'model_type is "siglip", but Stable Diffusion v1.x has a "clip_text_model"' "$dir/err"
check "another model with a text_config is refused"
config text_encoder 'j["model_type"] = "clip"; j["text_config"] = None'
draw
[ "$rc" = 1 ] && grep -q 'model_type is "clip", but' "$dir/err"
check "a CLIPModel without its text model is refused"
fresh
config text_encoder 'j["model_type"] = "clip"'
same "a text model's own fields under a CLIPModel's name"

# ---- null, which Python takes for false
config unet 'j["flip_sin_to_cos"] = False'
draw
mv "$dir/o.png" "$dir/turned.png"
config unet 'j["flip_sin_to_cos"] = None'
draw
[ "$rc" = 0 ] && same_pixels "$dir/o.png" "$dir/turned.png" && ! same_pixels "$dir/o.png" "$dir/want.png"
check "null for a switch is false"

# ---- the scheduler's class, in two files
index() {       # index CLASS: of the scheduler, in model_index.json
    sed -i "s/PNDMScheduler\|EulerDiscreteScheduler/$1/" "$m/model_index.json"
}
fresh
sed -i '/_class_name/d' "$m/scheduler/scheduler_config.json"
same "model_index.json names the class where the scheduler's file does not"
sed -i 's/{/{"_class_name": "DDIMScheduler",/' "$m/scheduler/scheduler_config.json"
same "... and where the scheduler's file names another"
grep -q 'scheduler_config.json: _class_name is "DDIMScheduler", but model_index.json has "PNDMScheduler"' "$dir/err"
check "... which a warning says"
run info "$m"
[ "$rc" = 0 ] && grep -Eq '^scheduler +pndm$' "$dir/out"
check "info says which is used"
run convert "$m" -o "$dir/two.safetensors"
run generate -m "$dir/two.safetensors" -q -t 1 -s 5 --steps 2 -p "a red kite" --force -o "$dir/o.png"
[ "$rc" = 0 ] && same_pixels "$dir/o.png" "$dir/want.png"
check "... and of the single file that convert makes"
draw --scheduler ddim
mv "$dir/o.png" "$dir/ddim.png"
! grep -q _class_name "$dir/err" && fresh && draw --scheduler ddim && same_pixels "$dir/o.png" "$dir/ddim.png"
check "--scheduler comes first"
index NoSuchScheduler
draw
[ "$rc" = 1 ] && grep -q 'scheduler class NoSuchScheduler (of model_index.json) is not supported' "$dir/err"
check "a class that is not known is refused"
run info "$m" --json
[ "$rc" = 0 ] && grep -q '"scheduler": *null' "$dir/out"
check "... but not by info"

# ---- LCM's pipelines: the same networks; a scheduler's file is taken as it is
fresh
rm -r "$m/unet" && cp -r tests/golden/guided_unet "$m/unet" && chmod -R u+w "$m/unet"
draw --scheduler lcm
mv "$dir/o.png" "$dir/guided.png"
for class in LatentConsistencyModelPipeline LatentConsistencyModelImg2ImgPipeline; do
    sed -i "s/\"_class_name\": \"[A-Za-z0-9]*Pipeline\"/\"_class_name\": \"$class\"/" "$m/model_index.json"
    sed -i 's/"steps_offset": [01]/"steps_offset": 0/' "$m/scheduler/scheduler_config.json"
    draw --scheduler lcm
    [ "$rc" = 0 ] && same_pixels "$dir/o.png" "$dir/guided.png" && grep -q "$class" "$m/model_index.json"
    check "$class (found $rc)"
    ! grep -q steps_offset "$dir/err"
    check "... without a warning of its scheduler"
done
run convert "$m" -o "$dir/lcm"
[ "$rc" = 0 ] && grep -q LatentConsistencyModelImg2ImgPipeline "$dir/lcm/model_index.json"
check "... which convert keeps (found $rc)"

# ---- no scheduler
fresh
rm -r "$m/scheduler"
rm -f "$dir/o.png"
draw
[ "$rc" = 1 ] && grep -q 'scheduler/scheduler_config.json is missing, so the model names no scheduler.*euler' "$dir/err" &&
    [ ! -e "$dir/o.png" ]
check "a folder without a scheduler is refused"
same "... and draws with --scheduler" --scheduler pndm
warnings 2 && grep -q 'pndm runs with the noise of Stable Diffusion v1.4' "$dir/err"
check "... with one warning that says whose noise it is"
draw --scheduler euler
cp "$dir/o.png" "$dir/want.png"
fresh
same "another scheduler is as with v1.4's file" --scheduler euler

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
