"""Values and gradients of every differentiable operation: gradients.safetensors.gz.

A case is a function of named tensors in imago's layout, (B, H, W, C), weights (Cout, Kh, Kw, Cin); it permutes to
torch's layout inside, so autograd gives the gradients in ours. All is computed in f64 from f32 inputs and stored as
f32; the same in f32 must agree to 1e-5. README.md lists the cases.
"""

import math
import os

import torch
from diffusers import DDPMScheduler
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from torch.nn import functional

import hashed
from golden_store import save_tensors

ACTS = {"none": lambda x: x, "silu": functional.silu, "gelu": functional.gelu, "relu": functional.relu,
        "gelu_tanh": lambda x: functional.gelu(x, approximate="tanh"), "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
        "tanh": torch.tanh}
TAU = 0.1


def nchw(x):
    """(B, H, W, C) -> (B, C, H, W)."""
    return x.permute(0, 3, 1, 2)


def nhwc(x):
    """(B, C, H, W) -> (B, H, W, C)."""
    return x.permute(0, 2, 3, 1)


class Cases:
    """Collects NAME.INPUT, NAME.y, NAME.dy and NAME.dINPUT."""

    def __init__(self):
        self.tensors, self.worst = {}, 0.0

    def gradients(self, name, function, inputs, fixed, dtype):
        """{y, further outputs, dINPUT} of one evaluation in dtype. dy is hashed unless y is a single number."""
        leaves = {key: value.to(dtype, copy=True).requires_grad_() for key, value in inputs.items()}
        results = function(**leaves, **{key: value.to(dtype) if value.is_floating_point() else value
                                        for key, value in fixed.items()})
        results = results if isinstance(results, dict) else {"y": results}
        y = results["y"]
        if y.numel() > 1:
            self.tensors[name + ".dy"] = hashed.fill(name + ".dy", y.shape)
            y.backward(self.tensors[name + ".dy"].to(dtype))
        else:
            y.backward()
        results |= {"d" + key: leaf.grad for key, leaf in leaves.items()}
        return {key: value.detach() for key, value in results.items()}

    def add(self, name, function, fixed=None, **inputs):
        """A case. An input is a tensor, or a shape to fill with hashed values; fixed ones get no gradient."""
        inputs = {key: value if torch.is_tensor(value) else hashed.fill(f"{name}.{key}", value)
                  for key, value in inputs.items()}
        fixed = fixed or {}
        double = self.gradients(name, function, inputs, fixed, torch.float64)
        single = self.gradients(name, function, inputs, fixed, torch.float32)
        for key, value in double.items():
            error = float((single[key].double() - value).norm() / (value.norm() + 1e-30))
            assert error < 1e-5, f"{name}.{key}: f32 and f64 differ by {error}"
            self.worst = max(self.worst, error)
        for key, value in (inputs | fixed | double).items():
            self.tensors[f"{name}.{key}"] = value.reshape(1) if value.ndim == 0 else value


def weight(name, *shape):
    """A weight whose sums stay near 1."""
    return hashed.fill(name, shape, 1 / math.sqrt(math.prod(shape[1:])))


def add_linear(cases):
    """linear.ACT: act(x w^T + b) + res; linear_plain: x w^T; geglu: v * gelu(g)."""
    for act, function in ACTS.items():
        cases.add(f"linear.{act}", lambda x, w, b, res: function(functional.linear(x, w, b)) + res,
                  x=(3, 5, 19), w=weight(f"linear.{act}.w", 23, 19), b=(23,), res=(3, 5, 23))
        cases.add(f"activate.{act}", lambda x: function(x), x=hashed.fill(f"activate.{act}.x", (16, 10), 3))
    cases.add("linear_plain", lambda x, w: functional.linear(x, w), x=(2, 5, 12), w=weight("linear_plain.w", 7, 12))

    def geglu(x, w, b):
        v, g = functional.linear(x, w, b).chunk(2, dim=-1)
        return v * functional.gelu(g)

    cases.add("geglu", geglu, x=(2, 5, 12), w=weight("geglu.w", 28, 12), b=(28,))


def add_conv(cases):
    """Stride, pad (top, left, bottom, right) and enlargement stand in README.md."""
    def conv(stride, pad, up=None):
        def function(x, w, b, chan=None, res=None):
            x = nchw(x)
            x = functional.interpolate(x, size=up, mode="nearest") if up else x
            top, left, bottom, right = pad
            y = functional.conv2d(functional.pad(x, (left, right, top, bottom)), nchw(w), b, stride)
            y = y if chan is None else y + chan[:, :, None, None]
            return nhwc(y) if res is None else nhwc(y) + res
        return function

    def add(name, function, x, w, **more):
        cases.add(name, function, x=x, w=weight(name + ".w", *w), b=(w[0],), **more)

    one, three = (1,) * 4, (3,) * 4
    add("conv3x3", conv(1, one), (2, 6, 7, 5), (8, 3, 3, 5))
    add("conv3x3_s2", conv(2, one), (2, 7, 9, 4), (6, 3, 3, 4))
    add("conv3x3_s2_even", conv(2, one), (2, 8, 6, 4), (6, 3, 3, 4))
    add("conv1x1", conv(1, (0,) * 4), (2, 5, 6, 7), (9, 1, 1, 7))
    add("conv1x1_s2", conv(2, (0,) * 4), (2, 7, 6, 5), (9, 1, 1, 5))
    add("conv7x7_s2", conv(2, three), (2, 13, 12, 3), (4, 7, 7, 3))
    add("conv3x3_pad_end", conv(2, (0, 0, 1, 1)), (2, 6, 8, 4), (5, 3, 3, 4))
    add("conv3x3_up", conv(1, one, (6, 8)), (2, 3, 4, 4), (5, 3, 3, 4))
    add("conv3x3_up_odd", conv(1, one, (7, 9)), (2, 4, 5, 4), (5, 3, 3, 4))
    add("conv3x3_chan_res", conv(1, one), (2, 5, 4, 6), (7, 3, 3, 6), chan=(2, 7), res=(2, 5, 4, 7))
    add("conv3x3_wide", conv(1, one), (2, 9, 8, 17), (35, 3, 3, 17))


def add_norms(cases):
    """Group, layer and batch norm, L2-normalised rows."""
    def groupnorm(groups, eps, silu):
        def function(x, gamma, beta):
            y = functional.group_norm(x.movedim(-1, 1), groups, gamma, beta, eps).movedim(1, -1)
            return functional.silu(y) if silu else y
        return function

    cases.add("groupnorm", groupnorm(4, 1e-5, False), x=(2, 3, 5, 12), gamma=(12,), beta=(12,))
    cases.add("groupnorm_silu", groupnorm(4, 1e-5, True), x=(2, 3, 5, 12), gamma=(12,), beta=(12,))
    cases.add("groupnorm_tokens", groupnorm(3, 1e-6, False), x=(2, 7, 12), gamma=(12,), beta=(12,))
    cases.add("layernorm", lambda x, gamma, beta: functional.layer_norm(x, x.shape[-1:], gamma, beta, 1e-5),
              x=(3, 4, 19), gamma=(19,), beta=(19,))

    def batchnorm(train, relu):
        def function(x, gamma, beta, mean, var, res=None):
            after = {"mean_after": mean.clone(), "var_after": var.clone()}
            y = functional.batch_norm(x.movedim(-1, 1), after["mean_after"], after["var_after"], gamma, beta, train,
                                      0.1, 1e-5).movedim(1, -1)
            y = y if res is None else y + res
            return {"y": functional.relu(y) if relu else y} | (after if train else {})
        return function

    for name, train, relu, res in [("batchnorm", True, False, False), ("batchnorm_relu", True, True, False),
                                   ("batchnorm_add_relu", True, True, True), ("batchnorm_eval", False, False, False),
                                   ("batchnorm_eval_add_relu", False, True, True), ("batchnorm_rows", True, False, False)]:
        shape = (9, 6) if name == "batchnorm_rows" else (3, 4, 5, 6)
        x = hashed.fill(name + ".x", shape, 1.5, 0.7)
        fixed = {"mean": hashed.fill(name + ".mean", (6,), 0.1), "var": hashed.fill(name + ".var", (6,), 0.2, 1)}
        cases.add(name, batchnorm(train, relu), fixed, x=x, gamma=(6,), beta=(6,), **({"res": shape} if res else {}))

    cases.add("normalize", lambda x: functional.normalize(x, dim=-1), x=(5, 9))
    cases.add("normalize_zero", lambda x: functional.normalize(x, dim=-1), x=torch.zeros(2, 9))
    cases.add("cosine_logits", lambda x, w: functional.normalize(x, dim=-1) @ functional.normalize(w, dim=-1).T / TAU,
              x=(5, 9), w=(7, 9))


def add_attention(cases):
    """q, k, v (B, T, heads * d); scores divided by sqrt(d)."""
    def attention(heads, causal):
        def function(q, k, v):
            def split(x):
                return x.unflatten(-1, (heads, -1)).transpose(1, 2)
            y = functional.scaled_dot_product_attention(split(q), split(k), split(v), is_causal=causal)
            return y.transpose(1, 2).flatten(2)
        return function

    for name, heads, width, tq, tk, causal in [("attention", 3, 12, 7, 7, False), ("attention_causal", 3, 12, 7, 7, True),
                                               ("attention_cross", 3, 12, 7, 5, False),
                                               ("attention_long", 2, 16, 70, 70, False),
                                               ("attention_long_causal", 2, 16, 70, 70, True),
                                               ("attention_one_head", 1, 24, 9, 9, False)]:
        batch = 1 if tq > 50 else 2
        cases.add(name, attention(heads, causal), q=(batch, tq, width), k=(batch, tk, width), v=(batch, tk, width))


def add_moving(cases):
    """Addition with broadcast, concatenation, scaling, embedding, pools."""
    for name, shape in [("add", (2, 3, 4, 5)), ("add_last", (5,)), ("add_last_two", (4, 5))]:
        cases.add(name, lambda a, b: a + b, a=(2, 3, 4, 5), b=shape)
    cases.add("scale", lambda x: 0.7 * x, x=(3, 5))
    cases.add("concat", lambda a, b: torch.cat([a, b], dim=-1), a=(2, 3, 4, 5), b=(2, 3, 4, 3))
    ids = torch.tensor([[3, 0, 10, 3, 3], [1, 10, 7, 2, 0]])
    cases.add("embedding", lambda table, ids: functional.embedding(ids, table), {"ids": ids}, table=(11, 6))

    def maxpool(x):
        return nhwc(functional.max_pool2d(nchw(x), 3, 2, 1))

    cases.add("maxpool", maxpool, x=(2, 7, 8, 3))
    cases.add("maxpool_ties", maxpool, x=hashed.fill("maxpool_ties.x", (2, 9, 6, 3)).clamp(0).mul(2).round())
    cases.add("avgpool", lambda x: x.mean((1, 2)), x=(2, 4, 5, 6))


def add_losses(cases):
    """y is one number and dy is 1."""
    for name, scale in [("cross_entropy", 2.0), ("cross_entropy_sharp", 60.0)]:
        cases.add(name, lambda x, target: functional.cross_entropy(x, target),
                  {"target": hashed.labels(name + ".target", 6, 10)}, x=hashed.fill(name + ".x", (6, 10), scale))
    target = {"target": hashed.fill("mse.target", (2, 3, 4, 5))}
    cases.add("mse", lambda x, target: functional.mse_loss(x, target), target, x=(2, 3, 4, 5))
    x = hashed.fill("l1.x", (2, 3, 4, 5))
    x[0, 0, 0, :3] = target["target"][0, 0, 0, :3]
    cases.add("l1", lambda x, target: functional.l1_loss(x, target), target, x=x)
    cases.add("gradient_l1", gradient_l1, target, x=(2, 3, 4, 5))

    def kl(moments):
        return DiagonalGaussianDistribution(nchw(moments)).kl().mean()

    def sample(moments, eps):
        distribution = DiagonalGaussianDistribution(nchw(moments))
        return nhwc(distribution.mean + distribution.std * nchw(eps))

    wide = hashed.fill("kl_clamp.moments", (2, 3, 2, 8), 20)
    for name, moments in [("kl", hashed.fill("kl.moments", (2, 3, 2, 8))), ("kl_clamp", wide)]:
        cases.add(name, kl, moments=moments)
    for name, moments in [("sample", hashed.fill("sample.moments", (2, 3, 2, 8))), ("sample_clamp", wide)]:
        cases.add(name, sample, {"eps": hashed.fill(name + ".eps", (2, 3, 2, 4))}, moments=moments)


def add_noising(cases):
    """The noised latents of diffusion training, v1.4's betas."""
    scheduler = DDPMScheduler(num_train_timesteps=1000, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    fixed = {"eps": hashed.fill("add_noise.eps", (5, 2, 2, 4)), "times": torch.tensor([0, 1, 500, 981, 999])}
    cases.add("add_noise", lambda x, eps, times: scheduler.add_noise(x, eps, times), fixed, x=(5, 2, 2, 4))


def gradient_l1(x, target):
    """mean |(x - target)'s difference to its right neighbour| + the same downward; x (B, H, W, C)."""
    d = x - target
    return (d[:, :, 1:] - d[:, :, :-1]).abs().mean() + (d[:, 1:] - d[:, :-1]).abs().mean()


def make_gradients(out):
    """gradients.safetensors.gz."""
    cases = Cases()
    with torch.enable_grad():
        for add in (add_linear, add_conv, add_norms, add_attention, add_moving, add_losses,
                    add_noising):
            add(cases)
    print(f"f32 is at most {cases.worst:.1e} from f64")
    save_tensors(os.path.join(out, "gradients.safetensors.gz"), cases.tensors)
