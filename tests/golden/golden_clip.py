"""What transformers' CLIPModel makes of pictures and texts: clip.json, clip.safetensors.gz.

The model is small and has hashed weights (hashed.py); its texts go through the tokenizer of models/a, its pictures through
CLIPImageProcessor: photo.jpg, and a hashed one that is higher than wide.
"""

import json
import os

import numpy
import torch
import transformers
from PIL import Image, ImageOps

import hashed
from golden_store import save_tensors

HERE = os.path.dirname(os.path.abspath(__file__))
NAMES = ["cat", "strawberry", "tree"]
TEXTS = ["a photo of a cat", "a photo of a strawberry", "a tree"]
VISION = {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 3, "image_size": 32,
          "patch_size": 8, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5}
TEXT = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "hidden_act": "gelu",
        "layer_norm_eps": 1e-5}
WIDTH, SCALE = 24, 3.5


def hashed_picture(number):
    """golden_clones.py has the same, 48 wide and 40 high; here it stands on its side."""
    block = (hashed.bits(f"eval.{number}", 5 * 6 * 3) >> numpy.uint64(8)) % numpy.uint64(200)
    noise = hashed.bits(f"eval.{number}.noise", 40 * 48 * 3) % numpy.uint64(56)
    big = block.reshape(5, 6, 3).repeat(8, 0).repeat(8, 1)
    return Image.fromarray((big + noise.reshape(40, 48, 3)).astype(numpy.uint8))


def make_clip(out):
    tokenizer = transformers.CLIPTokenizer.from_pretrained(os.path.join(HERE, "models/a/tokenizer"))
    length = tokenizer.model_max_length
    text = TEXT | {"vocab_size": len(tokenizer), "max_position_embeddings": length, "bos_token_id": tokenizer.bos_token_id,
                   "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    config = transformers.CLIPConfig(text_config=text, vision_config=VISION, projection_dim=WIDTH)
    model = transformers.CLIPModel(config).eval()
    state = {name: hashed.parameter(name, value.shape) if value.is_floating_point() else value
             for name, value in model.state_dict().items()}
    state["logit_scale"] = torch.tensor(SCALE)
    model.load_state_dict(state)
    see = transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    photo = ImageOps.exif_transpose(Image.open(os.path.join(HERE, "photo.jpg"))).convert("RGB")
    pixels = see(images=[photo, hashed_picture(7)], return_tensors="pt").pixel_values
    ids = tokenizer(TEXTS, padding="max_length", max_length=length, truncation=True, return_tensors="pt").input_ids
    result = model(input_ids=ids, pixel_values=pixels)
    states = model.vision_model(pixels, output_hidden_states=True)
    tensors = {"pixels": pixels.permute(0, 2, 3, 1), "ids": ids, "image_embeds": result.image_embeds,
               "text_embeds": result.text_embeds, "logits": result.logits_per_image,
               "hidden": states.hidden_states[0], "pooled": states.pooler_output}
    # Zero-shot: twelve pictures, each of the class of its number.
    seen = see(images=[hashed_picture(i) for i in range(12)], return_tensors="pt").pixel_values
    asked = tokenizer([f"a photo of a {name}." for name in NAMES], padding="max_length", max_length=length, truncation=True,
                      return_tensors="pt").input_ids
    told = model(input_ids=asked, pixel_values=seen)
    truth = torch.arange(12) % len(NAMES)
    zero_shot = {"names": NAMES, "top1": float((told.logits_per_image.argmax(1) == truth).double().mean()),
                 "loss": float(torch.nn.functional.cross_entropy(told.logits_per_image, truth))}
    tensors["zero_shot"] = told.image_embeds
    save_tensors(os.path.join(out, "clip.safetensors.gz"), tensors)
    about = {"zero_shot": zero_shot, "about": "transformers' CLIPModel with hashed weights", "transformers": transformers.__version__,
             "texts": TEXTS, "logit_scale": SCALE,
             "config": {"model_type": "clip", "projection_dim": WIDTH, "text_config": text, "vision_config": VISION}}
    with open(os.path.join(out, "clip.json"), "w", encoding="ascii") as file:
        json.dump(about, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    make_clip(HERE)
