"""A picture that imago drew with something that it has trained, beside that of diffusers with the same.

    drawn_as_diffusers.py vae|lora MODEL TRAINED DRAWN.png PLAIN.png        PLAIN: without it, which has to be another

Of the prompt "stripes 1, drawing", seed 3, 4 steps, 64 x 64. With tests/golden in PYTHONPATH. Used by cli/train_decoder.sh
and cli/train_lora.sh.
"""
import sys

from diffusers import AutoencoderTiny
from reference import compare, draw, is_same, load_folder, read_png

kind, model, trained, drawn, plain = sys.argv[1:]
pipe = load_folder(model)
if kind == "vae":
    pipe.vae = AutoencoderTiny.from_pretrained(trained)
else:
    pipe.load_lora_weights(trained)
case = {"prompt": "stripes 1, drawing", "negative": "", "steps": 4, "guidance": 7.5, "scheduler": "pndm", "seed": 3,
        "W": 64, "H": 64}
picture, _ = draw(pipe, case)
off = compare(read_png(drawn), picture)
assert is_same(off), off
assert not is_same(compare(read_png(plain), picture))
