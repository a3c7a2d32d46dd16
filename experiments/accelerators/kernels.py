"""What the kernels of an optimised program do: operations by kind and type, and bytes that they move through memory."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal, NamedTuple

from experiments.accelerators.hlo import Hlo, Instruction, Shape
from experiments.accelerators.places import Place, place_of

Kind = Literal["products", "attention", "attention's gradient", "convolutions", "the rest"]
KINDS: tuple[Kind, ...] = ("products", "attention", "attention's gradient", "convolutions", "the rest")
"""Attention is what one kernel does as a whole; the rest is bound by memory."""
Arithmetic = Literal["bfloat16", "tensor_float32", "float32"]
"""How numbers are multiplied: in bfloat16, in float32 with TF32's ten bits or three bfloat16 products, in full float32."""

_NO_KERNEL = frozenset(
    {"parameter", "bitcast", "get-tuple-element", "tuple", "constant", "while", "call", "conditional", "after-all", "iota",
     "partition-id", "replica-id", "async-done", "copy-done", "slice-done", "async-update", "all-reduce-done",
     "all-gather-done"}
)  # fmt: skip
_SLICES = frozenset({"dynamic-slice", "slice", "gather"})
_VIEWS = frozenset({"bitcast", "reshape", "copy", "convert"})
_LIBRARIES = ("__cublas$", "__cudnn$")
"""Their calls give a scratch buffer beside their results, as large as it may become: no traffic."""
_FORWARD_CONVOLUTIONS = ("__cudnn$convForward", "__cudnn$convBiasActivationForward", "__cudnn$convForwardGraph")


class _Work(NamedTuple):
    kind: Kind
    arithmetic: Arithmetic
    operations: float


@dataclass(frozen=True)
class Kernel:
    """One kernel of a program."""

    name: str
    kind: Kind
    arithmetic: Arithmetic
    """Of its products."""
    place: Place
    times: float
    """How often it runs."""
    operations: float
    """Multiplications and additions of its products, each time."""
    bytes: float
    """What it reads and writes, each time."""
    keys: int = 0
    """Attention: over how many tokens."""


def kernels(program: Hlo, *, tpu: bool = False) -> Iterator[Kernel]:
    """Every kernel of a program; ``tpu`` says that it is one for TPUs, which take float32 apart."""
    for instruction, times in program.running():
        if instruction.opcode in _NO_KERNEL:
            continue
        done = [_work(program, each, tpu) for each in (instruction, *program.inside(instruction))]
        found = [work for work in done if work is not None]
        largest = max(found, key=lambda work: work.operations, default=_Work("the rest", "float32", 0.0))
        yield Kernel(
            instruction.name,
            largest.kind,
            largest.arithmetic,
            place_of(instruction.scope),
            times,
            sum(work.operations for work in found),
            _traffic(program, instruction),
            _keys(program, instruction) if largest.kind.startswith("attention") else 0,
        )


def scatters(program: Hlo) -> Iterator[Instruction]:
    """Every scatter whose indices are said to be sorted, which XLA may unroll for GPUs with few multiprocessors."""
    for each in program.instructions.values():
        if each.opcode == "scatter" and "indices_are_sorted=true" in each.attributes:
            yield each


def _work(program: Hlo, instruction: Instruction, tpu: bool) -> _Work | None:
    """The products of one instruction; None where it has none."""
    operands = _operands(program, instruction)
    out, target = (instruction.shapes or (Shape("f32", ()),))[0], instruction.target
    if instruction.opcode == "dot" or target.startswith("__cublas$"):
        left = operands[0]
        contracted = instruction.ints("lhs_contracting_dims") or _contracted(instruction)
        operations = 2.0 * out.size * prod(left.sizes[axis] for axis in contracted)
        return _Work("products", _arithmetic(left.dtype, instruction, tpu), operations)
    if instruction.opcode == "convolution" or target.startswith("__cudnn$conv"):
        return _convolution(instruction, operands, out, tpu)
    if "fmha" in target or _is_attention(instruction):
        q = operands[0]
        backward = "Backward" in target or _is_gradient(instruction)
        operations = 2.0 * _products(instruction, backward) * q.size * _keys(program, instruction)
        return _Work("attention's gradient" if backward else "attention", "bfloat16", operations)
    return None


def _convolution(instruction: Instruction, operands: Sequence[Shape], out: Shape, tpu: bool) -> _Work:
    """On TPUs products are convolutions, too: those none of whose windows slides over what another one sees."""
    labels = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", instruction.attributes)
    assert labels is not None
    first, second = operands[0], operands[1]
    arithmetic = _arithmetic(first.dtype, instruction, tpu)
    if instruction.opcode == "convolution":
        taps, slides = 1, False
        for axis in filter(str.isdigit, labels[2]):
            sizes = (
                first.sizes[labels[1].index(axis)],
                second.sizes[labels[2].index(axis)],
                out.sizes[labels[3].index(axis)],
            )
            met = _taps(instruction, int(axis), *sizes)
            taps, slides = taps * met, slides or met > max(sizes)
        others = out.sizes[labels[3].index("b")] * out.sizes[labels[3].index("f")] * second.sizes[labels[2].index("i")]
        return _Work("convolutions" if slides else "products", arithmetic, 2.0 * others * taps)
    if "BackwardFilter" in instruction.target:  # image, gradient → kernel
        kernel, gradient = out, second
    elif "BackwardInput" in instruction.target:  # gradient, kernel → image
        kernel, gradient = second, first
    else:
        kernel, gradient = second, out
    operations = 2.0 * gradient.size * kernel.size / kernel.sizes[labels[2].index("o")]
    return _Work("convolutions", arithmetic, operations)


def _taps(instruction: Instruction, axis: int, image: int, kernel: int, outputs: int) -> int:
    """How often, along one axis, an element of a kernel meets one of the image, and not padding or what dilation adds."""
    stride, step, apart = (_of_window(instruction, name, axis) for name in ("stride", "rhs_dilate", "lhs_dilate"))
    before = _of_window(instruction, "pad", axis, 0)
    met = (at * stride + element * step - before for at in range(outputs) for element in range(kernel))
    return sum(0 <= place <= (image - 1) * apart and place % apart == 0 for place in met)


def _of_window(instruction: Instruction, name: str, axis: int, default: int = 1) -> int:
    """A property of a convolution's window along one axis; of the padding, what is before the image."""
    found = re.search(rf"\b{name}=([-\dx_]+)", instruction.attributes)
    return int(found[1].split("x")[axis].partition("_")[0]) if found else default


def _arithmetic(dtype: str, instruction: Instruction, tpu: bool) -> Arithmetic:
    if dtype != "f32":
        return "bfloat16"
    found = re.search(r"operand_precision=\{(\w+)", instruction.attributes)
    precision = found[1] if found else "default"
    if tpu:
        of_tpu: dict[str, Arithmetic] = {"default": "bfloat16", "high": "tensor_float32"}
        return of_tpu.get(precision, "float32")
    is_convolution = "conv" in instruction.target
    return "float32" if precision == "highest" and not is_convolution else "tensor_float32"


def _contracted(instruction: Instruction) -> tuple[int, ...]:
    """Axes of the first operand that a product of cuBLAS sums over."""
    found = re.search(r'lhs_contracting_dimensions":\[([^\]]*)\]', instruction.attributes)
    return tuple(int(axis) for axis in re.findall(r"\d+", found[1])) if found else ()


def _is_attention(instruction: Instruction) -> bool:
    """Whether it is a Pallas kernel of attention for TPUs."""
    return instruction.target == "tpu_custom_call" and "/attn/" in instruction.scope


def _is_gradient(instruction: Instruction) -> bool:
    return "bwd" in instruction.scope


def _products(instruction: Instruction, backward: bool) -> int:
    """Of every query with every key; JAX's kernels for TPUs take keys and queries one after the other."""
    if not backward:
        return 2
    return 4 if "bwd_dkv" in instruction.scope else 3 if "bwd_dq" in instruction.scope else 5


def _keys(program: Hlo, instruction: Instruction) -> int:
    """The tokens that each token of an attention looks at."""
    scores = re.search(r'intermediate_tensor_shape": ?\{[^}]*"dimensions": ?\[([^\]]*)\]', instruction.attributes)
    if scores is not None:
        return int(re.findall(r"\d+", scores[1])[-1])
    return _operands(program, instruction)[1].sizes[-2]


def _operands(program: Hlo, instruction: Instruction) -> list[Shape]:
    found = (program.instructions.get(name) for name in instruction.operands)
    return [each.shapes[0] if each and each.shapes else Shape("f32", ()) for each in found]


def _traffic(program: Hlo, instruction: Instruction) -> float:
    """Bytes in and out; where a fusion reads a slice of an operand, or writes into one, those of the slice."""
    inputs = [program.instructions.get(name) for name in instruction.operands]
    body = program.computations.get(instruction.called.get("calls", ""), ())
    if instruction.opcode == "dynamic-update-slice":
        return 2 * (inputs[1].bytes if len(inputs) > 1 and inputs[1] else 0)
    if instruction.opcode in _SLICES:
        return 2 * instruction.bytes
    if instruction.opcode == "copy-start":  # gives the copy and what it was made of
        return sum(each.bytes for each in instruction.shapes[:2])
    if instruction.opcode == "slice-start":  # gives what it was cut from, and the slice
        part = instruction.shapes[1]
        return part._replace(on_chip=False).bytes + part.bytes
    whole = [each.bytes if each else 0.0 for each in inputs]
    if instruction.opcode != "fusion":
        results = [each for each in instruction.shapes if not _is_scratch(instruction, each)]
        return sum(each.bytes for each in results) + sum(whole)
    parameters = {int(each.operands[0]): each.name for each in body if each.opcode == "parameter"}
    users = _users(body)
    read = sum(min(_read(parameters[i], users, size), size) for i, size in enumerate(whole) if i in parameters)
    return read + sum(_written(each, body) for each in body if each.is_root)


def _is_scratch(instruction: Instruction, result: Shape) -> bool:
    return instruction.target.startswith(_LIBRARIES) and result.dtype in ("s8", "u8")


def _users(body: Iterable[Instruction]) -> dict[str, list[Instruction]]:
    found: dict[str, list[Instruction]] = {}
    for each in body:
        for name in set(each.operands):
            found.setdefault(name, []).append(each)
    return found


def _read(name: str, users: dict[str, list[Instruction]], whole: float) -> float:
    """Of a fusion's parameter."""
    total = 0.0
    for user in users.get(name, ()):
        if user.opcode in _SLICES and user.operands[0] == name:
            total += user.bytes
        elif user.opcode in ("dynamic-update-slice", "scatter") and user.operands[0] == name:
            pass
        elif user.opcode in _VIEWS or user.opcode == "transpose":  # inside a fusion it moves nothing
            total += _read(user.name, users, whole)
        else:
            return whole
    return total


def _written(root: Instruction, body: Iterable[Instruction]) -> float:
    """By a fusion that gives ``root``."""
    by_name = {each.name: each for each in body}
    if root.opcode == "tuple":
        return sum(_written(by_name[name], body) for name in root.operands if name in by_name)
    if root.opcode in _VIEWS and root.operands and root.operands[0] in by_name:
        inner = by_name[root.operands[0]]
        return _written(inner, body) if inner.opcode in ("dynamic-update-slice", *_VIEWS) else root.bytes
    if root.opcode == "dynamic-update-slice" and len(root.operands) > 1 and root.operands[1] in by_name:
        return by_name[root.operands[1]].bytes
    return root.bytes
