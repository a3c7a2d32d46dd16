"""Tables of rules that map one naming and layout of weights onto another, both ways.

A rule pairs a source name with a path by templates, ``"{blocks}.{layer}.{linear}.weight"`` and
``"{blocks}.{linear}.kernel"``. Each field stands for a regular expression; a field that both sides have carries its
text over. ``{layer}`` occurs in names only: tensors that differ in nothing else are stacked, in order, on a leading
axis.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from subspace.errors import InputError

LAYER = "layer"
SHOWN = 40
"""Lines for each kind of problem in an error's text."""
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Transform:
    """A change of layout without loss: ``forward`` to this project's, ``backward`` to the source's.

    Both take and return a view of one layer's array; nothing is copied.
    """

    forward: Callable[[np.ndarray], np.ndarray]
    backward: Callable[[np.ndarray], np.ndarray]


def permutation(*axes: int) -> Transform:
    """The transform that puts source axis ``axes[i]`` at place i."""
    inverse = tuple(int(i) for i in np.argsort(axes))
    return Transform(lambda x: x.transpose(axes), lambda x: x.transpose(inverse))


AS_IS = Transform(lambda x: x, lambda x: x)


@dataclass(frozen=True)
class Rule:
    """One line of a table: names of the form ``source`` are the leaves at ``path``, changed by ``transform``."""

    source: str
    path: str
    transform: Transform = AS_IS


@dataclass(frozen=True)
class Piece:
    """One source tensor's place: the whole leaf at ``path``, or its slice ``layer`` on the leading axis."""

    name: str
    path: str
    layer: int | None
    transform: Transform

    def restore(self, layer: np.ndarray) -> np.ndarray:
        """The source tensor, contiguous, of one layer's array in this project's layout."""
        array = self.transform.backward(layer)
        return np.ascontiguousarray(array).reshape(array.shape)  # ascontiguousarray turns scalars into vectors

    def source_shape(self, leaf: Shape) -> Shape:
        """The source tensor's shape where ``leaf`` is the whole leaf's."""
        layer = np.broadcast_to(np.zeros((), np.bool_), leaf if self.layer is None else leaf[1:])  # takes no memory
        return self.transform.backward(layer).shape


class Table:
    """Rules with the regular expressions of their fields. Every name and every path must match exactly one rule."""

    def __init__(self, rules: Sequence[Rule], fields: Mapping[str, str]):
        self.rules = tuple(rules)
        self._sources = [_compile(rule.source, {**fields, LAYER: r"\d+"}) for rule in rules]
        self._paths = [_compile(rule.path, fields) for rule in rules]

    def plan(
        self, names: Mapping[str, Shape], leaves: Mapping[str, Shape], problems: Sequence[str] = ()
    ) -> list[Piece]:
        """Where each tensor of ``names`` (name → shape) goes in ``leaves`` (path → shape), in the order of ``names``.

        Raises one InputError that lists all that is wrong: names that no rule or several rules match, tensors without a
        leaf, leaves or slices without a tensor or with several, wrong shapes, and the ``problems`` that the caller has
        found already ("kind: which").
        """
        problems = list(problems)
        pieces: list[Piece] = []
        sources: defaultdict[tuple[str, int | None], list[str]] = defaultdict(list)
        for name, shape in names.items():
            candidates = [
                (rule, match)
                for rule, regex in zip(self.rules, self._sources, strict=True)
                if (match := regex.fullmatch(name))
            ]
            if len(candidates) != 1:
                matched = ", ".join(rule.source for rule, _ in candidates)
                problems.append(
                    f"matched by several rules: {name} ({matched})" if matched else f"unexpected: {name} {shape}"
                )
                continue
            rule, match = candidates[0]
            fields = match.groupdict()
            layer = int(fields.pop(LAYER)) if LAYER in fields else None
            path = rule.path.format(**fields)
            expected = leaves.get(path)
            if expected is None or (layer is not None and layer >= expected[0]):
                problems.append(f"unexpected: {name} {shape}")
                continue
            sources[path, layer].append(name)
            piece = Piece(name, path, layer, rule.transform)
            if shape != piece.source_shape(expected):
                problems.append(f"wrong shape: {name} {shape}, the model needs {piece.source_shape(expected)}")
            pieces.append(piece)
        for (path, layer), several in sources.items():
            if len(several) > 1:
                problems.append(
                    f"given twice: {path}{'' if layer is None else f'[{layer}]'} by {' and '.join(several)}"
                )
        # A tensor whose own problem is listed above is not missing as well.
        problems += [f"missing: {name}" for name in self.names(leaves) if name not in names]
        if problems:
            raise InputError(report(problems))
        return pieces

    def names(self, leaves: Mapping[str, Shape]) -> dict[str, Piece]:
        """The source names of all ``leaves`` (path → shape), in the order of the leaves: the table read backwards.

        Raises InputError where a path matches no rule, or several.
        """
        found: dict[str, Piece] = {}
        for path, shape in leaves.items():
            matches = [
                (rule, match)
                for rule, regex in zip(self.rules, self._paths, strict=True)
                if (match := regex.fullmatch(path))
            ]
            if len(matches) != 1:
                raise InputError(f"{path}: {len(matches)} rules match this path, one is needed")
            rule, match = matches[0]
            stacked = f"{{{LAYER}}}" in rule.source
            for layer in range(shape[0]) if stacked else [None]:
                name = rule.source.format(**match.groupdict(), **({LAYER: layer} if stacked else {}))
                found[name] = Piece(name, path, layer, rule.transform)
        return found


def assemble(
    pieces: Sequence[Piece], read: Callable[[str], np.ndarray], leaves: Mapping[str, Shape]
) -> dict[str, np.ndarray]:
    """The leaves (path → array) that a plan makes of the tensors which ``read`` returns by name.

    Types are kept; where the layers of a stack have several, it has one that holds all their numbers exactly.
    """
    arrays: dict[str, np.ndarray] = {}
    for piece in pieces:
        value = piece.transform.forward(read(piece.name))
        if piece.path not in arrays:
            arrays[piece.path] = np.empty(leaves[piece.path], value.dtype)
        dtype = common_type(arrays[piece.path].dtype, value.dtype)
        arrays[piece.path] = arrays[piece.path].astype(dtype, copy=False)
        arrays[piece.path][... if piece.layer is None else piece.layer] = value
    return arrays


def common_type(first: np.dtype, second: np.dtype) -> np.dtype:
    """A type of weights that holds the numbers of both exactly."""
    if first == second:
        return first
    return np.dtype(np.float64 if np.float64 in (first, second) else np.float32)


def take_apart(pieces: Mapping[str, Piece], leaves: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The source tensors (name → array) of ``leaves`` (path → array): the inverse of :func:`assemble`, bit by bit."""
    return {
        name: piece.restore(leaves[piece.path] if piece.layer is None else leaves[piece.path][piece.layer])
        for name, piece in pieces.items()
    }


def report(problems: Sequence[str], title: str = "weights do not fit the model") -> str:
    """All problems, one a line, sorted by kind; of a kind that fills pages, the first ones and how many there are."""
    kinds: defaultdict[str, list[str]] = defaultdict(list)
    for problem in problems:
        kinds[problem.partition(":")[0]].append(problem)
    lines = []
    for kind, several in kinds.items():
        lines += several[:SHOWN]
        if len(several) > SHOWN:
            lines.append(f"{kind}: … and {len(several) - SHOWN:,} more")
    counts = ", ".join(f"{len(several):,} {kind}" for kind, several in kinds.items())
    return f"{title} ({counts}):\n  " + "\n  ".join(lines)


def _compile(template: str, fields: Mapping[str, str]) -> re.Pattern[str]:
    """The regular expression of a template, with a named group for each of its fields."""
    parts = re.split(r"\{(\w+)\}", template)
    return re.compile("".join(re.escape(p) if i % 2 == 0 else f"(?P<{p}>{fields[p]})" for i, p in enumerate(parts)))
