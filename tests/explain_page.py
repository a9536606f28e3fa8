"""explain_page.py: reads a page of `imago explain` and says where it is wrong; used by tests/cli/explain.sh.

    python3 tests/explain_page.py PAGE [IDS.json]       it parses, asks for nothing, its numbers agree with one another
                                                        and its tokens with those that `imago tokenize --json` printed
    python3 tests/explain_page.py --picture PAGE PNG    its first picture has the pixels of a PNG
    python3 tests/explain_page.py --map PAGE JSON       the map of a word is golden_daam.py's
    python3 tests/explain_page.py --train PAGE LOG      of a training: its epochs are those of log.jsonl
"""
import base64
import html.parser
import json
import re
import sys
import tempfile
import zlib

import png_parts

VOID = {"meta", "img", "br", "input", "link", "hr", "line", "polyline"}
SECTIONS = ("prompt", "noise", "steps", "words", "unet", "convolution", "training", "change", "exercises")


class Page(html.parser.HTMLParser):
    """Every tag that opens is closed in order; addresses, ids and data-* are collected."""

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.links, self.addresses, self.data, self.tokens = [], set(), [], [], {}, []
        self.images, self.made, self.details = [], 0, 0

    def handle_starttag(self, tag, attrs):
        a = dict(attrs)
        if "id" in a:
            assert a["id"] not in self.ids, f"two parts are called {a['id']}"
            self.ids.add(a["id"])
            self.data[a["id"]] = a
        if "data-id" in a:
            self.tokens.append(int(a["data-id"]))
        for name in ("src", "href"):
            if name in a:
                (self.links if a[name].startswith("#") else self.addresses).append(a[name])
        self.addresses += re.findall(r"url\(([^)]*)", a.get("style", ""))
        if tag == "img":
            assert a.get("alt"), "a picture without alt"
            self.images.append(a["src"])
        self.made += a.get("class") == "made"
        self.details += tag == "details"
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag in VOID:
            return
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]} at line {self.getpos()[0]}"
        self.open.pop()


def read(path):
    text = open(path, encoding="utf-8").read()
    page = Page()
    page.feed(text)
    page.close()
    assert not page.open, f"never closed: {page.open}"
    return text, page


def check(path, ids=None):
    text, page = read(path)
    for address in page.addresses:
        assert address.startswith("data:image/"), f"asks for {address[:80]}"
    shown = re.sub(r"<pre>.*?</pre>", "", text, flags=re.S)                  # source that is quoted has calls of its own
    assert not re.search(r"https?://|@import|<link|fetch\(|XMLHttp", shown), "asks for something elsewhere"
    assert "nan" not in re.findall(r"[A-Za-z]+", re.sub(r"base64,[^\"')]*", "", shown)), "a value that is no number"
    for link in page.links:
        assert link[1:] in page.ids, f"a link to {link}, which is not there"
    for section in SECTIONS:
        assert section in page.ids, f"no section {section}"
    assert page.made >= 10 and page.details > 40, f"{page.made} commands, {page.details} parts to open"
    if ids:
        want = json.load(open(ids))["ids"]
        last = len(want)
        while last > 1 and want[last - 2] == want[-1]:
            last -= 1
        assert page.tokens == want[:last], f"tokens {page.tokens}, wanted {want[:last]}"
    opened = page.data["opened"]
    total, traced = float(opened["data-sum"]), float(opened["data-traced"])
    # on the cpu the order of the sum is the same: the same bits; ref adds in f64, 37 roundings of f32 less
    assert abs(total - traced) <= 40 * 2**-24 * max(1, abs(traced)), f"{total} opened, {traced} traced"
    # the products of the table, added up here
    table = text[text.index('id="convolution"'):text.index('id="opened"')]
    rows = re.findall(r"<td>(-?[\d.]+)</td><td>(-?[\d.]+)</td><td>-?[\d.]+</td><td>-?[\d.]+</td></tr>", table)
    bias = float(re.search(r"\+ bias (-?[\d.]+)", table).group(1))
    added = sum(float(a) * float(b) for a, b in rows) + bias
    assert len(rows) >= 27 and abs(added - traced) < 1e-3, f"{len(rows)} products give {added}, traced {traced}"
    step = page.data["difference"]
    gradient, difference = float(step["data-gradient"]), float(step["data-difference"])
    # the loss is an f32 near 1: 2^-24 of it over 2 h = 0.02 is 3e-6; the third derivative is far below 1 %
    assert abs(gradient - difference) <= 0.01 * abs(gradient) + 2e-5, f"gradient {gradient}, by differences {difference}"
    after = float(step["data-before"]) - 0.01 * gradient
    assert abs(after - float(step["data-after"])) <= 1e-7 * max(1, abs(after)), f"the step went to {step['data-after']}"


def rgb(path):
    """(width, height, bytes of RGB) of a PNG of 8-bit RGB or with a palette, its filters undone (PNG specification, 9)."""
    parts = {k: b for k, b in png_parts.chunks(path) if k in (b"IHDR", b"PLTE")}
    width, height = (int.from_bytes(parts[b"IHDR"][i:i + 4], "big") for i in (0, 4))
    data = zlib.decompress(b"".join(b for k, b in png_parts.chunks(path) if k == b"IDAT"))
    depth, kind = parts[b"IHDR"][8:10]
    assert kind == 3 or (depth, kind) == (8, 2), "neither 8-bit RGB nor with a palette"
    step = 3 if kind == 2 else 1
    n = (step * width * depth + 7) // 8
    line, out = bytearray(n), bytearray()
    for y in range(height):
        filtered, raw, above = data[y * (n + 1)], data[y * (n + 1) + 1:(y + 1) * (n + 1)], line
        line = bytearray(raw)
        for i, v in enumerate(raw):
            a, b, c = (line[i - step] if i >= step else 0), above[i], (above[i - step] if i >= step else 0)
            p = a + b - c
            near = min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]
            line[i] = (v + (0, a, b, (a + b) // 2, near)[filtered]) & 255
        if kind == 2:
            out += line
        for x in range(width if kind == 3 else 0):
            colour = line[x * depth // 8] >> (8 - depth - x * depth % 8) & (1 << depth) - 1
            out += parts[b"PLTE"][3 * colour:3 * colour + 3]
    return width, height, bytes(out)


def rgb_of(url):
    with tempfile.NamedTemporaryFile(suffix=".png") as f:
        f.write(base64.b64decode(url.split(",", 1)[1]))
        f.flush()
        return rgb(f.name)


def same_picture(path, png):
    assert rgb_of(read(path)[1].images[0]) == rgb(png), "another picture"


def same_map(path, golden):
    want = json.load(open(golden))["map"]
    side = int(len(want) ** 0.5)
    film = re.search(r'data-film="words" role="img" aria-label="strawberry"[^>]*url\(([^)]*)', read(path)[0]).group(1)
    width, _, values = rgb_of(film)
    # from black over red and yellow to white: the sum of the colours is the share of the largest value, in 765 steps
    found = [sum(values[3 * (y * width + x):3 * (y * width + x) + 3]) / 765 for y in range(side) for x in range(side)]
    apart = max(abs(a - b) for a, b in zip(found, want))
    assert apart < 0.003, f"the map of the first step is {apart} away from diffusers'"


def training(path, log):
    text, page = read(path)
    assert not page.addresses and {"curves", "epochs", "weights", "samples"} <= page.ids
    found = re.findall(r"<tr><td>(\d+)</td><td>(\d+)</td><td>([-.\de]+)", text)
    by = {}
    for line in open(log):
        row = json.loads(line)
        by.setdefault(row["epoch"], []).append((row["step"], row["loss"]))
    want = [(e, rows[-1][0], sum(x for _, x in rows) / len(rows)) for e, rows in by.items()]
    assert len(found) == len(want) > 1, f"{len(found)} epochs, wanted {len(want)}"
    for (a, b, c), (epoch, step, loss) in zip(found, want):
        assert (int(a), int(b)) == (epoch, step) and abs(float(c) - loss) <= 1e-4 * abs(loss), f"epoch {a}: {b}, {c}"
    moved = [float(x) for x in re.findall(r"all weights together ([\d.]+) %", text)]
    assert len(moved) == 2 and all(0 < x < 100 for x in moved), f"weights moved by {moved} %"


if __name__ == "__main__":
    if sys.argv[1] == "--picture":
        same_picture(*sys.argv[2:])
    elif sys.argv[1] == "--map":
        same_map(*sys.argv[2:])
    elif sys.argv[1] == "--train":
        training(*sys.argv[2:])
    else:
        check(*sys.argv[1:])
