"""Mutators: from a good file of a format to one that is damaged, absurd or hostile, drawn with a seed."""

import io
import json
import random
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

Draw = random.Random


class Mutant(NamedTuple):
    """The bytes of a file."""

    kind: str
    """What was done to it."""
    content: bytes
    wrong: bool = False
    """Whether to accept it would be wrong, whatever it holds; otherwise what was read decides."""


Mutator = Callable[[bytes, Draw], Mutant]
HUGE = "1" + "0" * 400


def flipped(content: bytes, draw: Draw) -> Mutant:
    changed = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 8))):
        if changed:
            changed[draw.randrange(len(changed))] = draw.randrange(256)
    return Mutant("bytes flipped", bytes(changed))


def truncated(content: bytes, draw: Draw) -> Mutant:
    return Mutant("truncated", content[: draw.randrange(len(content))])


def emptied(content: bytes, draw: Draw) -> Mutant:
    return Mutant(
        "another content", draw.choice((b"", b"\0" * 64, b"version https://git-lfs.github.com/spec/v1\n", b"<html>"))
    )


def cut_out(content: bytes, draw: Draw) -> Mutant:
    start = draw.randrange(len(content))
    return Mutant("bytes cut out", content[:start] + content[start + draw.randrange(1, 64) :])


def repeated(content: bytes, draw: Draw) -> Mutant:
    start = draw.randrange(len(content))
    part = content[start : start + draw.randrange(1, 64)]
    return Mutant("bytes repeated", content[:start] + part * draw.choice((2, 5)) + content[start:])


BYTES: list[Mutator] = [flipped, flipped, truncated, emptied, cut_out, repeated]


# ---------------------------------------------------------------------------------------------------------------- JSON


def _places(tree, path=()):
    """Paths to every value."""
    yield path
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in inner:
        yield from _places(value, (*path, key))


def _changed(tree, path, change):
    if not path:
        return change(tree)
    copy = dict(tree) if isinstance(tree, dict) else list(tree)
    copy[path[0]] = _changed(copy[path[0]], path[1:], change)
    return copy


def _text(tree, raw=None) -> bytes:
    """JSON in which the value "@raw@" stands for a text that JSON does not know."""
    text = json.dumps(tree)
    return (text if raw is None else text.replace('"@raw@"', raw)).encode()


def _number_paths(tree):
    def at(path):
        value = tree
        for key in path:
            value = value[key]
        return value

    found = [path for path in _places(tree) if isinstance(at(path), int | float) and not isinstance(at(path), bool)]
    return found or list(_places(tree))


def mutate_json(tree, draw: Draw) -> Mutant:
    """A JSON value → the text of a mutant."""
    kind = draw.choice(("deep", "type", "type", "type", "twice", "nan", "huge", "missing", "missing", "extra", "text"))
    places = list(_places(tree))
    path = draw.choice(places)
    if kind == "deep":
        depth = draw.choice((200, 5_000, 100_000))
        bracket = draw.choice(("[]", '{"":}'))
        raw = bracket[:-1] * depth + ("1" if bracket != "[]" else "") + bracket[-1] * depth
        return Mutant("JSON: deep nesting", _text(_changed(tree, path, lambda _: "@raw@"), raw), True)
    if kind == "type":
        values = (None, True, "x", "", 1.5, -1, 0, 4.9, 2**70, 1e300, [], {}, [[1]], {"x": 1}, ["x"], "\ud83d", "../x")
        return Mutant("JSON: wrong type", _text(_changed(tree, path, lambda _: draw.choice(values))))
    if kind == "nan":
        raw = draw.choice(("NaN", "Infinity", "-Infinity", "1e999", "-1e999"))
        path = draw.choice(_number_paths(tree))
        return Mutant("JSON: NaN or infinity", _text(_changed(tree, path, lambda _: "@raw@"), raw), True)
    if kind == "huge":
        raw = draw.choice((HUGE, "9" * 5_000, "-" + HUGE))
        path = draw.choice(_number_paths(tree))
        return Mutant("JSON: huge number", _text(_changed(tree, path, lambda _: "@raw@"), raw), True)
    if kind == "text":
        content = _text(tree)
        return draw.choice(
            (
                Mutant("JSON: truncated", content[: draw.randrange(len(content))], True),
                Mutant("JSON: no UTF-8", content[:-1] + b"\xff\xfe" + content[-1:], True),
                Mutant("JSON: two values", content + content, True),
                Mutant("JSON: a comment", content[:1] + b"/* x */" + content[1:], True),
            )
        )
    owners = [place for place in places if isinstance(_at(tree, place), dict) and _at(tree, place)]
    if not owners:
        return Mutant("JSON: wrong type", b"[]")
    owner = draw.choice(owners)
    key = draw.choice(list(_at(tree, owner)))
    if kind == "missing":

        def without(value):
            return {name: inner for name, inner in value.items() if name != key}

        return Mutant("JSON: missing key", _text(_changed(tree, owner, without)))
    if kind == "extra":
        return Mutant(
            "JSON: further key",
            _text(_changed(tree, owner, lambda value: {**value, "further": draw.choice((1, [], None))})),
        )
    twice = _changed(tree, owner, lambda value: {"@twice@": value[key], **value})
    return Mutant("JSON: duplicate key", _text(twice).replace(b'"@twice@"', json.dumps(key).encode()), True)


def _at(tree, path):
    for key in path:
        tree = tree[key]
    return tree


def of_json(content: bytes, draw: Draw) -> Mutant:
    return mutate_json(json.loads(content), draw)


# --------------------------------------------------------------------------------------------------------- npy and npz


def npy(array) -> bytes:
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def npy_header(text: str, data: bytes = b"") -> bytes:
    """A file of NumPy's whose header says whatever ``text`` does."""
    padded = text + " " * (-(len(text) + 11) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(padded)) + padded.encode("latin1") + data


HEADERS = (
    "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000, 1000000), }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (2305843009213693953, 8), }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (-1, 4), }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (1.5,), }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (" + "1, " * 100 + "), }",
    "{'descr': '|O', 'fortran_order': False, 'shape': (4,), }",
    "{'descr': '<U100000000', 'fortran_order': False, 'shape': (4,), }",
    "{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (4,), }",
    "{'descr': __import__('os').system('touch executed'), 'fortran_order': False, 'shape': (4,), }",
    "{'descr': '<f8', 'fortran_order': 'yes', 'shape': (4,), }",
    "(" * 2000,
)


def of_npy(content: bytes, draw: Draw) -> Mutant:
    array = np.load(io.BytesIO(content))
    return _of_array(array, draw)


def _of_array(array, draw: Draw) -> Mutant:
    kind = draw.choice(("header", "header", "dtype", "dtype", "values", "shape", "cut"))
    if kind == "header":
        return Mutant("array: absurd header", npy_header(draw.choice(HEADERS), bytes(draw.choice((0, 32, 4096)))), True)
    if kind == "dtype":
        types = ("complex128", "U5", "S3", "datetime64[s]", "timedelta64[s]", [("a", "f4")], "V4")
        return Mutant("array: no numbers", npy(np.zeros(array.shape, draw.choice(types))), True)
    if kind == "values":
        if array.dtype.kind == "f":
            changed = array.copy()
            changed.reshape(-1)[draw.randrange(array.size) if array.size else 0] = draw.choice(
                (np.nan, np.inf, -np.inf, -1, 1e30)
            )
            return Mutant("array: wild values", npy(changed))
        return Mutant("array: wild values", npy(np.full_like(array, -1 if array.dtype.kind == "i" else 1)))
    if kind == "shape":
        shapes = ((), (0,), (1,), (*array.shape, 1), (0, *array.shape[1:]), array.shape[::-1])
        return Mutant("array: another shape", npy(np.zeros(draw.choice(shapes), array.dtype)))
    return Mutant("array: cut off", npy(array)[: -draw.randrange(1, max(2, array.nbytes))], True)


def npz(members: dict[str, bytes], method=zipfile.ZIP_DEFLATED) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return content.getvalue()


def _patched_headers(
    content: bytes, offset_local: int, offset_central: int, value: bytes, only: int | None = None
) -> bytes:
    """An archive in which a field of every entry's two headers is another."""
    changed = bytearray(content)
    for signature, offset in ((b"PK\x03\x04", offset_local), (b"PK\x01\x02", offset_central)):
        for number, match in enumerate(re.finditer(re.escape(signature), content)):
            if only is None or number == only:
                changed[match.start() + offset : match.start() + offset + len(value)] = value
    return bytes(changed)


def bomb(announced: int) -> bytes:
    """A deflated run of zeros of that many bytes, made of the same compressed block again and again."""
    block = 1 << 20
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    first = packer.compress(bytes(block)) + packer.flush(zlib.Z_FULL_FLUSH)
    last = zlib.compressobj(9, zlib.DEFLATED, -15)
    return first * (announced // block) + last.compress(b"") + last.flush()


def npz_bomb(name: str, shape: tuple[int, ...], dtype="<f4") -> bytes:
    """An archive with one array of zeros that is a thousand times smaller than what it unpacks to."""
    header = npy_header(f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}")
    size = int(np.prod([int(n) for n in shape], dtype=object)) * np.dtype(dtype).itemsize
    data = bomb(size)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(header) + packer.flush(zlib.Z_FULL_FLUSH) + data
    size += len(header)
    encoded = f"{name}.npy".encode()
    common = struct.pack("<HHHHHIIIHH", 20, 0, 8, 0, 0, 0, len(packed), min(size, 0xFFFFFFFE), len(encoded), 0)
    local = b"PK\x03\x04" + common + encoded + packed
    central = b"PK\x01\x02" + struct.pack("<H", 20) + common + struct.pack("<HHHII", 0, 0, 0, 0, 0) + encoded
    return local + central + b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(central), len(local), 0)


def of_npz(content: bytes, draw: Draw) -> Mutant:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    kind = draw.choice(
        (
            "array",
            "array",
            "array",
            "bare",
            "deflate",
            "encrypted",
            "method",
            "path",
            "missing",
            "twice",
            "size",
            "bomb",
            "pickle",
        )
    )
    name = draw.choice(list(members))
    if kind == "array":
        mutant = of_npy(members[name], draw)
        return Mutant(mutant.kind, npz({**members, name: mutant.content}, draw.choice((0, 8))), False)
    if kind == "bare":
        return Mutant("npz: a bare npy", members[name])
    if kind == "deflate":
        packed = npz(members)
        start = draw.randrange(40, max(41, len(packed) // 2))
        return Mutant(
            "npz: bad deflate", packed[:start] + bytes(draw.randrange(256) for _ in range(16)) + packed[start + 16 :]
        )
    if kind == "encrypted":
        return Mutant("npz: encrypted", _patched_headers(npz(members), 6, 8, b"\x01\x00"), True)
    if kind == "method":
        return Mutant(
            "npz: unknown method",
            _patched_headers(npz(members), 8, 10, struct.pack("<H", draw.choice((1, 6, 9, 97, 99)))),
            True,
        )
    if kind == "path":
        others = {("../../" if draw.random() < 0.5 else "/tmp/") + key: value for key, value in members.items()}
        return Mutant("npz: members with paths", npz(others), True)
    if kind == "missing":
        return Mutant("npz: missing array", npz({key: value for key, value in members.items() if key != name}))
    if kind == "twice":
        other = _patched_names(npz({**members, "@" * len(name): npy(np.zeros(1))}), "@" * len(name), name)
        return Mutant("npz: a member twice", other, True)
    if kind == "size":
        packed = npz(members)
        return Mutant(
            "npz: other sizes", _patched_headers(packed, 22, 24, struct.pack("<I", draw.choice((0, 7, 0xFFFFFFF0))), 0)
        )
    if kind == "bomb":
        return Mutant("npz: bomb", npz_bomb(name.removesuffix(".npy"), (32, 1024, 1024)), True)
    return Mutant(
        "npz: a pickle inside", npz({**members, name: npy(np.zeros(1)) if draw.random() < 0.3 else _object_array()})
    )


def _patched_names(content: bytes, old: str, new: str) -> bytes:
    return content.replace(old.encode(), new.encode())


def _object_array() -> bytes:
    content = io.BytesIO()
    np.save(content, np.array([Executed()], object), allow_pickle=True)
    return content.getvalue()


class Executed:
    """Pickled, it makes a file when it is restored."""

    def __reduce__(self):
        import os

        return os.system, ("touch executed",)


# ------------------------------------------------------------------------------------------------------------ pictures


def _png_sized(content: bytes, width: int, height: int) -> bytes:
    """A PNG that announces another size, with a right check sum."""
    header = struct.pack(">II", width, height) + content[24:29]
    return content[:16] + header + struct.pack(">I", zlib.crc32(b"IHDR" + header)) + content[33:]


def png_bomb(side: int) -> bytes:
    """Zeros, 8-bit grey."""
    rows = bomb((side * (side + 1) // (1 << 20) + 1) << 20)
    data = b"\x78\x9c" + rows

    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
        + chunk(b"IDAT", data)
        + chunk(b"IEND", b"")
    )


_SIDES = (0, 1, 3, 30_000, 65_535, 100_000, 2**31 - 1, 2**32 - 1)


def of_picture(content: bytes, draw: Draw) -> Mutant:
    width, height = draw.choice(_SIDES), draw.choice(_SIDES)
    if content.startswith(b"\x89PNG"):
        if draw.random() < 0.1:
            return Mutant("picture: bomb", png_bomb(20_000), True)
        return Mutant("picture: absurd size", _png_sized(content, width, height))
    if content.startswith(b"\xff\xd8"):
        for match in re.finditer(rb"\xff[\xc0-\xc2]\x00.\x08", content, re.DOTALL):
            place = match.end()
            sizes = struct.pack(">HH", height & 0xFFFF, width & 0xFFFF)
            return Mutant("picture: absurd size", content[:place] + sizes + content[place + 4 :])
    if content.startswith(b"\x76\x2f\x31\x01"):
        for name in (b"dataWindow\0box2i\0", b"displayWindow\0box2i\0"):
            place = content.find(name) + len(name) + 4
            values = [draw.choice((-(2**31), -1, 0, 100_000, 2**31 - 1)) for _ in range(4)]
            content = content[:place] + struct.pack("<4i", *values) + content[place + 16 :]
        return Mutant("picture: absurd size", content)
    return flipped(content[:64], draw)._replace(content=flipped(content[:64], draw).content + content[64:])


# --------------------------------------------------------------------------------------------------------- safetensors


def _parts(content: bytes):
    size = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + size]), content[8 + size :]


def safetensors(text: bytes, data: bytes) -> bytes:
    return len(text).to_bytes(8, "little") + text + data


def of_safetensors(content: bytes, draw: Draw) -> Mutant:
    header, data = _parts(content)
    names = [name for name in header if name != "__metadata__"]
    name = draw.choice(names)
    entry = header[name]
    kind = draw.choice(
        (
            "json",
            "json",
            "json",
            "length",
            "many",
            "overlap",
            "dtype",
            "shape",
            "place",
            "twice",
            "values",
            "values",
            "metadata",
            "rest",
        )
    )
    if kind == "json":
        mutant = mutate_json(header, draw)
        return Mutant(mutant.kind.replace("JSON", "header"), safetensors(mutant.content, data), mutant.wrong)
    if kind == "length":
        lengths = (0, 1, 7, 10**6, 10**9, 2**40, 2**63, 2**64 - 1)
        return Mutant("safetensors: header's length", draw.choice(lengths).to_bytes(8, "little") + content[8:], True)
    if kind == "many":
        entries = ",".join(f'"{name}":{{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}' for _ in range(5_000))
        return Mutant("safetensors: one name 5,000 times", safetensors(f"{{{entries}}}".encode(), bytes(4)), True)
    if kind == "overlap":
        entries = {f"t{i}": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for i in range(5_000)}
        return Mutant("safetensors: overlapping", safetensors(json.dumps(entries).encode(), bytes(4)), True)
    if kind == "dtype":
        types = ("F64", "F16", "I64", "I8", "U8", "BOOL", "F8_E4M3", "C64", "F32 ", "", "X" * 1000, 5, None)
        lie = {**header, name: {**entry, "dtype": draw.choice(types)}}
        return Mutant("safetensors: dtype lies", safetensors(json.dumps(lie).encode(), data), True)
    if kind == "shape":
        shapes = ([-1, -1], [2**62, 4], [0], [], [1] * 200, [True], [1.5], "3", None, [10**30], [2**32, 2**32])
        lie = {**header, name: {**entry, "shape": draw.choice(shapes)}}
        return Mutant("safetensors: shape lies", safetensors(json.dumps(lie).encode(), data), True)
    if kind == "place":
        places = ([0, 0], [5, 1], [-4, 0], [0, 2**63], [0], "0,4", None, [0.0, 4.0], [2**70, 2**70 + 4], [0, 4, 8])
        lie = {**header, name: {**entry, "data_offsets": draw.choice(places)}}
        return Mutant("safetensors: place lies", safetensors(json.dumps(lie).encode(), data), True)
    if kind == "twice":
        text = json.dumps(header)[:-1] + f",{json.dumps(name)}:{json.dumps(entry)}}}"
        return Mutant("safetensors: a name twice", safetensors(text.encode(), data), True)
    if kind == "metadata":
        metas = (1, [], None, {"x": 1}, {"format": None}, {"a" * 10_000: "b"}, {"origin": "[" * 5000})
        text = json.dumps(
            {
                **header,
                "__metadata__": {
                    **header.get("__metadata__", {}),
                    **draw.choice([m for m in metas if isinstance(m, dict)]),
                },
            }
        )
        if draw.random() < 0.5:
            text = json.dumps({**header, "__metadata__": draw.choice(metas)})
        return Mutant("safetensors: metadata", safetensors(text.encode(), data))
    if kind == "rest":
        return Mutant("safetensors: other end", content + bytes(8) if draw.random() < 0.5 else content[:-4], True)
    start, end = entry["data_offsets"]
    if entry["dtype"] != "F32" or end - start < 4:
        return flipped(content, draw)
    place = start + 4 * draw.randrange((end - start) // 4)
    value = struct.pack("<f", draw.choice((np.nan, np.inf, -np.inf, 1e38)))
    return Mutant(
        "safetensors: wild values", safetensors(json.dumps(header).encode(), data[:place] + value + data[place + 4 :])
    )


# ------------------------------------------------------------------------------------------------- pickles of PyTorch

PICKLES = (
    b"cos\nsystem\n(S'touch executed'\ntR.",
    b"cposix\nsystem\n(S'touch executed'\ntR.",
    b"\x80\x02c__builtin__\neval\nX\x1c\x00\x00\x00open('executed', 'w').close()\x85R.",
    b"\x80\x02cbuiltins\nexec\nX\x1c\x00\x00\x00open('executed', 'w').close()\x85R.",
    b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x0etouch executed\x85R.",
    b"\x80\x02ctorch.serialization\nload\nX\x01\x00\x00\x00x\x85R.",
    b"(" * 100_000 + b".",
    b"\x80\x02]" + b"]a" * 5_000 + b".",
    b"\x80\x02X\xff\xff\xff\x7f.",
    b"\x80\x04\x96\xff\xff\xff\xff\xff\xff\xff\x7f.",
    b"I" + b"9" * 200_000 + b"\n.",
    b"",
)


def of_torch(content: bytes, draw: Draw) -> Mutant:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    pickle = next(name for name in members if name.endswith("data.pkl"))
    kind = draw.choice(("pickle", "pickle", "legacy", "flip", "missing", "stored"))
    if kind == "pickle":
        return Mutant("pickle: hostile", npz({**members, pickle: draw.choice(PICKLES)}, zipfile.ZIP_STORED), True)
    if kind == "legacy":
        return Mutant("pickle: hostile", draw.choice(PICKLES), True)
    if kind == "flip":
        changed = flipped(members[pickle], draw).content
        return Mutant("pickle: bytes flipped", npz({**members, pickle: changed}, zipfile.ZIP_STORED))
    if kind == "missing":
        gone = draw.choice(list(members))
        return Mutant(
            "pickle: member missing", npz({k: v for k, v in members.items() if k != gone}, zipfile.ZIP_STORED)
        )
    return Mutant("pickle: packed again", npz(members, zipfile.ZIP_DEFLATED))


# --------------------------------------------------------------------------------------------------------------- texts


def of_text(content: bytes, draw: Draw) -> Mutant:
    words = re.split(rb"(\s+|,|/)", content)
    kind = draw.choice(("word", "word", "word", "gone", "line", "long", "lines"))
    if kind == "word":
        others = (
            b"nan",
            b"inf",
            b"1e999",
            b"-1",
            b"0",
            HUGE.encode(),
            b"x",
            b"",
            b"\xff",
            b"999999999",
            b"1_0",
            b"0x10",
            b"4.9",
        )
        places = [place for place in range(0, len(words), 2) if words[place]] or [0]
        words[draw.choice(places)] = draw.choice(others)
        return Mutant("text: another word", b"".join(words))
    if kind == "gone":
        del words[draw.randrange(len(words))]
        return Mutant("text: a word less", b"".join(words))
    lines = content.splitlines(keepends=True) or [b""]
    place = draw.randrange(len(lines))
    if kind == "line":
        del lines[place]
        return Mutant("text: a line less", b"".join(lines))
    if kind == "lines":
        return Mutant("text: a line twice", b"".join([*lines[:place], lines[place], *lines[place:]]))
    lines[place] = draw.choice((b"7 " * 50_000, b"x" * 200_000, b'"' + b"x," * 70_000)) + b"\n"
    return Mutant("text: a long line", b"".join(lines))


# ----------------------------------------------------------------------------------------------------------------- glb


def of_glb(content: bytes, draw: Draw) -> Mutant:
    length = int.from_bytes(content[12:16], "little")
    mutant = mutate_json(json.loads(content[20 : 20 + length]), draw)
    text = mutant.content + b" " * (-len(mutant.content) % 4)
    rest = content[20 + length :]
    head = struct.pack("<4sIII4s", b"glTF", 2, 20 + len(text) + len(rest), len(text), b"JSON")
    return Mutant(mutant.kind.replace("JSON", "glb"), head + text + rest, mutant.wrong)


OF_FORMAT: dict[str, Mutator] = {
    "json": of_json,
    "npy": of_npy,
    "npz": of_npz,
    "picture": of_picture,
    "safetensors": of_safetensors,
    "torch": of_torch,
    "text": of_text,
    "glb": of_glb,
}


def mutant_of(content: bytes, form: str, draw: Draw) -> Mutant:
    """Two of three are of the format, the others of any file's bytes."""
    if form != "bytes" and draw.random() < 2 / 3:
        return OF_FORMAT[form](content, draw)
    return draw.choice(BYTES)(content, draw)
