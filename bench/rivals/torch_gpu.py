#!/usr/bin/env python3
"""PyTorch on a GPU, for bench/gpu.sh: the device's peaks, and what imago is measured beside. A JSON object a line.

    torch_gpu.py peaks            copy within memory (GB/s), products of 8192 x 8192 in bf16 and f16 (TFLOP/s)
    torch_gpu.py unet SAMPLES     a call of v1.4's UNet in bf16, 64x64 latents, 77 tokens; channels_last
    torch_gpu.py resnet50 BATCH   a training step of torchvision's, 224x224, bf16 with autocast, SGD; channels_last
"""
import json
import sys

import torch


# of Stable Diffusion v1.4
UNET = {"sample_size": 64, "in_channels": 4, "out_channels": 4, "layers_per_block": 2, "attention_head_dim": 8,
        "cross_attention_dim": 768, "block_out_channels": (320, 640, 1280, 1280), "norm_num_groups": 32,
        "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3}


def milliseconds(call, rounds=5):
    """The least of `rounds` calls, after two to warm up."""
    times = []
    for i in range(rounds + 2):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        call()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end))
    return min(times[2:])


def peaks():
    x = torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
    y = torch.empty_like(x)
    print(json.dumps({"peak": "copy", "gbs": 2 * x.numel() / 1e6 / milliseconds(lambda: y.copy_(x))}), flush=True)
    del x, y
    for name, dtype in (("bf16", torch.bfloat16), ("f16", torch.float16)):
        a = torch.randn(8192, 8192, dtype=dtype, device="cuda")
        ms = milliseconds(lambda: a @ a)
        print(json.dumps({"peak": "product", "dtype": name, "tflops": 2 * 8192 ** 3 / 1e9 / ms}), flush=True)


def unet(samples):
    from diffusers import UNet2DConditionModel
    net = UNet2DConditionModel(**UNET).to("cuda", torch.bfloat16, memory_format=torch.channels_last).eval()
    x = torch.randn(samples, 4, 64, 64, dtype=torch.bfloat16, device="cuda").to(memory_format=torch.channels_last)
    text = torch.randn(samples, 77, 768, dtype=torch.bfloat16, device="cuda")
    with torch.inference_mode():
        ms = milliseconds(lambda: net(x, 500, encoder_hidden_states=text).sample)
    print(json.dumps({"program": "torch " + torch.__version__, "samples": samples, "ms": ms}), flush=True)


def resnet50(batch):
    import torchvision
    net = torchvision.models.resnet50().to("cuda", memory_format=torch.channels_last)
    step = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-5)
    x = torch.randn(batch, 3, 224, 224, device="cuda").to(memory_format=torch.channels_last)
    label = torch.randint(1000, (batch,), device="cuda")

    def train():
        step.zero_grad()
        with torch.autocast("cuda", torch.bfloat16):
            loss = torch.nn.functional.cross_entropy(net(x), label)
        loss.backward()
        step.step()
    ms = milliseconds(train)
    print(json.dumps({"program": "torch " + torch.__version__, "batch": batch, "ms": ms, "img_per_s": 1000 * batch / ms}),
          flush=True)


if sys.argv[1] == "peaks":
    peaks()
else:
    {"unet": unet, "resnet50": resnet50}[sys.argv[1]](int(sys.argv[2]))
