"""Token ids of tokenizers with added tokens, in every layout that transformers has written: added_tokens.json.gz.

A layout is a base folder of models/ and edits of its JSON files: {file: {key: value}}, a file that is not there begins
empty, null takes a key or a file away, "+" before a key appends to its list.
"""

import json
import os
import shutil
import tempfile

import transformers
from transformers import CLIPTokenizer

from golden_store import save_json_lines

NEXT = 1014                                       # the ids of the bases are 0 to 1013


def token(content, **flags):
    """One entry of added_tokens_decoder."""
    return {"content": content, "lstrip": False, "normalized": True, "rstrip": False, "single_word": False,
            "special": False, **flags}


ROLES = {"1012": token("<|startoftext|>", special=True),
         "1013": token("<|endoftext|>", normalized=False, special=True)}
CAT = "<cat-toy>"
TEXTS = ["a <cat-toy> horse", "a<Cat-Toy>horse", "A <CAT-TOY>  x", "cat-toy <cat-toy", "<cat-toy>'s <cat-toy><cat-toy>",
         "<|endoftext|><cat-toy><|startoftext|>"]
WORDS = ["a cat horse", "acat horse", "a catx", " cat ", "a  cat  b", "cat, cat. catcat", "the cat  ", "Cat CAT",
         "\u00e9cat cat\u0301 \u24b6cat cat_ cat\u200d _cat \u00bdcat \u00b2cat cat\u203f \U0001f170cat \u2177cat cat\u0663 "
         "\u4e2dcat cat\u4e2d cat\u3000cat \U0001d400cat \u0e33cat"]


def config(**keys):
    """An edit of tokenizer_config.json."""
    return {"tokenizer_config.json": keys}


def layouts():
    """(name, base, edits, texts)"""
    a, b = "models/a/tokenizer", "models/b_resaved/tokenizer"
    decoder = {**ROLES, "1014": token(CAT)}
    yield "no added token", a, {}, TEXTS
    yield "added_tokens.json", a, {"added_tokens.json": {CAT: NEXT}}, TEXTS
    yield "added_tokens.json, capital letters", a, {"added_tokens.json": {"<Cat-Toy>": NEXT}}, TEXTS
    yield "added_tokens.json, not in order", a, {"added_tokens.json": {"<b>": 1015, CAT: NEXT, "<c>": 1016}}, \
        ["<b> <cat-toy> <c>", "<B><C>"]
    yield "added_tokens.json without the other files", a, \
        {"added_tokens.json": {CAT: NEXT, "<|endoftext|>": 1013}, "tokenizer_config.json": None,
         "special_tokens_map.json": None}, TEXTS
    yield "one token begins like another", a, {"added_tokens.json": {"<a": 1014, "<a>": 1015, "a>": 1016}}, \
        ["<A> <a> <a a> <aa>", "a<a>>"]
    yield "tokens that are words", a, {"added_tokens.json": {"horse": 1014, "hor": 1015}}, ["a horse horsed", "hor hors"]
    yield "tokens with spaces", a, {"added_tokens.json": {" my cat ": 1014}}, ["a my cat b", "a  my  cat  b", "my cat "]
    yield "tokens beyond ASCII", a, {"added_tokens.json": {"<\u00c7>": 1014, "<\ufb01>": 1015}}, \
        ["a <\u00c7> <\u00e7> <C\u0327> <\ufb01>"]
    yield "added and additional", a, {"added_tokens.json": {CAT: NEXT},
                                      "special_tokens_map.json": {"additional_special_tokens": [CAT]}}, TEXTS
    for key in ("additional_special_tokens", "extra_special_tokens"):
        yield f"{key} of the map", a, {"special_tokens_map.json": {key: [CAT]}}, TEXTS
        yield f"{key} of the configuration", a, config(**{key: [CAT]}), TEXTS
    yield "extra_special_tokens by name", a, config(extra_special_tokens={"cat_token": CAT}), TEXTS
    yield "a role of its own", a, config(cat_token=CAT), TEXTS
    yield "many roles", a, config(mask_token="<mask>", sep_token="<sep>", additional_special_tokens=["<x>", "<y>"],
                                  cat_token="<c>"), ["<mask><sep><x><y><c>", "<Mask> <X>"]
    yield "padding of its own", a, {"special_tokens_map.json": {"pad_token": "[PAD]"}}, ["a [PAD] b [pad]"]
    yield "padding with a piece", a, {"special_tokens_map.json": {"pad_token": "!"}}, ["a ! b!"]
    yield "the map has the last word", a, config(pad_token="!"), ["a ! b!"]
    yield "decoder", a, config(added_tokens_decoder=decoder), TEXTS
    yield "decoder without the roles", a, config(added_tokens_decoder={"1014": token(CAT)}), TEXTS
    yield "decoder, raw", a, config(added_tokens_decoder={**ROLES, "1014": token("<Cat-Toy>", normalized=False)}), TEXTS
    yield "decoder beside added_tokens.json", a, \
        {**config(added_tokens_decoder=decoder), "added_tokens.json": {"<other>": 1015},
         "special_tokens_map.json": {"pad_token": "!"}}, TEXTS + ["<other> !"]
    yield "empty decoder beside added_tokens.json", a, \
        {**config(added_tokens_decoder={}), "added_tokens.json": {CAT: NEXT}}, TEXTS
    for flag in ("lstrip", "rstrip", "single_word"):
        for raw in (False, True):
            edit = config(added_tokens_decoder={**ROLES, "1014": token("cat", normalized=not raw, **{flag: True})})
            yield f"{flag}{', raw' if raw else ''}", a, edit, WORDS
    yield "strips on both sides", a, config(added_tokens_decoder={
        **ROLES, "1014": token("cat", lstrip=True, rstrip=True), "1015": token("dog", lstrip=True, single_word=True)}), \
        ["a  cat  dog b", "cat dog", "catdog", "dog cat dog  cat"]
    whole = {"id": NEXT, **token(CAT)}
    yield "tokenizer.json", b, {"tokenizer.json": {"+added_tokens": [whole]}}, TEXTS
    yield "tokenizer.json, raw", b, {"tokenizer.json": {"+added_tokens": [{**whole, "normalized": False}]}}, TEXTS
    yield "tokenizer.json and added_tokens.json", b, \
        {"tokenizer.json": {"+added_tokens": [whole]}, "added_tokens.json": {"<other>": NEXT}}, TEXTS + ["<other>"]
    yield "tokenizer.json and decoder", b, \
        {"tokenizer.json": {"+added_tokens": [whole]}, **config(added_tokens_decoder={**ROLES, "1014": token("<o>")})}, \
        TEXTS + ["<o>"]


def edit_file(path, changes):
    """Applies one edit."""
    if changes is None:
        os.remove(path)
        return
    value = {}
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            value = json.load(file)
    for key, new in changes.items():
        if key.startswith("+"):
            value[key[1:]] += new
        else:
            value[key] = new
    with open(path, "w", encoding="utf-8") as file:
        json.dump(value, file)


def make_added_tokens(out):
    """Write added_tokens.json.gz: a row a layout, with the ids of its texts and the number of tokens."""
    rows = []
    for name, base, edits, texts in layouts():
        with tempfile.TemporaryDirectory() as folder:
            at = os.path.join(folder, "tokenizer")
            shutil.copytree(os.path.join(out, base), at)
            for file, changes in edits.items():
                edit_file(os.path.join(at, file), changes)
            tokenizer = CLIPTokenizer.from_pretrained(at)
            ids = [[text, tokenizer(text).input_ids] for text in texts]
            rows.append({"name": name, "base": base, "edits": edits, "size": len(tokenizer),
                         "pad": tokenizer.pad_token_id, "ids": ids})
    save_json_lines(os.path.join(out, "added_tokens.json.gz"), {"transformers": transformers.__version__}, rows)
