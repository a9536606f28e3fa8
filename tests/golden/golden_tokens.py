"""Token ids of CLIP's byte-pair tokenizer: tokens.json.gz, and the tokenizer folders of the small models.

The vocabulary is not stored: it follows from the merges (src/data/text/clip_merges.txt.gz), as
  256 characters of the byte alphabet, the same 256 with "</w>", one entry a merge, and
  "<|startoftext|>" and "<|endoftext|>" last.
"""

import gzip
import json
import os
import tempfile

import tokenizers
import transformers
from transformers import CLIPTokenizer

from golden_prompts import all_prompts, reduced_prompts
from golden_store import save_json_lines

HERE = os.path.dirname(os.path.abspath(__file__))
MERGES_FILE = os.path.join(HERE, "..", "..", "src", "data", "text", "clip_merges.txt.gz")
KNOWN_PROMPT = "a photograph of an astronaut riding a horse"
KNOWN_IDS = [49406, 320, 8853, 539, 550, 18376, 6765, 320, 4558, 49407]


def byte_alphabet():
    """The 256 printable characters that stand for bytes, in vocabulary order: printable bytes first."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + i) for i in range(len(others))]


def read_merges(count=None):
    """The first `count` merge lines (all when None) of the embedded file, without its header line."""
    with gzip.open(MERGES_FILE, "rt", encoding="utf-8") as file:
        header, *lines = file.read().rstrip("\n").split("\n")
    assert header == "#version: 0.2" and len(lines) == 48894
    return lines[:count]


def vocabulary(merges):
    """{piece: id} that belongs to a list of merge lines."""
    alphabet = byte_alphabet()
    pieces = alphabet + [c + "</w>" for c in alphabet] + [line.replace(" ", "") for line in merges]
    pieces += ["<|startoftext|>", "<|endoftext|>"]
    vocab = {piece: i for i, piece in enumerate(pieces)}
    assert len(vocab) == len(pieces) == 512 + len(merges) + 2
    return vocab


def special(content):
    """A special token as SD v1.4's tokenizer_config.json writes it."""
    return {"__type": "AddedToken", "content": content, "lstrip": False, "normalized": True,
            "rstrip": False, "single_word": False}


def write_tokenizer(folder, merge_count=None, length=77):
    """Write a tokenizer folder of the same four files as SD v1.4's, with the first `merge_count` merges."""
    merges = read_merges(merge_count)
    os.makedirs(folder, exist_ok=True)
    config = {"add_prefix_space": False, "bos_token": special("<|startoftext|>"), "do_lower_case": True,
              "eos_token": special("<|endoftext|>"), "errors": "replace", "model_max_length": length,
              "pad_token": "<|endoftext|>", "tokenizer_class": "CLIPTokenizer", "unk_token": special("<|endoftext|>")}
    plain = {key: {k: v for k, v in value.items() if k != "__type"} if isinstance(value, dict) else value
             for key, value in config.items() if key.endswith("_token")}
    contents = {"vocab.json": json.dumps(vocabulary(merges), ensure_ascii=False),
                "merges.txt": "\n".join(["#version: 0.2", *merges]) + "\n",
                "tokenizer_config.json": json.dumps(config, indent=2) + "\n",
                "special_tokens_map.json": json.dumps(plain, indent=2) + "\n"}
    for name, text in contents.items():
        with open(os.path.join(folder, name), "w", encoding="utf-8", newline="\n") as file:
            file.write(text)


def encode(tokenizer, prompt):
    """(ids without the padding at the end, count before cutting), as the pipelines of diffusers call it."""
    whole = tokenizer(prompt, padding="longest", return_tensors=None).input_ids
    cut = tokenizer(prompt, padding="max_length", max_length=tokenizer.model_max_length, truncation=True).input_ids
    assert len(cut) == tokenizer.model_max_length
    kept = min(len(whole), tokenizer.model_max_length)
    assert all(i == tokenizer.pad_token_id for i in cut[kept:])
    return cut[:kept], len(whole)


def token_rows(tokenizer, prompts):
    """One row a prompt: text, ids and the number of ids before cutting."""
    rows = []
    for prompt in prompts:
        ids, whole = encode(tokenizer, prompt)
        rows.append({"text": prompt, "ids": ids, "whole": whole})
    return rows


def make_tokens(out):
    """tokens.json.gz: every prompt with the ids of the full CLIP vocabulary."""
    with tempfile.TemporaryDirectory() as folder:
        write_tokenizer(folder)
        tokenizer = CLIPTokenizer.from_pretrained(folder)
    assert len(tokenizer) == 49408 and tokenizer(KNOWN_PROMPT).input_ids == KNOWN_IDS
    rows = token_rows(tokenizer, all_prompts())
    assert len(rows) >= 600
    head = {"about": "ids without padding; pad with `pad` up to `length`; whole = ids before cutting to `length`",
            "transformers": transformers.__version__, "tokenizers": tokenizers.__version__,
            "class": type(tokenizer).__name__, "length": 77, "pad": tokenizer.pad_token_id}
    save_json_lines(os.path.join(out, "tokens.json.gz"), head, rows)


def make_small_tokens(out):
    """tokens_small.json.gz: ids of the reduced vocabularies of models/a (length 77) and models/b (length 32)."""
    rows = []
    for model in ("a", "b"):
        tokenizer = CLIPTokenizer.from_pretrained(os.path.join(out, "models", model, "tokenizer"))
        rows += [{"model": model} | row for row in token_rows(tokenizer, reduced_prompts())]
    head = {"about": "as tokens.json, with the tokenizer folder of the model named; length: a 77, b 32",
            "transformers": transformers.__version__, "pad": tokenizer.pad_token_id}
    save_json_lines(os.path.join(out, "tokens_small.json.gz"), head, rows)
