"""declare.py: writes imago/_structs.py, _functions.py and _options.py: what the headers of the library declare, for ctypes.

    python3 python/declare.py              reads src/imago*.h, writes python/imago/
    python3 python/declare.py --check      says which of them is not what the headers say; 1 if one is

So a binding cannot drift from the headers: a new field or function is one run of this away, and tests/cli/python.sh sees
that it was run. The headers are plain: declarations end in ";", and no macro makes one but IM_PRINTF.
"""
from __future__ import annotations

import pathlib
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent
HEADERS = ["imago.h", "imago_engine.h", "imago_generate.h", "imago_train.h"]

# C type: what ctypes calls it, what Python has in its place
SCALARS = {
    "bool": ("c_bool", "bool"), "int": ("c_int", "int"), "unsigned": ("c_uint", "int"), "float": ("c_float", "float"),
    "double": ("c_double", "float"), "size_t": ("c_size_t", "int"), "char": ("c_char", "bytes"),
    "int32_t": ("c_int32", "int"), "int64_t": ("c_int64", "int"), "uint8_t": ("c_uint8", "int"),
    "int8_t": ("c_int8", "int"), "uint16_t": ("c_uint16", "int"), "uint32_t": ("c_uint32", "int"),
    "uint64_t": ("c_uint64", "int"), "void": ("None", "None"),
}
# Options that Python takes as keywords: the class that is made, the struct, fields that are no options
OPTIONS = [
    ("PictureOptions", "im_sd_args", {"prompt", "latents_out", "name"}),
    ("ResnetOptions", "im_train_resnet_args", {"data", "out"}),
    ("EvalOptions", "im_eval_args", {"model", "data"}),
]


class Headers:
    """What the headers declare, in their order."""

    def __init__(self, text: str) -> None:
        self.version = re.search(r'#define IM_VERSION "(.*?)"', text).group(1)          # type: ignore[union-attr]
        self.constants: list[tuple[str, str]] = []
        self.enums: set[str] = set()
        self.structs: dict[str, list[tuple[str, str]]] = {}    # name: fields (name, type); opaque ones are not here
        self.opaque: set[str] = set()
        self.calls: dict[str, str] = {}                        # types of functions: name: expression
        self.functions: dict[str, tuple[str, list[str]]] = {}
        for one in self.statements(text):
            self.declare(one)

    @staticmethod
    def statements(text: str) -> list[str]:
        text = re.sub(r"/\*.*?\*/|//[^\n]*", " ", text, flags=re.S)
        text = re.sub(r'extern "C" \{|^\s*#.*$', " ", text, flags=re.M)
        text = re.sub(r"IM_PRINTF\(.*?\)", " ", text)
        out, depth, begin = [], 0, 0
        for at, ch in enumerate(text):
            depth += (ch == "{") - (ch == "}")
            if depth < 0:                                      # the end of extern "C"
                depth, begin = 0, at + 1
            elif ch == ";" and depth == 0:
                out.append(" ".join(text[begin:at].split()))
                begin = at + 1
        return [s for s in out if s]

    # -- one declaration

    def declare(self, s: str) -> None:
        if m := re.fullmatch(r"(?:typedef )?enum \{(.*)\} ?(\w*)", s):
            self.enum(m[1], m[2])
        elif m := re.fullmatch(r"typedef struct (?:\w+ )?\{(.*)\} (\w+)", s):
            self.structs[m[2]] = []
            self.structs[m[2]] = [f for part in m[1].split(";") if part.strip() for f in self.fields(part.strip())]
        elif m := re.fullmatch(r"(?:typedef struct \w+|struct) (\w+)", s):
            self.opaque.add(m[1])
        elif m := re.fullmatch(r"typedef (.*?)\(\*(\w+)\)\((.*)\)", s):
            self.calls[m[2]] = self.call(m[1], m[3])
        elif re.fullmatch(r"[^(]*\b\w+\(.*\)", s):
            self.function(s)
        else:
            raise SystemExit(f"declare.py: cannot read \"{s}\"; wanted an enum, a struct, a type or a function")

    def enum(self, body: str, name: str) -> None:
        number = 0
        for item in body.split(","):
            key, _, value = (x.strip() for x in item.partition("="))
            number = int(value) if value else number
            self.constants.append((key, str(number)))
            number += 1
        if name:
            self.enums.add(name)

    def fields(self, s: str) -> list[tuple[str, str]]:
        if m := re.fullmatch(r"(.*?)\(\*(\w+)\)\((.*)\)", s):
            return [(m[2], self.call(m[1], m[3]))]
        base, names = self.declarators(s)
        return [(re.sub(r"[*\[].*|\bconst\b", "", n.lstrip("* ").replace("const ", "")).strip(),
                 self.type_of(f"{base} {n}")) for n in names]

    @staticmethod
    def declarators(s: str) -> tuple[str, list[str]]:
        """"const float *x[6], y" -> "const float", ["*x[6]", "y"]"""
        m = re.fullmatch(r"((?:const )?(?:struct )?\w+) ?(.*)", s)
        assert m, s
        return m[1], [n.strip() for n in m[2].split(",")]

    def function(self, s: str) -> None:
        result = ""
        for one in re.split(r"(?<=\)), (?=\w+\()", s):        # "int f(void), g(void)"
            m = re.fullmatch(r"(.*?)(\w+)\((.*)\)", one)
            assert m, one
            result = m[1] or result
            self.functions[m[2]] = (self.type_of(result + " r"), self.parameters(m[3]))

    def call(self, result: str, parameters: str) -> str:
        return f"CFUNCTYPE({', '.join([self.type_of(result + ' r'), *self.parameters(parameters)])})"

    def parameters(self, s: str) -> list[str]:
        if s in ("", "void"):
            return []
        out, depth, begin = [], 0, 0
        for at, ch in enumerate(s + ","):
            depth += (ch == "(") - (ch == ")")
            if ch == "," and depth == 0:
                out.append(s[begin:at].strip())
                begin = at + 1
        return [self.parameter(p) for p in out if p != "..."]

    def parameter(self, p: str) -> str:
        if m := re.fullmatch(r"(.*?)\(\*\w+\)\((.*)\)", p):
            return self.call(m[1], m[2])
        return self.type_of(re.sub(r"\[\w*\]", "", p.replace(" const ", " ")), array="[" in p)

    # -- types

    def type_of(self, s: str, array: bool = False) -> str:
        """Of a type with a name behind it. array: a parameter with []: one more *."""
        sizes = re.findall(r"\[(\w+)\]", s)
        words = re.sub(r"\[\w*\]", "", s).replace("*", " * ").split()
        constant = words[0] == "const"
        if "struct" in words:
            self.opaque.add(words[words.index("struct") + 1])
        words = [w for w in words if w not in ("const", "struct")]
        base, stars = words[0], words.count("*") + array
        known = dict(self.constants)
        out = self.pointer(base, stars, constant)
        for n in reversed(sizes):
            out = f"{out} * {known.get(n, n)}"
        return out

    def pointer(self, base: str, stars: int, constant: bool) -> str:
        if base in self.enums:
            base = "int"
        if base in self.calls:
            return self.calls[base]
        if base == "char" and stars:
            out = "c_char_p" if constant or stars > 1 else "c_void_p"        # char *: freed, or written to
            stars -= 1
        elif base in SCALARS and not (base == "void" and stars):
            out = SCALARS[base][0]
        elif base in self.structs:
            out = base
        else:
            if base != "void" and base not in self.opaque:
                raise SystemExit(f"declare.py: the type {base} is not declared before it is used")
            return "c_void_p" if stars < 2 else "POINTER(c_void_p)"
        for _ in range(stars):
            out = f"POINTER({out})"
        return out


HEAD = '''"""{what} Written by python/declare.py out of the headers: change those."""
# fmt: off
'''


def imported(body: str) -> str:
    """The line that imports what of ctypes is used."""
    used = sorted(set(re.findall(r"\b(?:CFUNCTYPE|POINTER|Structure|c_\w+)\b", body)))
    return wrapped("from ctypes import (", used, ")", "                    ")


def wrapped(begin: str, items: list[str], end: str, indent: str) -> str:
    """begin item, item, ... end, in lines of 120 columns"""
    lines, line = [], begin
    for i, item in enumerate(items):
        text = item + (end if i == len(items) - 1 else ",")
        if line not in (begin, indent) and len(line) + 1 + len(text) > 120:
            lines.append(line)
            line = indent
        line += text if line in (begin, indent) else " " + text
    return "\n".join([*lines, line if items else begin + end])


def structs(h: Headers) -> str:
    body = [f'VERSION = "{h.version}"', ""] + [f"{name} = {value}" for name, value in h.constants]
    for name in h.structs:
        body += ["", "", f"class {name}(Structure):", "    pass"]
    body += ["", ""]
    for name, fields in h.structs.items():
        body.append(wrapped(f"{name}._fields_ = [", [f'("{field}", {kind})' for field, kind in fields], "]", "    "))
    body += ["", wrapped("STRUCTS: list[type[Structure]] = [", list(h.structs), "]", "    "), ""]
    text = "\n".join(body)
    return "\n".join([HEAD.format(what="The structs and constants of libimago, for ctypes."), imported(text), "", text])


def functions(h: Headers) -> str:
    body = []
    for name, (result, args) in h.functions.items():
        body.append(wrapped(f'    "{name}": ({result}, [', args, "]),", " " * 8))
    text = "\n".join(body)
    named = [s for s in sorted(h.structs) if re.search(rf"\b{s}\b", text)]
    return "\n".join([HEAD.format(what="The functions of libimago, for ctypes."), imported(text),
                      "from typing import Any", "", wrapped("from ._structs import (", named, ")", " " * 23), "",
                      "# name: result, arguments",
                      "FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {", text, "}", ""])


def options(h: Headers) -> str:
    """Keywords with their types."""
    kinds = {"c_char_p": "Text | None", "POINTER(im_image)": "Picture | None", "POINTER(c_float)": "Values | None"}
    kinds.update({c: p for c, p in SCALARS.values()})
    words = {"rng"}                                            # an enum in C, a word here
    out = [HEAD.format(what="Keywords of functions, with their types."), "from __future__ import annotations", "",
           "from typing import TypedDict", "", "from ._convert import Picture, Text, Values", ""]
    for name, struct, without in OPTIONS:
        out += ["", f"class {name}(TypedDict, total=False):",
                f'    """Fields of {struct}, which src/imago_*.h explains; left out: the library\'s default."""', ""]
        flat = [f for field, kind in h.structs[struct]
                for f in (h.structs[kind] if kind in h.structs else [(field, kind)])]
        for field, kind in flat:
            if field not in without:
                out.append(f"    {field}: {'str' if field in words else kinds[kind]}" if kind in kinds else
                           f"    # {field} has no form in Python: {kind}")
        out.append("")
    return "\n".join(out)


def main() -> int:
    text = "\n".join((HERE.parent / "src" / name).read_text(encoding="utf-8") for name in HEADERS)
    h = Headers(text)
    wrong = 0
    for name, content in (("_structs.py", structs(h)), ("_functions.py", functions(h)), ("_options.py", options(h))):
        path = HERE / "imago" / name
        if "--check" not in sys.argv[1:]:
            path.write_text(content, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != content:
            print(f"python/imago/{name} is not what src/imago*.h declare; python3 python/declare.py writes it anew",
                  file=sys.stderr)
            wrong = 1
    return wrong


if __name__ == "__main__":
    sys.exit(main())
