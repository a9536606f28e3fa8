"""What Python's json.loads makes of objects that other programs write beside pictures: side_json.json.gz
(for test_side_json.c).

    python tests/golden/golden_side_json.py

A row: the bytes (hex digits), and under "fields" what "text", "label" and "a key" hold: [kind, text] with kind "text",
"whole" (digits), "other", or null where the key is absent or null; "fields" null: Python refuses the bytes, and so must we.
Half of a surrogate pair and the character 0 stand as U+FFFD, since no UTF-8 text holds the one, and no C text the other.
"""

import json
import os
import random

from golden_store import save_json_lines

HERE = os.path.dirname(os.path.abspath(__file__))
KEYS = ("text", "label", "a key")


def plain(text):
    """The text as UTF-8 can hold it."""
    return "".join("\ufffd" if c == "\0" or 0xd800 <= ord(c) < 0xe000 else c for c in text)


def field(value):
    """What is wanted of a value."""
    if value is None:
        return None
    if isinstance(value, str):
        return ["text", plain(value)]
    if isinstance(value, int) and not isinstance(value, bool):
        return ["whole", str(value)]
    return ["other", None]


def row(data):
    """Python's reading."""
    try:
        got = json.loads(data)
        fields = {k: field(got.get(k)) for k in KEYS} if isinstance(got, dict) else None
    except (ValueError, RecursionError):
        fields = None
    return {"bytes": data.hex(), "fields": fields}


def value(rng, depth):
    """Any value."""
    kinds = ["text", "number", "word", "list", "object"] if depth < 5 else ["text", "number", "word"]
    kind = rng.choice(kinds)
    if kind == "text":
        return "".join(rng.choice("ab \"\\/\n\t\x01\x7f\u00e9\u732b\U0001f434\ud83d\udc34\0{}[],:") for _ in range(rng.randrange(9)))
    if kind == "number":
        return rng.choice([0, -1, 7, 2 ** 64 - 1, -10 ** 30, 1.5, 1e300, -2.5e-9, float("nan"), float("inf"), float("-inf")])
    if kind == "word":
        return rng.choice([None, True, False])
    if kind == "list":
        return [value(rng, depth + 1) for _ in range(rng.randrange(4))]
    return {rng.choice([*KEYS, "x", "", "\u00e9"]): value(rng, depth + 1) for _ in range(rng.randrange(4))}


def written():
    """By hand: the oddities one by one, and what is no object."""
    yield b'{"text": "a cat", "label": 3}'
    yield b'\xef\xbb\xbf{"text": "a cat"}'
    yield b' \n{ "text"\t:\r\n"a cat" , "x" : [ ] , "y" : { } } \n'
    yield b'{"label": 1, "label": "two", "text": null}'
    yield b'{"te\\u0078t": "escaped key", "a\\u0020key": "\\u732B \\ud83d\\udc34 \\ud83d \\udc34\\ud83d\\u0041"}'
    yield b'{"x": {"text": "inner"}, "label": 0, "a key": 18446744073709551615}'
    yield b'{"exif": "' + b"x" * 3000 + b'\\u0000", "text": "\\"\\\\\\/\\b\\f\\n\\r\\t"}'
    yield b'{"x": ' + b"[" * 500 + b"]" * 500 + b', "text": "deep"}'
    yield b'{"x": ' + b'{"x":[' * 200 + b"]}" * 200 + b', "text": "deep"}'
    for bad in (b"", b"[]", b'"text"', b"1", b"null", b"{", b'{"text"', b'{"text":', b'{"text":"a', b'{"text":"a"', b'{"text":"a",',
                b'{"text":"a"}}', b'{"text":"a"} x', b"{'text': 1}", b'{text: 1}', b'{"text" "a"}', b'{"x": [1, 2}', b'{"x": {"y"}}',
                b'{"x": [1 2]}', b'{"x": nul}', b'{"x": NAN}', b'{"x": }', b'{"x": [,]}', b'{"x": 1,, "y": 2}', b'{"text": "\\u12"}',
                b'{"text": "\\q"}', b'{"x": ]}', b'{"x": {]}', b'{"x": -}', b'{"x": +Infinity}', b'{"x": "a\\"}', b"\x00", b"\xff{}"):
        yield bad


def main():
    """Write side_json.json.gz beside this file."""
    rng, texts = random.Random(1), list(written())
    for i in range(150):
        made = {k: value(rng, 0) for k in rng.sample([*KEYS, "x", "y"], rng.randrange(6))}
        texts.append(json.dumps(made, ensure_ascii=i % 2 == 0, indent=rng.choice([None, 1])).encode("utf-8", "replace"))
    save_json_lines(os.path.join(HERE, "side_json.json.gz"), {"about": "Python's json.loads; see golden_side_json.py"},
                    [row(t) for t in texts])


if __name__ == "__main__":
    main()
