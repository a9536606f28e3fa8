"""What Pillow makes of PNG files and of resizing: images.json.gz (for test_png.c).

    python tests/golden/golden_images.py

Needs Pillow, and torch to be written. The PNG files are put together here, chunk by chunk, since Pillow writes neither all bit depths nor
interlaced files; Pillow reads them. Bytes are stored as hex digits.
"""

import hashlib
import io
import os
import random
import struct
import zlib

import PIL
from PIL import Image, PngImagePlugin

from golden_store import save_json_lines

HERE = os.path.dirname(os.path.abspath(__file__))
# First column and row, and their steps, of the seven passes of Adam7 (ISO/IEC 15948, section 8.2).
ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}


def chunk(kind, data):
    """One chunk with its length and CRC."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def pack_row(samples, depth):
    """Samples of one row as bytes; fewer than 8 bits are packed from the left."""
    if depth == 16:
        return struct.pack(f">{len(samples)}H", *samples)
    bits = "".join(format(s, f"0{depth}b") for s in samples)
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[i:i + 8], 2) for i in range(0, len(bits), 8))


def png(width, height, depth, colour, pixels, interlaced=False, extra=b""):
    """A PNG file of pixels[y][x], tuples of samples; `extra` are chunks between header and data."""
    passes = ADAM7 if interlaced else [(0, 0, 1, 1)]
    data = b""
    for x0, y0, dx, dy in passes:
        for y in range(y0, height, dy):
            row = [s for x in range(x0, width, dx) for s in pixels[y][x]]
            if row:
                data += b"\0" + pack_row(row, depth)
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, int(interlaced))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra + chunk(b"IDAT", zlib.compress(data, 9))
            + chunk(b"IEND", b""))


def reading_rows():
    """Every colour type and depth, plain and interlaced, with and without a transparent colour."""
    rng = random.Random(3)
    for colour, depths in DEPTHS.items():
        for depth in depths:
            for width, height, interlaced, transparent in [(9, 7, False, False), (9, 7, True, False),
                                                           (3, 2, True, True), (1, 1, False, True)]:
                top = (1 << depth) - 1
                pixels = [[tuple(rng.choice([0, top, rng.randint(0, top), rng.randint(0, min(top, 300))])
                                 for _ in range(CHANNELS[colour])) for _ in range(width)] for _ in range(height)]
                extra = b""
                if colour == 3:                                # as many colours as the depth allows, less one
                    extra += chunk(b"PLTE", bytes(rng.randint(0, 255) for _ in range(3 * max(1, min(top, 200)))))
                if transparent and colour in (0, 2):
                    extra += chunk(b"tRNS", struct.pack(f">{CHANNELS[colour]}H", *pixels[0][0]))
                if transparent and colour == 3:
                    extra += chunk(b"tRNS", b"\0")
                if depth == 8:
                    extra = chunk(b"gAMA", struct.pack(">I", 100000)) + extra
                file = png(width, height, depth, colour, pixels, interlaced, extra)
                picture = Image.open(io.BytesIO(file)).convert("RGB")
                name = f"colour {colour}, depth {depth}, interlaced {interlaced}, tRNS {transparent}"
                yield {"kind": "read", "name": name, "png": file.hex(), "size": [width, height],
                       "rgb": picture.tobytes().hex()}


def text_rows():
    """Files with texts as Pillow writes them, in all three kinds of chunk."""
    texts = [("parameters", "a cat\nSteps: 50", "tEXt"), ("latin", "caf\u00e9 \u00a9", "tEXt"),
             ("wide", "\u732b \U0001f431", "iTXt"), ("packed", "zip " * 40, "zTXt"),
             ("packed wide", "\u732b" * 50, "zTXt"), ("empty", "", "tEXt")]
    info = PngImagePlugin.PngInfo()
    for key, value, kind in texts:
        info.add_text(key, value, zip=kind == "zTXt")
    file = io.BytesIO()
    Image.new("RGB", (2, 2)).save(file, "PNG", pnginfo=info)
    assert Image.open(io.BytesIO(file.getvalue())).text == {key: value for key, value, _ in texts}
    yield {"kind": "text", "png": file.getvalue().hex(), "texts": {key: value for key, value, _ in texts}}


def noise(width, height, channels):
    """Bytes of a 32-bit linear congruential generator, which the test has as well."""
    state, out = 1, bytearray()
    for _ in range(width * height * channels):
        state = (state * 1664525 + 1013904223) % 2**32
        out.append(state >> 24)
    return bytes(out)


def resize_rows():
    """SHA-256 of resized noise, so that every rounding shows."""
    filters = {"box": Image.Resampling.BOX, "bilinear": Image.Resampling.BILINEAR,
               "bicubic": Image.Resampling.BICUBIC, "lanczos": Image.Resampling.LANCZOS}
    sizes = [((23, 17), (23, 17)), ((23, 17), (24, 16)), ((23, 17), (64, 40)), ((23, 17), (5, 3)), ((23, 17), (1, 1)),
             ((23, 17), (23, 40)), ((23, 17), (11, 17)), ((1, 1), (9, 4)), ((2, 300), (3, 7)), ((300, 2), (7, 3)),
             ((64, 48), (512, 512)), ((640, 427), (512, 344)), ((300, 200), (299, 201))]
    for (width, height), target in sizes:
        for channels, mode in ((3, "RGB"), (1, "L")):
            picture = Image.frombytes(mode, (width, height), noise(width, height, channels))
            for name, resample in filters.items():
                out = picture.resize(target, resample)
                yield {"kind": "resize", "filter": name, "channels": channels, "from": [width, height],
                       "to": list(target), "sha256": hashlib.sha256(out.tobytes()).hexdigest()}


def main():
    """Write images.json.gz beside this file."""
    head = {"about": "Pillow: open(png).convert('RGB'); texts; resize of noise(), see golden_images.py",
            "pillow": PIL.__version__}
    rows = [*reading_rows(), *text_rows(), *resize_rows()]
    save_json_lines(os.path.join(HERE, "images.json.gz"), head, rows)


if __name__ == "__main__":
    main()
