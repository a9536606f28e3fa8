"""st_file.py: safetensors files as the shell tests read and write them, without a library: name: (dtype, shape, bytes)."""
import json
import os
import struct


def read(path):
    """The tensors of a file, and its metadata."""
    data = open(path, "rb").read()
    n = struct.unpack("<Q", data[:8])[0]
    head = json.loads(data[8:8 + n])
    meta = head.pop("__metadata__", {})
    return {k: (v["dtype"], v["shape"], data[8 + n:][slice(*v["data_offsets"])]) for k, v in head.items()}, meta


def write(path, tensors, metadata=None):
    """Makes the folders above the file, too."""
    at, out = 0, {"__metadata__": metadata} if metadata else {}
    for k, (dtype, shape, b) in tensors.items():
        out[k] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(b)]}
        at += len(b)
    text = json.dumps(out).encode()
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(b for _, _, b in tensors.values()))
