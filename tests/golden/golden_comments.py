"""JPEG files as Pillow writes them, and EXIF comments as others write them: comments.json.gz (for test_picture_write.c).

    python tests/golden/golden_comments.py

"files": SHA-256 of Image.save(file, "JPEG", quality=Q, subsampling=0, optimize=True) of init_83x70.png, in RGB and grey.
"blocks": EXIF blocks with a UserComment, by piexif (as the AUTOMATIC1111 web interface has it) and by Pillow, and the text
that piexif.helper.UserComment.load gives, or null where there is none.
"""

import hashlib
import io
import os
import struct

import PIL
import piexif
import piexif.helper
from PIL import Image

from golden_store import save_json

HERE = os.path.dirname(os.path.abspath(__file__))
TEXTS = ["a cat", "", "caf\u00e9, \u732b and \U0001f434\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 64x64"]


def load(comment):
    """As the web interface reads it."""
    try:
        return piexif.helper.UserComment.load(comment)
    except ValueError:
        return None


def pillow_block(comment, little):
    """The same comment in a block that Pillow wrote."""
    exif = Image.Exif()
    exif.endian = "<" if little else ">"
    exif[0x010f] = "a camera with a long name"
    exif.get_ifd(0x8769)[0x9286] = comment
    return exif.tobytes()


def blocks():
    """(name, block, text)"""
    for i, text in enumerate(TEXTS):
        comment = piexif.helper.UserComment.dump(text, encoding="unicode")
        yield f"piexif, text {i}", piexif.dump({"Exif": {piexif.ExifIFD.UserComment: comment}}), load(comment)
        for little in (False, True):
            yield f"Pillow, text {i}, little {little}", pillow_block(comment, little), load(comment)
    ascii_comment = piexif.helper.UserComment.dump("plain text", encoding="ascii")
    yield "ascii", pillow_block(ascii_comment, True), load(ascii_comment)
    jis = piexif.helper.UserComment.dump("\u732b", encoding="jis")
    yield "jis", pillow_block(jis, True), None
    low = b"UNICODE\0" + "a dog".encode("utf-16-le")
    yield "low byte first", pillow_block(low, True), "a dog"
    yield "a mark and low byte first", pillow_block(b"UNICODE\0\xff\xfe" + low[8:], True), "a dog"
    lone = b"UNICODE\0" + struct.pack(">4H", 0x61, 0xd83d, 0x62, 0xdc00)
    yield "half of a pair", pillow_block(lone, False), "a\ufffdb\ufffd"
    yield "ends with a zero", pillow_block(b"ASCII\0\0\0a cat\0\0\0", False), "a cat"
    yield "no code", pillow_block(b"\0" * 8 + "caf\u00e9".encode("utf-8"), False), "caf\u00e9"
    yield "no code, Latin-1", pillow_block(b"\0" * 8 + "caf\u00e9".encode("latin-1"), False), "caf\u00e9"
    yield "none", piexif.dump({"0th": {piexif.ImageIFD.Make: b"x"}}), None


def main():
    """Write comments.json.gz beside this file."""
    picture, files = Image.open(os.path.join(HERE, "init_83x70.png")).convert("RGB"), []
    for mode in ("RGB", "L"):
        for quality in (1, 50, 95, 100):
            out = io.BytesIO()
            picture.convert(mode).save(out, "JPEG", quality=quality, subsampling=0, optimize=True)
            digest = hashlib.sha256(out.getvalue()).hexdigest()
            files.append({"grey": mode == "L", "quality": quality, "bytes": len(out.getvalue()), "sha256": digest})
    rows = [{"name": name, "block": block.hex(), "text": text} for name, block, text in blocks()]
    whole = {"about": "JPEG files of Pillow, EXIF comments of piexif and Pillow; see golden_comments.py",
             "pillow": PIL.__version__, "piexif": piexif.VERSION, "files": files, "blocks": rows}
    save_json(os.path.join(HERE, "comments.json.gz"), whole)


if __name__ == "__main__":
    main()
