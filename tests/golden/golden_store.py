"""Writing and reading back the golden files: f32 safetensors for numbers, JSON for text.

Every writer goes through here, so that all files look alike and each is read back and compared
with what was meant before the program goes on.
"""

import gzip
import json
import os

import torch
import zopfli.gzip
from safetensors.torch import load, save

MAX_BYTES = 4 * 1024 * 1024


def write_packed(path, data):
    """Write bytes; as gzip, by zopfli (smallest, the same bytes each time), if the name ends in .gz."""
    with open(path, "wb") as file:
        file.write(zopfli.gzip.compress(data) if path.endswith(".gz") else data)


def read_packed(path):
    """The bytes that write_packed was given."""
    with (gzip.open if path.endswith(".gz") else open)(path, "rb") as file:
        return file.read()


def in_planes(data, back=False):
    """A safetensors file with its values turned: all first bytes of four, then all second ones, ... (a tenth smaller when
    packed: exponents lie side by side). back: the other way around."""
    begin = 8 + int.from_bytes(data[:8], "little")
    end = begin + (len(data) - begin) // 4 * 4
    values = torch.frombuffer(bytearray(data[begin:end]), dtype=torch.uint8).reshape((4, -1) if back else (-1, 4))
    return data[:begin] + values.T.contiguous().numpy().tobytes() + data[end:]


def load_tensors(path):
    """{name: tensor} of a safetensors file, packed or not."""
    data = read_packed(path)
    return load(in_planes(data, back=True) if path.endswith(".gz") else data)


def save_tensors(path, tensors):
    """Write {name: tensor} to a safetensors file (packed, in planes: .gz) and check it by reading it again.

    Floating tensors are stored as f32, whole numbers as i64 (u8 stays u8).
    """
    plain = {}
    for name, value in tensors.items():
        value = torch.as_tensor(value)
        if value.is_floating_point():
            value = value.to(torch.float32)
        elif value.dtype != torch.uint8:
            value = value.to(torch.int64)
        plain[name] = value.detach().contiguous().clone()
    for name, value in plain.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise ValueError(f"{path}: {name} has values that are not finite")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    write_packed(path, in_planes(save(plain)) if path.endswith(".gz") else save(plain))
    again = load_tensors(path)
    assert sorted(again) == sorted(plain)
    for name, value in plain.items():
        assert torch.equal(again[name], value), name
    report(path)


def pack_samples(tensors, kinds, size):
    """The tensors, those of `size` numbers named HEAD.KIND.NAME gathered: HEAD.KIND has a row a name.

    NET, the first word of HEAD, has its names in NET.names: text, a line a row. A row of zeros: there is no such NAME.
    """
    packed, rows = {}, {}
    for key, value in tensors.items():
        kind = next((kind for kind in kinds if f".{kind}." in key and value.shape == (size,)), None)
        if kind:
            head, name = key.split(f".{kind}.", 1)
            assert bool(value.any()), key
            rows.setdefault(head.split(".")[0], {}).setdefault(f"{head}.{kind}", {})[name] = value
        else:
            packed[key] = value
    for net, heads in rows.items():
        names = sorted({name for values in heads.values() for name in values})
        packed[net + ".names"] = torch.tensor(list("\n".join(names).encode()), dtype=torch.uint8)
        for head, values in heads.items():
            nothing = torch.zeros(size, dtype=next(iter(values.values())).dtype)
            packed[head] = torch.stack([values.get(name, nothing) for name in names])
    return packed


def save_json_lines(path, head, rows):
    """Write {**head, "rows": [...]} with one row a line (pure ASCII; packed: .gz), and check it by reading it."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    lines = ",\n".join(json.dumps(row) for row in rows)
    save_json(path, {**head, "rows": rows}, json.dumps(head, indent=1)[:-2] + ',\n "rows": [\n' + lines + "\n]}\n")


def save_json(path, whole, text=None):
    """Write an object (pure ASCII; packed: .gz), laid out as text has it, and check it by reading it."""
    text = text or json.dumps(whole, indent=1) + "\n"
    write_packed(path, text.encode("ascii"))
    again = json.loads(read_packed(path).decode("ascii"))
    assert again == json.loads(json.dumps(whole)), path
    report(path)


def report(path):
    """Print a written file's size; a file that is too big to commit is an error. Everyone may read it."""
    os.chmod(path, 0o644)
    size = os.path.getsize(path)
    if size > MAX_BYTES:
        raise ValueError(f"{path} has {size} bytes, more than the {MAX_BYTES} that may be committed")
    print(f"{size:9d} {path}")
