"""Prompts with weights, by the rule of docs/prompts.md: weighted.json.gz and .safetensors, weighted_pictures.safetensors.

The rule is written here a second time, on transformers' tokenizer and text encoder of model a: ids and weights of every
chunk, and what is left of its states when their tokens are summed with fixed factors. Two pictures are drawn by diffusers
from prompt_embeds made by it.
"""

import itertools
import math
import os
import random

import diffusers
import torch
import transformers

from golden_models import load
from golden_pictures import DEFAULTS
from golden_store import save_json_lines, save_tensors
from reference import SCHEDULERS, generator

BACKTRACK, CHUNK = 20, 75
FIXED = [
    "", "a cat", "(cat)", "((cat))", "(((cat)))", "[cat]", "[[cat]]", "([cat])", "(cat:1.5)", "(cat:0.5) dog", "(cat:-1)",
    "(cat:0) and a dog", "a (red (big:1.3) cat:1.2), [old] house", "(unclosed cat, dog", "[unclosed cat", "closed) cat",
    "closed] cat", r"\(cat\) \[dog\] a\\b a\b", r"(a\):1.3)", "cat:1.5", "(cat : 1.5 )", "(cat:1.5", "cat:1.5)", "(:1.5)",
    "()", "[]", "(cat:1.5.2)", "(cat:.5)", "(cat:+1.25)", "(cat:1e3)", "(a:1.2)(b:1.2)c", "a BREAK b", "a  BREAK  b", "BREAK",
    "BREAK a", "a BREAK", "a BREAK BREAK b", "aBREAK BREAKb", "(a BREAK b:1.3) c", "a break b", "a,BREAK,b",
    "(a:1.3), (b:0.7), [c], d", "ca(t:1.4)s", "(\u00e9t\u00e9:1.3) \U0001f600", "a\nb (c\nd:1.2)", "[a:1.2]", "((a:1.2):1.3)",
    ", , , ,", "(,:1.3)", "a (b) [c] {d} <e>",
]


def read(prompt):
    """[[text or None for BREAK, weight] ...]"""
    out, round_at, square_at = [], [], []

    def times(start, factor):
        for part in out[start:]:
            part[1] *= factor

    def words(text):
        at = 0
        while at < len(text):
            found = text.find("BREAK", at)
            while found >= 0 and ((found > 0 and (text[found - 1].isalnum() or text[found - 1] == "_"))
                                  or (found + 5 < len(text) and (text[found + 5].isalnum() or text[found + 5] == "_"))):
                found = text.find("BREAK", found + 1)
            if found < 0:
                out.append([text[at:], 1.0])
                return
            out.append([text[at:found].rstrip(), 1.0])
            out.append([None, 1.0])
            at = found + 5
            at += len(text[at:]) - len(text[at:].lstrip())

    i = 0
    while i < len(prompt):
        letter, number = prompt[i], None
        if letter == ":":
            end = prompt.find(")", i)
            try:
                text = prompt[i + 1:end].strip() if end > 0 else ""
                number = float(text) if set(text) <= set("+-.0123456789") else None
            except ValueError:
                number = None
            if number is not None and round_at:
                times(round_at.pop(), number)
                i = end + 1
                continue
            if number is not None:
                words(prompt[i:end + 1])
                i = end + 1
                continue
        if letter == "\\":
            if prompt[i + 1:i + 2] in tuple("()[]\\"):
                out.append([prompt[i + 1], 1.0])
                i += 1
        elif letter == "(":
            round_at.append(len(out))
        elif letter == "[":
            square_at.append(len(out))
        elif letter == ")" and round_at:
            times(round_at.pop(), 1.1)
        elif letter == "]" and square_at:
            times(square_at.pop(), 1 / 1.1)
        elif letter in ")]:":
            words(letter)
        else:
            end = i
            while end < len(prompt) and prompt[end] not in "\\()[]:":
                end += 1
            words(prompt[i:end])
            i = end - 1
        i += 1
    for start in reversed(round_at):
        times(start, 1.1)
    for start in reversed(square_at):
        times(start, 1 / 1.1)
    joined = []
    for text, weight in out:
        if text == "":
            continue
        if joined and text is not None and joined[-1][0] is not None and joined[-1][1] == weight:
            joined[-1][0] += text
        else:
            joined.append([text, weight])
    return joined


def chunks(tokenizer, prompt):
    """[(ids, weights) ...] of 77 each."""
    comma = tokenizer(",", add_special_tokens=False).input_ids
    comma = comma[0] if len(comma) == 1 else None
    out, now, last = [], [], None

    def close():
        ids = [i for i, _ in now]
        pad = CHUNK - len(ids)
        ids = [tokenizer.bos_token_id] + ids + [tokenizer.eos_token_id] + [tokenizer.pad_token_id] * pad
        out.append((ids, [1.0] + [w for _, w in now] + [1.0] * (pad + 1)))

    for text, weight in read(prompt):
        if text is None:
            close()
            now, last = [], None
            continue
        for token in tokenizer(text, add_special_tokens=False).input_ids:
            if token == comma:
                last = len(now)
            elif len(now) == CHUNK and last is not None and len(now) - last <= BACKTRACK:
                moved = now[last + 1:]
                now = now[:last + 1]
                close()
                now, last = moved, None
            if len(now) == CHUNK:
                close()
                now, last = [], None
            now.append((token, weight))
    if now or not out:
        close()
    return out


def states(encoder, ids, weights, skip):
    """(77, C) of one chunk; skip 1: the last layer."""
    hidden = encoder(torch.tensor([ids]), output_hidden_states=True).hidden_states[-skip]
    norm = encoder.final_layer_norm if hasattr(encoder, "final_layer_norm") else encoder.text_model.final_layer_norm
    z = norm(hidden)[0]
    weighted = z * torch.tensor(weights)[:, None]
    return z if all(w == 1 for w in weights) else weighted * (z.double().mean() / weighted.double().mean()).float()


def prompts():
    """100 of them: those above, and long ones with commas, brackets and BREAKs at random places."""
    stream, out = random.Random(1), list(FIXED)
    words = ["a", "castle", "oil on canvas", "(red:1.3)", "[sky]", "((very)) detailed", "photo", "x" * 9, "(two words:0.8)"]
    while len(out) < 100:
        text = ""
        for _ in range(stream.choice([10, 25, 40, 60])):
            text += stream.choice(words) + stream.choice([" ", " ", " ", ", ", ", ", " BREAK "] if len(out) % 7 == 0
                                                         else [" ", " ", " ", " ", ", "])
        out.append(text.strip())
    return out


def draw(pipe, case):
    """Picture and latents from prompt_embeds; both texts are filled with empty chunks to one length."""
    pipe.scheduler = SCHEDULERS[case["scheduler"]][0].from_config(pipe.scheduler.config)
    texts = {}
    for name in ("prompt", "negative"):
        parts = [states(pipe.text_encoder, *part, case["clip_skip"]) for part in chunks(pipe.tokenizer, case[name])]
        texts[name] = parts
    empty = states(pipe.text_encoder, *chunks(pipe.tokenizer, "")[0], case["clip_skip"])
    most = max(len(parts) for parts in texts.values())
    embeds = {name: torch.cat(parts + [empty] * (most - len(parts)))[None] for name, parts in texts.items()}
    last = {}

    def keep(_pipe, _step, _t, values):
        last["latents"] = values["latents"].clone()
        return values

    picture = pipe(prompt_embeds=embeds["prompt"], negative_prompt_embeds=embeds["negative"],
                   num_inference_steps=case["steps"], guidance_scale=case["guidance"], width=case["W"], height=case["H"],
                   generator=generator(case["seed"]), callback_on_step_end=keep, output_type="np").images[0]
    return torch.from_numpy(picture), last["latents"]


def make_weighted(out):
    """Write all files."""
    pipe = load(out, "a")
    rows, sums = [], {}
    factors = torch.tensor([math.sin(1.7 * t + 0.3) for t in range(77)])
    for i, prompt in enumerate(prompts()):
        parts = chunks(pipe.tokenizer, prompt)
        skip = 2 if i % 10 == 9 else 1
        rows.append({"prompt": prompt, "clip_skip": skip, "chunks": len(parts), "ids": [], "weights": []})
        for ids, weights in parts:                     # without what fills the chunk; weights as [weight, how often]
            ids = [i for i in ids if i != pipe.tokenizer.pad_token_id]
            runs = [[w, len(list(same))] for w, same in itertools.groupby(weights[:len(ids)])]
            rows[-1]["ids"].append(ids)
            rows[-1]["weights"].append(runs)
        sums[str(i)] = torch.stack([factors @ states(pipe.text_encoder, *part, skip) for part in parts])
    head = {"about": "prompts in the syntax a1111 by the rule of docs/prompts.md; states: sum over t of sin(1.7 t + 0.3) z_t",
            "transformers": transformers.__version__, "diffusers": diffusers.__version__}
    save_json_lines(os.path.join(out, "weighted.json.gz"), head, rows)
    save_tensors(os.path.join(out, "weighted.safetensors.gz"), sums)
    pictures = {}
    cases = {"short": {"prompt": "a (castle:1.3), [oil] on canvas", "negative": "blurry", "clip_skip": 1},
             "long": {"prompt": "very, very (detailed:1.2) " * 30, "negative": "(bad:1.4) BREAK dog", "clip_skip": 2}}
    for name, case in cases.items():
        case = DEFAULTS | {"steps": 4, "W": 64, "H": 64} | case
        picture, latents = draw(pipe, case)
        pictures[name + ".latents"] = latents
    save_tensors(os.path.join(out, "weighted_pictures.safetensors"), pictures)
