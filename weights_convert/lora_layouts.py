"""The layouts of :class:`weights_convert.lora_file.LoraFile`, told apart by what a file or folder holds."""

from __future__ import annotations

import errno
import re
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from math import isfinite, prod
from pathlib import Path
from typing import Any

import numpy as np

from subspace.errors import InputError
from vggt_jax.adapters.file import KEY, read_header
from vggt_jax.reading.json_text import parse_json, read_json
from vggt_jax.reading.safetensors_file import SafetensorsFile, Shape
from weights_convert.lora_file import Layout, LoraFile, LoraModule
from weights_convert.peft import misfits, official_modules
from weights_convert.peft_config import CONFIG, PeftConfig
from weights_convert.sources import Tensors, open_tensors
from weights_convert.table import report

PEFT_WEIGHTS = tuple(
    f"adapter_model{ending}" for ending in (".safetensors", ".safetensors.index.json", ".bin", ".bin.index.json")
)
"""What the weights in a folder of PEFT's may be called, the first one found is taken."""
PROJECT = KEY
"""The entry of the metadata that this project's own adapters have."""
_SETTINGS = "lora_adapter_metadata"
"""The entry of the metadata in which diffusers keeps PEFT's settings."""
_FACTOR = re.compile(
    r"(?P<module>.+?)(?:\.|_)(?:"
    r"lora_(?P<letter>[AB])(?:\.(?!weight$)(?P<adapter>[^.]+))?\.weight"
    r"|lora_embedding_(?P<embedding>[AB])(?:\.(?P<embedding_adapter>[^.]+))?"
    r"|lora_(?P<kohya>down|up)\.weight"
    r"|lora(?:_linear_layer)?\.(?P<diffusers>down|up)\.weight)"
)
_ALPHA = re.compile(r"(?P<module>.+?)(?:_lora|\.lora|\.lora_linear_layer)?\.alpha")
_PREFIX = re.compile(r"^base_model\.model\.")
_WRAPPED = re.compile(r"(?<![^.])base_layer\.(?!(?:base_layer\.)*base_layer$)")
"""PEFT's word for a module inside of another one's wrapper; at the end of a name it tells several LoRAs of a module apart."""
_INNER = re.compile(r"\.base_layer\.out_proj$")
"""The second matrix of an ``nn.MultiheadAttention``, whose rank and scale PEFT takes from the target around it."""
_OTHER_METHODS = (
    (re.compile(r"\.(lora_magnitude_vector|dora_scale|magnitude)(\.|$)"), "a DoRA"),
    (re.compile(r"\.hada_w[12]"), "a LoHa"),
    (re.compile(r"\.lokr_w[12]"), "a LoKr"),
    (re.compile(r"vera_lambda"), "a VeRA"),
    (re.compile(r"\.(oft_|boft_)"), "an OFT"),
    (re.compile(r"\.ia3_|\.on_input$"), "an IA3"),
    (re.compile(r"\.lora_mid\.weight$"), "a LoCon with a tensor between its two factors (Tucker)"),
    (re.compile(r"\.(glora|a[12]\.weight|b[12]\.weight)"), "a GLoRA"),
)
"""Names of tensors that show what is no LoRA."""


def open_lora(path: Path, *, low_rank_part: bool = False) -> LoraFile:
    """Opens one LoRA.

    Args:
        path: a folder of PEFT's, or a file of diffusers, kohya's scripts or this project.
        low_rank_part: of a DoRA, take the low-rank part and leave the lengths of rows out, which is not what it does.

    Raises:
        InputError: another method than LoRA (named), a file that is damaged, tensors that contradict each other.
        OSError: a file that is missing or cannot be read.
    """
    if path.is_dir():
        return _open_peft(path, low_rank_part)
    tensors = open_tensors(path)
    if PROJECT in tensors.metadata:
        return _open_project(path, tensors)
    return _open_single(path, tensors, low_rank_part)


def is_peft(folder: Path) -> bool:
    """Whether a folder holds an adapter of PEFT's."""
    return (folder / CONFIG).is_file()


def is_lora_file(path: Path) -> bool:
    """Whether a file's header has the tensors of a LoRA, or of a method that is refused by name."""
    if path.suffix != ".safetensors":
        return False
    with suppress(InputError, OSError):
        file = SafetensorsFile(path)
        return PROJECT in file.metadata or any(_FACTOR.fullmatch(name) or _method(name) for name in file.tensors)
    return False


def _open_peft(folder: Path, low_rank_part: bool) -> LoraFile:
    config = PeftConfig.read(folder / CONFIG, of_any_lora=True)
    weights = next((folder / name for name in PEFT_WEIGHTS if (folder / name).is_file()), None)
    if weights is None:
        raise FileNotFoundError(errno.ENOENT, f"holds none of {', '.join(PEFT_WEIGHTS)}", str(folder))
    tensors = open_tensors(weights)
    remarks = []
    if config.use_dora:
        remarks.append(_only_low_rank(folder, low_rank_part))
    found = _Found(weights, tensors, low_rank_part)
    modules: dict[str, LoraModule] = {}
    for stored, (up, down) in found.pairs().items():
        name = _WRAPPED.sub("", _PREFIX.sub("", stored))
        target = _WRAPPED.sub("", _PREFIX.sub("", _INNER.sub("", stored)))
        needed, scale = config.rank(target), config.scale(target)
        experts = found.rank(stored) // needed if config.has_experts else 1
        if name in modules or f"{name}.0" in modules:
            raise InputError(f"{weights}: two LoRAs of {name}, one of which is {stored}")
        if experts > 1 and found.rank(stored) == experts * needed:
            one = found.module(stored, scale)
            for number in range(experts):
                parts = partial(_of_expert, number, experts)
                modules[f"{name}.{number}"] = LoraModule(one.weight, needed, one.scale, up, down, parts, "expert")
            continue
        if found.rank(stored) != needed:
            raise InputError(f"{weights}: {stored} has rank {found.rank(stored)}, {CONFIG} gives it rank {needed}")
        modules[name] = found.module(stored, scale)
    files = (folder / CONFIG, *_files_of(weights))
    return found.file(folder, "peft", config.base, modules, remarks, files)


def _open_single(path: Path, tensors: Tensors, low_rank_part: bool) -> LoraFile:
    found = _Found(path, tensors, low_rank_part)
    pairs = found.pairs()
    layout: Layout = "kohya" if all("." not in name for name in pairs) else "diffusers"
    alphas, remarks = found.alphas(), []
    config = _diffusers_config(path, tensors.metadata)
    of_header = None
    with suppress(ValueError):
        of_header = float(tensors.metadata.get("ss_network_alpha", ""))
    if not alphas and not config:
        said = "the header" if of_header is not None else "nowhere, so that they are taken as equal to the ranks"
        remarks.append(f"alphas are in {said}" if of_header is not None else f"alphas are {said}")
    modules = {}
    for stored in pairs:
        name, rank = _PREFIX.sub("", stored), found.rank(stored)
        if stored in alphas:
            scale = alphas[stored] / rank
        elif (part := name.partition(".")[0]) in config:
            module = name.partition(".")[2]
            if rank != (said := config[part].rank(module)):
                raise InputError(f"{path}: {stored} has rank {rank}, {_SETTINGS} in the header gives it rank {said}")
            scale = config[part].scale(module)
        else:
            scale = 1.0 if of_header is None or alphas or config else of_header / rank
        modules[name] = found.module(stored, scale)
    base = tensors.metadata.get("ss_sd_model_name") or tensors.metadata.get("modelspec.architecture")
    return found.file(path, layout, base, modules, remarks, _files_of(path))


def _open_project(path: Path, tensors: Tensors) -> LoraFile:
    """With the names and shapes of the official VGGT, as :func:`weights_convert.peft.write_peft` writes them."""
    if tensors.problems:
        raise InputError(f"{path}: {report(tensors.problems, 'the adapter cannot be read')}")
    header = read_header(path, tensors.metadata)
    known = official_modules(header.base_config(path))
    if problems := misfits({name: entry.shape for name, entry in header.matrices.items()}, known):
        raise InputError(f"{path}: the adapter does not fit the model that its header names: {'; '.join(problems[:3])}")
    for name, entry in header.matrices.items():
        if entry.weight_decomposed:
            raise InputError(f"{path}: a DoRA, whose updates are of no low rank")
        *layers, n, m = entry.shape
        for side, size in (("A", n), ("B", m)):
            if tensors.shapes.get(f"{name}.{side}") != (*layers, size, entry.rank):
                found = tensors.shapes.get(f"{name}.{side}", "missing")
                raise InputError(f"{path}: {name}.{side} is {found}, its header says {(*layers, size, entry.rank)}")
    modules = {}
    for official, (name, layer, weight) in known.items():
        if name in header.matrices:
            factors = partial(_of_layer, () if layer is None else (layer,))
            rank = header.matrices[name].rank
            modules[official] = LoraModule(weight, rank, 1.0, f"{name}.A", f"{name}.B", factors)
    label = f"{header.base.name} ({header.base.fingerprint})"
    return LoraFile(path, "project", label, modules, (), (), (path,), tensors)


class _Found:
    """The factors in one file of LoRAs, by the names that they have there."""

    def __init__(self, path: Path, tensors: Tensors, low_rank_part: bool):
        self.path, self.tensors = path, tensors
        self._low_rank_part = low_rank_part
        self._factors: defaultdict[str, dict[str, str]] = defaultdict(dict)
        self._kinds: dict[str, str] = {}
        self._alphas: dict[str, str] = {}
        self.left_out: list[str] = []
        self.remarks: list[str] = list(tensors.remarks)
        problems = list(tensors.problems)
        adapters = set()
        for name in tensors.shapes:
            if method := _method(name):
                if method != "a DoRA":
                    raise InputError(f"{path}: {method}, not a LoRA ({name}); only LoRAs can be read")
                if (said := _only_low_rank(path, low_rank_part)) not in self.remarks:
                    self.remarks.append(said)
                continue
            match, alpha = _FACTOR.fullmatch(name), _ALPHA.fullmatch(name)
            if match is None and alpha is not None:
                self._alphas[alpha["module"]] = name
                continue
            if match is None:
                self.left_out.append(name)
                continue
            module = match["module"]
            adapters.add(match["adapter"] or match["embedding_adapter"])
            side = match["letter"] or match["embedding"] or match["kohya"] or match["diffusers"]
            side = {"down": "A", "up": "B"}.get(side, side)
            if side in self._factors[module]:
                problems.append(f"given twice: {name}")
            self._factors[module][side] = name
            self._kinds[module] = "embedding" if match["embedding"] else "linear"
        if len(adapters) > 1:
            raise InputError(
                f"{path}: several adapters in one file ({', '.join(sorted(map(str, adapters)))}); save each by itself"
            )
        for module, sides in self._factors.items():
            problems += [f"missing: {side} of {module}" for side in "AB" if side not in sides]
        if problems or not self._factors:
            raise InputError(f"{path}: {report(problems, 'the LoRA cannot be read') if problems else 'holds no LoRA'}")

    def pairs(self) -> dict[str, tuple[str, str]]:
        """Module → names of up and down."""
        return {module: (sides["B"], sides["A"]) for module, sides in self._factors.items()}

    def rank(self, module: str) -> int:
        return self._shapes(module)[1][0]

    def alphas(self) -> dict[str, float]:
        """Module → alpha, of those that have one."""
        return {module: self._alpha(name) for module, name in self._alphas.items()}

    def _alpha(self, name: str) -> float:
        if prod(self.tensors.shapes[name]) != 1:
            raise InputError(f"{self.path}: {name} has shape {self.tensors.shapes[name]}, it must be one number")
        alpha = float(self.tensors.read(name).reshape(()))
        if not isfinite(alpha):
            raise InputError(f"{self.path}: {name} is {alpha}")
        return alpha

    def module(self, stored: str, scale: float) -> LoraModule:
        """Raises InputError for factors that do not belong together."""
        up, down = self._shapes(stored)
        rank = down[0] if down else 0
        is_embedding = self._kinds[stored] == "embedding"
        if len(up) < 2 or len(down) < 2 or up[1] != rank or set(up[2:]) - {1} or rank < 1:
            raise InputError(f"{self.path}: the factors of {stored} do not fit each other, {up} and {down}")
        names = self.pairs()[stored]
        (outputs, *_), (_, inputs, *kernel) = up, down
        weight: Shape = (inputs, outputs) if is_embedding else (outputs, inputs, *kernel)
        if is_embedding:
            return LoraModule(weight, rank, scale, *names, _of_embedding, "embedding")
        return LoraModule(weight, rank, scale, *names, _of_matrix)

    def _shapes(self, module: str) -> tuple[Shape, Shape]:
        up, down = self.pairs()[module]
        return self.tensors.shapes[up], self.tensors.shapes[down]

    def file(
        self,
        path: Path,
        layout: Layout,
        base: str | None,
        modules: Mapping[str, LoraModule],
        remarks: list[str],
        files: tuple[Path, ...],
    ) -> LoraFile:
        said = list(dict.fromkeys([*remarks, *self.remarks]))
        modules = dict(sorted(modules.items(), key=lambda item: _natural(item[0])))
        return LoraFile(path, layout, base, modules, tuple(self.left_out), tuple(said), files, self.tensors)


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorts layer 2 before layer 10."""
    return [(int(word), "") if word.isdigit() else (-1, word) for word in re.split(r"(\d+)", name)]


def _of_matrix(up: np.ndarray, down: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return up.reshape(up.shape[:2]), down.reshape(len(down), -1).T


def _of_embedding(up: np.ndarray, down: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return down.T, up  # PEFT adds the transpose of up · down to the (entries, width) table


def _of_expert(number: int, experts: int, up: np.ndarray, down: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rank = len(down) // experts
    return up.reshape(len(up), rank, experts)[:, :, number], down.reshape(experts, rank, -1)[number].T


def _of_layer(index: tuple[int, ...], A: np.ndarray, B: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return A[index], B[index]


def _method(name: str) -> str | None:
    return next((method for pattern, method in _OTHER_METHODS if pattern.search(name)), None)


def _only_low_rank(path: Path, low_rank_part: bool) -> str:
    if not low_rank_part:
        raise InputError(
            f"{path}: a DoRA, whose update is of no low rank; its low-rank part alone is read on request",
            argument="low_rank_part",
        )
    return "a DoRA: its low-rank part alone is read, without the lengths of rows"


def _files_of(weights: Path) -> tuple[Path, ...]:
    if not weights.name.endswith(".index.json"):
        return (weights,)
    names = set(read_json(weights)["weight_map"].values())
    return (weights, *(weights.parent / name for name in sorted(names)))


def _diffusers_config(path: Path, metadata: Mapping[str, str]) -> dict[str, PeftConfig]:
    """The settings that newer versions of diffusers put into the header, by the part of the pipeline."""
    text = metadata.get(_SETTINGS)
    if text is None:
        return {}
    try:
        parts: defaultdict[str, dict[str, Any]] = defaultdict(dict)
        for key, value in parse_json(text).items():
            part, _, name = key.partition(".")
            parts[part][name] = value
        return {part: PeftConfig.of_entries(entries) for part, entries in parts.items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: {_SETTINGS} in the header cannot be read ({error})") from None
