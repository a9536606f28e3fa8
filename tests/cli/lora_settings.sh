#!/bin/sh
# lora_settings.sh: what PEFT's settings say of a LoRA (adapter_config.json, the metadata that diffusers writes): alphas by
# patterns, as PEFT has them (tests/golden/lora_patterns.json); ways to begin that change the base weights; values of wrong
# types. Older names, alphas that are whole numbers, and files that are wrong. Prints what fails and, last, "N passed, N
# failed, N skipped".
#
#     tests/cli/lora_settings.sh [PROGRAM]         default: build/imago
# shellcheck disable=SC2319 # check reads $? of the condition before it
set -u
imago=${1:-build/imago}
model=tests/golden/models/a
# shellcheck source=tests/shell.sh
. tests/shell.sh
draw() { run generate -m $model --steps 1 -p castle -s 3 -q -f "$@"; }
refuses() { gives 1 "$2" generate -m $model --steps 1 -p a --lora "$dir/$1" -o "$dir/no.png"; }

python3 - tests/golden/lora.safetensors tests/golden/lora_patterns.json "$dir" <<'PYTHON'
import json, os, struct, sys
sys.path.insert(0, "tests")
import st_file
tensors, meta = st_file.read(sys.argv[1])
meta = json.loads(meta["lora_adapter_metadata"])
golden = json.load(open(sys.argv[2]))

def write(name, tensors, metadata=None):
    st_file.write(os.path.join(sys.argv[3], name), tensors, metadata)

def folder(name, tensors, config):
    write(name + "/adapter_model.safetensors", {"base_model.model." + k: t for k, t in tensors.items()})
    with open(os.path.join(sys.argv[3], name, "adapter_config.json"), "w") as f:
        json.dump({"peft_type": "LORA", "r": 2, "lora_alpha": 8} | config, f)

def diffusers(name, tensors, config):
    write(name + ".safetensors", {"unet." + k: t for k, t in tensors.items()},
          {"lora_adapter_metadata": json.dumps({"unet.lora_alpha": 8} | {"unet." + k: v for k, v in config.items()})})

def kohya(module, scaling, type_="F32", code="f"):
    base = "lora_unet_" + module.replace(".", "_")
    return {base + ".lora_down.weight": unet[module + ".lora_A.weight"],
            base + ".lora_up.weight": unet[module + ".lora_B.weight"],
            base + ".alpha": (type_, [], struct.pack("<" + code, scaling * 2))}

unet = {k.removeprefix("unet."): t for k, t in tensors.items() if k.startswith("unet.")}
to_q = {k: t for k, t in unet.items() if ".to_q." in k}
for i, row in enumerate(golden["rows"]):
    assert len(row["scaling"]) == len(golden["modules"]) and 2 * len(golden["modules"]) == len(to_q)
    folder(f"p{i}", to_q, {"alpha_pattern": row["alpha_pattern"]})
    diffusers(f"d{i}", to_q, {"alpha_pattern": row["alpha_pattern"]})
    alphas = {}
    for module, scaling in zip(golden["modules"], row["scaling"]):
        alphas |= kohya(module, scaling)
    write(f"k{i}.safetensors", alphas)

for init in True, False, "gaussian", "eva", "orthogonal", "mica":
    folder(f"init.{init}", to_q, {"init_lora_weights": init})
for init in "pissa", "pissa_niter_16", "olora", "OLoRA", "corda", "loftq", "lora_ga", "newest":
    folder(f"init.{init}", to_q, {"init_lora_weights": init})
    diffusers(f"init.{init}", to_q, {"init_lora_weights": init})
diffusers("dora", to_q, {"use_dora": True})
for name, config in {"alpha-text": {"lora_alpha": "8"}, "alpha-null": {"lora_alpha": None}, "list": {"alpha_pattern": [1]},
                     "pattern-text": {"alpha_pattern": {"to_q": "16"}}, "root": {"use_rslora": "true"},
                     "look": {"alpha_pattern": {"to_q": 1, r"^(?!mid).*\.to_q": 4}},
                     "flags": {"alpha_pattern": {"(?i)TO_Q": 1}}, "word": {"alpha_pattern": {r"\bto_q": 1}},
                     "open": {"alpha_pattern": {"(mid|up": 1}}, "close": {"alpha_pattern": {"mid)|(up": 1}},
                     "star": {"alpha_pattern": {"*to_q": 1}}, "many": {"alpha_pattern": {"((.{99}){99}){99}": 1}},
                     "class": {"alpha_pattern": {"to_[q": 1}}}.items():
    folder(name, to_q, config)
    diffusers(name, to_q, config)

whole = {}
for i, module in enumerate(golden["modules"]):
    type_, code = [("I64", "q"), ("I32", "i"), ("U8", "B"), ("I16", "h")][i % 4]
    whole |= kohya(module, 4 if type_ == "U8" else -4, type_, code)
write("whole.safetensors", whole)
parts = {}
for i, module in enumerate(golden["modules"]):
    parts |= kohya(module, 4 if i % 4 == 2 else -4)
write("parts.safetensors", parts)
text = {k.removeprefix("text_encoder.").removeprefix("text_model."): t for k, t in tensors.items() if k.startswith("text")}
old, new = {}, {}
for k, t in text.items():
    module, role = k.rsplit(".lora_", 1)
    if "self_attn" in module:
        new[f"text_encoder.{k}"] = t
        side = {"A.weight": "down", "B.weight": "up"}[role]
        base = module.replace("q_proj", "to_q_lora").replace("v_proj", "to_v_lora")
        old[f"text_encoder.text_model.{base}.{side}.weight"] = t
for name in "k_proj", "out_proj":                              # the golden has q_proj and v_proj
    new |= {k.replace("v_proj", name): t for k, t in new.items() if "v_proj" in k}
    old |= {k.replace("to_v", {"k_proj": "to_k", "out_proj": "to_out"}[name]): t for k, t in old.items() if "to_v" in k}
write("old.safetensors", old)
write("new.safetensors", new)

first = next(iter(to_q))
def broken(role, value):
    name = first.replace("lora_A", "lora_" + role)
    dtype, shape, b = to_q[name]
    assert dtype == "F16"
    return to_q | {name: (dtype, shape, struct.pack("<H", value) + b[2:])}
diffusers("nan", broken("A", 0x7e00), {})
diffusers("inf", broken("B", 0x7c00), {})
write("alpha-nan.safetensors", kohya(golden["modules"][0], float("nan")))
write("large.safetensors", kohya(golden["modules"][0], 1e38))
write("none.safetensors", {})
write("stray.safetensors", {"lora_unet_x.alpha": ("F32", [], b"\0\0\0\0")})
write("twice.safetensors", {"unet." + k: t for k, t in to_q.items()} | kohya(golden["modules"][0], 1))
PYTHON
check "the files"

for i in 0 1 2 3 4 5 6 7; do
    draw --lora "$dir/p$i" -o "$dir/p.png" && draw --lora "$dir/k$i.safetensors" -o "$dir/k.png" &&
        draw --lora "$dir/d$i.safetensors" -o "$dir/d.png"
    [ "$rc" = 0 ] && same_pixels "$dir/p.png" "$dir/k.png" && same_pixels "$dir/d.png" "$dir/k.png"
    check "alpha_pattern of row $i: the picture of PEFT's scales"
done
draw --lora "$dir/p0" -o "$dir/other.png"
[ "$rc" = 0 ] && ! same_pixels "$dir/p.png" "$dir/other.png"
check "other scales, another picture"

for init in True False gaussian eva orthogonal mica; do
    draw --lora "$dir/init.$init" -o "$dir/init.png"
    [ "$rc" = 0 ]
    check "init_lora_weights $init leaves the base weights as they are"
done
for init in pissa pissa_niter_16 olora OLoRA corda lora_ga; do
    refuses "init.$init" 'path_initial_model_for_weight_conversion'
    refuses "init.$init.safetensors" "(\"unet.init_lora_weights\" is \"$init\"), which changes the base weights, too"
done
refuses init.loftq 'is a LoftQ ("init_lora_weights" is "loftq"), which changes the base weights, too'
refuses init.newest '"init_lora_weights" is "newest"; wanted true, false, "gaussian"'
refuses dora.safetensors 'is a DoRA (unet.use_dora)'

refuses alpha-text '"lora_alpha" is "8"; wanted a number'
refuses alpha-text.safetensors '"unet.lora_alpha" is "8"; wanted a number'
refuses alpha-null '"lora_alpha" is null; wanted a number'
refuses list '"alpha_pattern" is a list of 1; wanted an object'
refuses pattern-text.safetensors 'unet.alpha_pattern: "to_q" is "16"; wanted a number'
refuses root '"use_rslora" is "true"; wanted true or false'
refuses look 'alpha_pattern: "^(?!mid).*\.to_q" cannot be read from "(?!mid).*\.to_q" on'
refuses flags.safetensors 'cannot be read from "(?i)TO_Q" on'
refuses word 'cannot be read from "\bto_q" on'
refuses open 'cannot be read from "(" on'
refuses close 'cannot be read from ")|(up" on'
refuses star 'cannot be read from "*to_q" on'
refuses many 'cannot be read from "{99}){99}" on'
refuses class 'cannot be read from "[q" on'

draw --lora "$dir/whole.safetensors" -o "$dir/whole.png" && draw --lora "$dir/parts.safetensors" -o "$dir/parts.png"
[ "$rc" = 0 ] && same_pixels "$dir/whole.png" "$dir/parts.png" && ! same_pixels "$dir/whole.png" "$dir/p.png"
check "alphas that are whole numbers"
draw --lora "$dir/old.safetensors" -o "$dir/old.png" && ! grep -q 'old\.safetensors.*left out' "$dir/err" &&
    draw --lora "$dir/new.safetensors" -o "$dir/new.png"
[ "$rc" = 0 ] && same_pixels "$dir/old.png" "$dir/new.png"
check "the text encoder by the names of older diffusers"

refuses nan.safetensors "lora_A.weight holds values that are not finite; the LoRA's file is damaged"
refuses inf.safetensors "lora_B.weight holds values that are not finite; the LoRA's file is damaged"
gives 1 'attn1.to_q.weight is beyond the numbers of f32 (B A times ' generate -m $model --steps 1 -p a \
    --lora "$dir/large.safetensors:100" -o "$dir/no.png"
refuses alpha-nan.safetensors 'is nan; wanted a finite number'
refuses none.safetensors 'holds no LoRA: of its tensors (0) none is lora_A'
refuses stray.safetensors 'holds no LoRA: of its tensors (1) none is lora_A'
refuses twice.safetensors 'are the same of one module, by two names'
[ ! -e "$dir/no.png" ]
check "nothing is drawn then"
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
