"""Loss and gradients of a tiny autoencoder under training (tiny_training.safetensors.gz): diffusers' AutoencoderTiny.

The network is tiny_vae/, the loss mean (decode(z) - y)^2 + mean (encode(x) - mean)^2 of hashed tensors. Computed in f64 from
f32 weights, a gradient kept as the 18 numbers of golden_network_gradients.py.
"""

import os

import torch
from diffusers import AutoencoderTiny
from torch.nn import functional

import hashed
from golden_network_gradients import SAMPLES, nchw, samples
from golden_store import pack_samples, save_tensors

PICTURE, LATENT = (2, 16, 24, 3), (2, 2, 3, 4)


def run(vae, dtype):
    """(loss, {NAME: gradient})"""
    vae = vae.to(dtype)
    vae.zero_grad()
    given = {"x": PICTURE, "y": PICTURE, "z": LATENT, "mean": LATENT}
    x, y, z, mean = (nchw(hashed.fill("tiny." + name, shape)).to(dtype) for name, shape in given.items())
    loss = functional.mse_loss(vae.decode(z).sample, y) + functional.mse_loss(vae.encode(x).latents, mean)
    loss.backward()
    return loss.detach(), {name: value.grad.clone() for name, value in vae.named_parameters()}


def make_tiny_training(out):
    """Write the file."""
    with torch.enable_grad():
        vae = AutoencoderTiny.from_pretrained(os.path.join(out, "tiny_vae"), torch_dtype=torch.float32)
        (loss, double), (_, single) = run(vae, torch.float64), run(vae, torch.float32)
    whole = sum(float(value.norm()) ** 2 for value in double.values()) ** 0.5
    off = sum(float((single[name].double() - value).norm()) ** 2 for name, value in double.items()) ** 0.5 / whole
    assert off < 1e-5, f"f32 is off by {off}"
    kept = {"tiny.grad." + name: samples(value) for name, value in double.items()} | {"tiny.loss": loss.reshape(1)}
    save_tensors(os.path.join(out, "tiny_training.safetensors.gz"), pack_samples(kept, ["grad"], SAMPLES + 2))


if __name__ == "__main__":
    make_tiny_training(os.path.dirname(os.path.abspath(__file__)))
