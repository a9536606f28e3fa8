"""Pictures of stripes for tests of training, written without a library."""

import struct
import zlib


def png(path, k, side):
    """Number k, side x side pixels, RGB."""
    rows = b"".join(b"\0" + bytes((x * (k + 3) + y * 7 + c * 50 + k * 31) % 256 for x in range(side) for c in range(3))
                    for y in range(side))

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    with open(path, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)) +
                   chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
