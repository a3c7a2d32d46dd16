"""Small mesh files with everything that says something about colour: a square of two triangles, written by hand."""

import base64
import io
import json

import numpy as np
from PIL import Image

SQUARE = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], np.float32)
FACES = np.array([[0, 1, 2], [0, 2, 3]], np.uint16)
UV = SQUARE[:, :2].copy()
"""The same as the square's x and y; in glTF v points down."""


def png(picture):
    content = io.BytesIO()
    picture.save(content, "PNG")
    return content.getvalue()


def plain_picture(color=(200, 100, 50), size=(4, 4), mode="RGB"):
    return Image.new(mode, size, color)


def write_gltf(path, *, attributes=None, material=None, picture=None, more=None, raw=()):
    """The square as .gltf or .glb.

    Args:
        path: of the file.
        attributes: further ones of the vertices, or others in place of its positions; of integers, shares of their largest.
        material: JSON of it; its picture has the number 0.
        picture: Pillow's, or the URI of a file.
        more: JSON that is put at the top.
        raw: names of attributes whose integers are what they are.
    """
    blobs, views, accessors, named = [], [], [], {}
    types = {2: "VEC2", 3: "VEC3", 4: "VEC4"}
    components = {"f4": 5126, "i1": 5120, "u1": 5121, "i2": 5122, "u2": 5123}
    for name, values in {"POSITION": SQUARE, **(attributes or {}), "indices": FACES.reshape(-1)}.items():
        kind = "SCALAR" if values.ndim == 1 else types[values.shape[1]]
        if values.dtype == np.float64:
            values = values.astype(np.float32)
        shares = values.dtype.kind in "iu" and name not in ("indices", *raw)
        rows, stride = values.reshape(len(values), -1), {}
        if name != "indices" and (padding := -rows.itemsize * rows.shape[1] % 4):
            rows = np.pad(rows, [(0, 0), (0, padding // rows.itemsize)])
            stride = {"byteStride": rows.itemsize * rows.shape[1]}
        views.append({"buffer": 0, "byteOffset": sum(map(len, blobs)), "byteLength": rows.nbytes, **stride})
        blobs.append(rows.tobytes() + b"\0" * (-rows.nbytes % 4))
        accessors.append(
            {"bufferView": len(views) - 1, "componentType": components[values.dtype.str[1:]], "count": len(values),
             "type": kind, **({"normalized": True} if shares else {}),
             **({"min": values.min(0).tolist(), "max": values.max(0).tolist()} if name == "POSITION" else {})}
        )  # fmt: skip
        named[name] = len(accessors) - 1
    primitive = {"indices": named.pop("indices"), "attributes": named}
    tree = {"asset": {"version": "2.0"}, "scene": 0, "scenes": [{"nodes": [0]}], "nodes": [{"mesh": 0}]}
    if material is not None:
        tree["materials"], primitive["material"] = [material], 0
    if picture is not None:
        uri = picture if isinstance(picture, str) else _data(png(picture))
        tree |= {"textures": [{"source": 0}], "images": [{"uri": uri}]}
    buffer = b"".join(blobs)
    tree |= {"meshes": [{"primitives": [primitive]}], "accessors": accessors, "bufferViews": views, **(more or {})}
    if path.suffix == ".gltf":
        tree["buffers"] = [{"byteLength": len(buffer), "uri": _data(buffer)}]
        path.write_text(json.dumps(tree))
        return path
    tree["buffers"] = [{"byteLength": len(buffer)}]
    text = json.dumps(tree).encode()
    text += b" " * (-len(text) % 4)
    head = np.array([0x46546C67, 2, 28 + len(text) + len(buffer), len(text), 0x4E4F534A], "<u4").tobytes()
    path.write_bytes(head + text + np.array([len(buffer), 0x004E4942], "<u4").tobytes() + buffer)
    return path


def base(texture=True, **others):
    """A material with or without the picture, and what else its base colour has."""
    pbr = {"baseColorTexture": {"index": 0}} if texture else {}
    return {"pbrMetallicRoughness": {**pbr, **others}}


def _data(content):
    return "data:application/octet-stream;base64," + base64.b64encode(content).decode()


def write_obj(path, *, mtl=None, uv=True, colors=None, files=None):
    """The square as OBJ, with its material's lines and files beside it."""
    rows = SQUARE if colors is None else np.concatenate([SQUARE, colors], axis=1)
    lines = ["v " + " ".join(f"{value:g}" for value in row) for row in rows]
    if mtl is not None:
        lines = ["mtllib m.mtl", *lines, *(f"vt {u:g} {v:g}" for u, v in UV if uv), "usemtl m"]
        (path.parent / "m.mtl").write_text(f"newmtl m\n{mtl}\n")
    corner = "{0}/{0}" if uv and mtl is not None else "{0}"
    lines += ["f " + " ".join(corner.format(index + 1) for index in face) for face in FACES]
    path.write_text("\n".join(lines) + "\n")
    for name, picture in (files or {}).items():
        (path.parent / name).parent.mkdir(exist_ok=True, parents=True)
        (path.parent / name).write_bytes(picture if isinstance(picture, bytes) else png(picture))
    return path


def write_ply(path, *, vertex=(), face=(), comment=None, extra=()):
    """The square as ASCII PLY.

    Args:
        path: of the file.
        vertex: (name, type, values of the vertices).
        face: the same of the faces.
        comment: a line of the header.
        extra: further vertices that no face has.
    """
    points = [*SQUARE.tolist(), *extra]
    header = ["ply", "format ascii 1.0", *([f"comment {comment}"] if comment else []), f"element vertex {len(points)}"]
    header += [f"property float {axis}" for axis in "xyz"] + [f"property {kind} {name}" for name, kind, _ in vertex]
    header += [f"element face {len(FACES)}", "property list uchar int vertex_indices"]
    header += [f"property {kind} {name}" for name, kind, _ in face] + ["end_header"]
    rows = [" ".join(map(str, [*point, *(values[i] for *_, values in vertex)])) for i, point in enumerate(points)]
    rows += [" ".join(map(str, [3, *corners, *(values[i] for *_, values in face)])) for i, corners in enumerate(FACES)]
    path.write_text("\n".join([*header, *rows]) + "\n")
    return path
