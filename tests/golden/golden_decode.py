"""What Pillow makes of JPEG files, of turned and of damaged pictures: decode.json.gz and photo.jpg (for test_picture.c).

    python tests/golden/golden_decode.py

Every row is a file (hex digits) and the size and SHA-256 of
    ImageOps.exif_transpose(Image.open(file)).convert("RGB")
or null where Pillow refuses the file. Rows of kind "cut" are whole files; "cuts" lists [from, to] numbers of bytes that
may be missing at their end, "zeros" the same for zeros in the place of the last chunk: Pillow reads them, to the same
pixels. photo.jpg is drawn here: shading, edges, texture and a little noise.
"""

import hashlib
import io
import os
import struct
import sys
import warnings
import zlib

import numpy as np
import PIL
from PIL import Image, ImageDraw, ImageOps, PngImagePlugin

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from golden_images import chunk  # noqa: E402
from golden_store import save_json_lines  # noqa: E402


def drawn(width, height, seed=0):
    """A picture with what photographs have: shading, edges, fine texture, noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / max(width, height, 2)
    base = np.stack([150 + 90 * np.sin(5 * x + 2 * y), 120 + 100 * y, 90 + 80 * np.cos(4 * y - 3 * x)], axis=2)
    image = Image.fromarray(np.clip(base, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _i in range(24):
        cx, cy, r = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(0.02, 0.18) * max(width, height)
        colour = tuple(int(v) for v in rng.integers(0, 256, 3))
        shape = draw.ellipse if rng.random() < 0.5 else draw.rectangle
        shape((cx - r, cy - 0.7 * r, cx + r, cy + 0.7 * r), fill=colour)
    pixels = np.asarray(image).astype(float)
    pixels += (14 * np.sin(90 * x + 40 * y) * (x > 0.4))[..., None] + rng.normal(0, 4, pixels.shape)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def jpeg(image, **how):
    """The bytes of a JPEG file."""
    file = io.BytesIO()
    image.save(file, "JPEG", **how)
    return file.getvalue()


def png(image, **how):
    """The bytes of a PNG file."""
    file = io.BytesIO()
    image.save(file, "PNG", **how)
    return file.getvalue()


def exif(orientation, big=False, kind=3):
    """A small EXIF block with the orientation among other tags."""
    e = ">" if big else "<"
    pad = struct.pack(e + "HH", orientation, 0) if kind == 3 else struct.pack(e + "I", orientation)
    entries = [struct.pack(e + "HHI", 0x0100, 3, 1) + struct.pack(e + "HH", 7, 0),
               struct.pack(e + "HHI", 0x0112, kind, 1) + pad,
               struct.pack(e + "HHI", 0x0128, 3, 1) + struct.pack(e + "HH", 2, 0)]
    head = (b"MM\0*" if big else b"II*\0") + struct.pack(e + "I", 8)
    return b"Exif\0\0" + head + struct.pack(e + "H", len(entries)) + b"".join(entries) + struct.pack(e + "I", 0)


def segment(kind, data):
    """A marker segment of JPEG."""
    return bytes([0xff, kind]) + struct.pack(">H", len(data) + 2) + data


def with_segment(file, data):
    """The JPEG file with one more segment after the first marker."""
    return file[:2] + data + file[2:]


XMP = b'<x:xmpmeta><rdf:Description tiff:Make="x" tiff:Orientation="6"/></x:xmpmeta>'
XMP_2 = b"<x:xmpmeta><tiff:Orientation>8</tiff:Orientation></x:xmpmeta>"
XAP = b"http://ns.adobe.com/xap/1.0/\0"


def jpeg_files():
    """Kinds of JPEG."""
    small, odd = drawn(48, 32), drawn(45, 27, 1)
    for sampling in (0, 1, 2):
        yield f"sampling {sampling}", jpeg(odd, quality=90, subsampling=sampling)
    for quality in (5, 60, 100):
        yield f"quality {quality}", jpeg(odd, quality=quality)
    for width, height in ((1, 1), (1, 9), (9, 1), (8, 8), (17, 16)):
        yield f"{width}x{height}", jpeg(drawn(width, height))
        yield f"{width}x{height}, grey", jpeg(drawn(width, height).convert("L"))
    yield "progressive", jpeg(odd, progressive=True)
    yield "optimised", jpeg(small, optimize=True)
    yield "restart markers", jpeg(odd, restart_marker_blocks=2)
    yield "RGB kept", jpeg(small, keep_rgb=True)
    yield "grey, progressive", jpeg(odd.convert("L"), progressive=True)
    cmyk = jpeg(odd.convert("CMYK"), quality=92)
    yield "CMYK", cmyk
    yield "CMYK, progressive", jpeg(odd.convert("CMYK"), progressive=True)
    at = cmyk.index(b"Adobe") + 11
    assert cmyk[at] == 0
    yield "YCCK", cmyk[:at] + b"\2" + cmyk[at + 1:]
    yield "CMYK without Adobe's mark", cmyk[:at - 15] + cmyk[at + 1:]
    yield "bytes behind the end", jpeg(odd) + b"\0\0trailing"
    yield "comment", jpeg(odd, comment=b"hello")
    yield "profile", jpeg(odd, icc_profile=b"\0" * 3000)
    damaged = bytearray(jpeg(odd, quality=95))
    damaged[-200:-190] = b"\x55" * 10
    yield "wrong but whole", bytes(damaged)


def tagged(entries, tail=b"", big=False):
    """An EXIF block with a table of (tag, type, count, four bytes); values at 14 + 12 * entries lie in tail."""
    e = ">" if big else "<"
    head = (b"MM\0*" if big else b"II*\0") + struct.pack(e + "IH", 8, len(entries))
    return b"Exif\0\0" + head + b"".join(struct.pack(e + "HHI4s", *one) for one in entries) + bytes(4) + tail


def exif_blocks():
    """Names and EXIF blocks: values of every type, more than one, tags that are there twice, blocks in two segments."""
    def one(value, kind=3, count=1, how="<H"):
        return (0x0112, kind, count, struct.pack(how, value).ljust(4, b"\0"))

    for kind, how in zip((1, 4, 6, 7, 8, 9, 11, 13, 0, 99), "BIbBhifIHH"):
        for big in (False, True):
            yield f"type {kind}, big-endian {big}", [tagged([one(6, kind, 1, "<>"[big] + how)], big=big)]
    for name, kind, value in (("6/1", 5, struct.pack("<II", 6, 1)), ("12/2", 10, struct.pack("<ii", 12, 2)),
                              ("6/0", 5, struct.pack("<II", 6, 0)), ("13/2", 5, struct.pack("<II", 13, 2)),
                              ("6.0", 12, struct.pack("<d", 6)), ("6 of 8 bytes", 16, struct.pack("<Q", 6))):
        yield f"type {kind}: {name}", [tagged([one(26, kind, 1, "<I")], value)]
    yield "a text", [tagged([(0x0112, 2, 2, b"6\0\0\0")])]
    yield "two values", [tagged([(0x0112, 3, 2, struct.pack("<HH", 6, 3))])]
    yield "two values of one byte", [tagged([(0x0112, 6, 2, bytes([8, 3, 0, 0]))])]
    yield "three values", [tagged([one(26, 3, 3, "<I")], struct.pack("<HHH", 6, 3, 1))]
    yield "no value", [tagged([one(6, count=0)])]
    yield "no value, XMP", [tagged([one(3, count=0)]), XAP + XMP]
    yield "type 99, XMP", [tagged([one(3, 99)]), XAP + XMP]
    yield "type 1, XMP", [tagged([one(3, 1, 1, "<B")]), XAP + XMP]
    yield "twice, 3 and 6", [tagged([one(3), one(6)])]
    yield "twice, 6 and 3", [tagged([one(6), one(3)])]
    yield "twice, no value and 6", [tagged([one(3, count=0), one(6)])]
    far = (0x010e, 2, 9, struct.pack("<I", 5000))
    yield "behind a value beyond the end", [tagged([far, one(6)])]
    yield "behind a value larger than the block", [tagged([(0x010e, 2, 5000, far[3]), one(6)])]
    yield "before a value beyond the end", [tagged([one(6), far])]
    block = exif(6)
    yield "in two segments", [block[:20], b"Exif\0\0" + block[20:]]
    yield "in three segments", [block[:9], b"Exif\0\0" + block[9:25], b"Exif\0\0" + block[25:]]
    yield "in two segments, XMP between them", [block[:20], XAP + XMP_2, b"Exif\0\0" + block[20:]]
    yield "behind an empty segment", [b"Exif\0\0", block]
    yield "behind a damaged one", [b"Exif\0\0garbage", block]
    yield "its table longer than the block", [block[:14] + b"\x09\0" + block[16:-4]]
    yield "cut in its entry", [block[:34]]


def turned_files():
    """EXIF and XMP, in JPEG and PNG."""
    odd = drawn(21, 13, 2)
    for k in range(0, 10):
        yield f"orientation {k}", with_segment(jpeg(odd), segment(0xe1, exif(k)))
    plain = jpeg(odd)
    yield "big-endian", with_segment(plain, segment(0xe1, exif(6, big=True)))
    yield "as a long", with_segment(plain, segment(0xe1, exif(8, kind=4)))
    yield "as a big-endian long", with_segment(plain, segment(0xe1, exif(8, big=True, kind=4)))
    yield "no entries", with_segment(plain, segment(0xe1, b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0"))
    yield "XMP", with_segment(plain, segment(0xe1, XAP + XMP))
    yield "XMP element", with_segment(plain, segment(0xe1, XAP + XMP_2))
    yield "EXIF before XMP", with_segment(plain, segment(0xe1, exif(3)) + segment(0xe1, XAP + XMP))
    yield "EXIF of 1 before XMP", with_segment(plain, segment(0xe1, XAP + XMP) + segment(0xe1, exif(1)))
    yield "turned CMYK", with_segment(jpeg(odd.convert("CMYK")), segment(0xe1, exif(7)))
    yield "turned grey", with_segment(jpeg(odd.convert("L")), segment(0xe1, exif(5)))
    for k in (2, 6):
        yield f"PNG, orientation {k}", png(odd, exif=exif(k))
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", XMP.decode())
    yield "PNG, XMP", png(odd, pnginfo=info)
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", XMP_2.decode(), zip=True)
    yield "PNG, packed XMP", png(odd, pnginfo=info)
    block = exif(8)
    for packed in (False, True):
        info = PngImagePlugin.PngInfo()
        info.add_text("Raw profile type exif", f"\nexif\n{len(block):8}\n{block.hex()}\n", zip=packed)
        yield f"PNG, raw profile, packed {packed}", png(odd, pnginfo=info)
    late = png(odd.convert("P"))
    yield "PNG, EXIF behind the pixels", late[:-12] + chunk(b"eXIf", exif(6)[6:]) + late[-12:]
    yield "PNG with alpha", png(odd.convert("RGBA"))
    yield "two EXIF blocks", with_segment(plain, segment(0xe1, exif(3)) + segment(0xe1, exif(6)))
    bare = b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0"
    yield "an EXIF block without it before another", with_segment(plain, segment(0xe1, bare) + segment(0xe1, exif(6)))
    yield "EXIF without it, XMP", with_segment(plain, segment(0xe1, bare) + segment(0xe1, XAP + XMP))
    flat = png(odd)
    yield "PNG, two eXIf", flat[:33] + chunk(b"eXIf", exif(3)[6:]) + chunk(b"eXIf", exif(8)[6:]) + flat[33:]
    for name, extra in (("APP1", []), ("exif", [bare[6:]]), ("exif", [])):
        info = PngImagePlugin.PngInfo()
        info.add_text(f"Raw profile type {name}", f"\n{name}\n{len(block):8}\n{block.hex()}\n")
        info.add_text(f"Raw profile type {name}", f"\n{name}\n{len(block):8}\n{exif(6).hex()}\n")
        late = png(odd, pnginfo=info)
        chunks = b"".join(chunk(b"eXIf", e) for e in extra)
        yield f"PNG, raw profiles {name}, eXIf {len(extra)}", late[:33] + chunks + late[33:]
    for name, blocks in exif_blocks():
        yield name, with_segment(plain, b"".join(segment(0xe1, b) for b in blocks))


def damaged_files():
    """Cut at many places; null where Pillow refuses."""
    for name, whole in (("baseline", jpeg(drawn(45, 27, 1), quality=50)),
                        ("progressive", jpeg(drawn(45, 27, 1), quality=50, progressive=True))):
        for cut in (1, 2, 3, 4, 5, 9, 40, 120, len(whole) // 2, len(whole) - 200, len(whole) - 30):
            yield f"{name}, {cut} bytes less", whole[:-cut]
    file = jpeg(drawn(16, 16))
    yield "two bytes", file[:2]
    yield "no scan", file[:file.index(b"\xff\xda")]
    yield "segment beyond the end", file[:2] + b"\xff\xe5\xff\xff" + file[2:]
    small = png(drawn(20, 20))
    for cut in (13, 20, 200, len(small) - 40):
        yield f"PNG, {cut} bytes less", small[:-cut]
    wrong = bytearray(small)
    wrong[len(small) // 2] ^= 1
    yield "PNG, a wrong bit", bytes(wrong)
    head = struct.pack(">IIBBBBB", 0, 5, 8, 2, 0, 0, 0)
    yield "PNG without width", (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b""))
                                + chunk(b"IEND", b""))


def cut_files():
    """PNG of several kinds, to be cut at every byte."""
    small = drawn(20, 20)
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", "a cat")
    yield "RGB with a text", png(small, pnginfo=info)
    plain = png(small)
    yield "a text behind the pixels", plain[:-12] + chunk(b"tEXt", b"Comment\0late") + chunk(b"teSt", b"ours") + plain[-12:]
    at, end = plain.index(b"IDAT") - 4, len(plain) - 12
    data, pieces = plain[at + 8:end - 4], b""
    for i in range(0, len(data), 100):
        pieces += chunk(b"IDAT", data[i:i + 100])
    yield "many IDAT", plain[:at] + pieces + plain[end:]
    yield "palette", png(small.quantize(16))
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    for width, height in ((20, 20), (3, 2)):
        a = np.asarray(drawn(width, height))
        rows = b"".join(b"\0" + row.tobytes() for x, y, dx, dy in passes for row in a[y::dy, x::dx] if row.size)
        yield f"interlaced, {width}x{height}", (plain[:8]
            + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 1)) + chunk(b"IDAT", zlib.compress(rows))
            + chunk(b"IEND", b""))
    yield "16-bit grey", png(Image.fromarray(np.asarray(small)[..., 0].astype(np.uint16) * 3))


def ranges(numbers):
    """[[from, to], ...] of sorted numbers."""
    out = []
    for i in numbers:
        if out and out[-1][1] == i - 1:
            out[-1][1] = i
        else:
            out.append([i, i])
    return out


def still_read(file, tail, most):
    """How many bytes at the end, up to most, may be replaced by that many of tail."""
    whole, found = read(file), []
    for i in range(most + 1):
        got = read(file[:len(file) - i] + tail * i)
        assert got is None or got == whole, i
        if got:
            found.append(i)
    return ranges(found)


def read(file):
    """Size and digest, or None."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = ImageOps.exif_transpose(Image.open(io.BytesIO(file))).convert("RGB")
    except (OSError, SyntaxError, ValueError):
        return None
    return {"size": list(image.size), "sha256": hashlib.sha256(image.tobytes()).hexdigest()}


def main():
    """Write decode.json.gz and photo.jpg beside this file."""
    drawn(510, 381, 4).save(os.path.join(HERE, "photo.jpg"), "JPEG", quality=80)
    rows = []
    for kind, files in (("jpeg", jpeg_files()), ("turned", turned_files()), ("damaged", damaged_files())):
        for name, file in files:
            row = {"kind": kind, "name": name, "file": file.hex(), "pillow": read(file)}
            assert kind == "damaged" or row["pillow"], name
            rows.append(row)
    for name, file in cut_files():
        rows.append({"kind": "cut", "name": name, "file": file.hex(), "pillow": read(file),
                     "cuts": still_read(file, b"", len(file)), "zeros": still_read(file, b"\0", 12)})
    head = {"about": "Pillow: exif_transpose(open(file)).convert('RGB'); see golden_decode.py", "pillow": PIL.__version__}
    save_json_lines(os.path.join(HERE, "decode.json.gz"), head, rows)


if __name__ == "__main__":
    main()
