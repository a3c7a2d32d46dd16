"""What PEFT's ``adapter_config.json`` says about a LoRA: which rank and which scale every module has."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import sqrt
from pathlib import Path
from typing import Any

import msgspec

from subspace.errors import InputError
from vggt_jax.reading import typed
from vggt_jax.reading.json_text import read_json

CONFIG = "adapter_config.json"

_READ = {"peft_type", "r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "use_dora", "init_lora_weights"}
_WITHOUT_EFFECT = {
    "auto_mapping",
    "base_model_name_or_path",
    "eva_config",
    "exclude_modules",
    "fan_in_fan_out",
    "inference_mode",
    "layers_pattern",
    "layers_to_transform",
    "lora_dropout",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
    "target_modules",
    "task_type",
}
"""Entries that change neither the names nor the meaning of the stored factors. Any other one that is set is refused."""
_ORDINARY_STARTS = (True, False, "gaussian", "orthogonal", "eva")
"""Values of ``init_lora_weights`` that leave the base model's weights alone; PiSSA and others do not."""
_OTHERWISE = ("peft_type", "init_lora_weights", "layer_replication", "use_qalora", "use_bdlora")
"""Entries with which the updates are others than scale · lora_B · lora_A of the base's own weights."""
_LONGEST_PATTERN, _MOST_REPEATS = 1_000, 4
"""Letters of a pattern, and open ends in it: with more, comparing it with one name can take longer than anybody waits."""


class _Entries(msgspec.Struct, frozen=True):
    """Entries that are read, by PEFT's names; they may be null where PEFT has defaults."""

    r: int
    lora_alpha: float
    rank_pattern: dict[str, int] | None = None
    alpha_pattern: dict[str, float] | None = None
    use_rslora: bool | None = None
    use_dora: bool | None = None
    base_model_name_or_path: str | None = None
    target_parameters: Any = None


@dataclass(frozen=True)
class PeftConfig:
    """Ranks and scales. Patterns are regular expressions: the first that matches a module's name, or what follows a dot
    in it, counts."""

    r: int
    lora_alpha: float
    rank_pattern: Mapping[str, int] = field(default_factory=dict)
    alpha_pattern: Mapping[str, float] = field(default_factory=dict)
    use_rslora: bool = False
    use_dora: bool = False
    base: str | None = None
    """Name of the base model."""
    has_experts: bool = False
    """Whether parameters of several experts are adapted, which have one factor for each."""

    @classmethod
    def read(cls, path: Path, *, of_any_lora: bool = False) -> PeftConfig:
        """The settings in the file ``path``.

        Args:
            path: ``adapter_config.json``.
            of_any_lora: accept what stands beside a LoRA (``modules_to_save``, biases) or changes where it acts, as long as
                its updates are scale · lora_B · lora_A.

        Raises InputError for a file that is no ordinary LoRA's or DoRA's, OSError for one that cannot be read.
        """
        try:
            content = read_json(path)
            if not isinstance(content, dict) or "peft_type" not in content:
                raise InputError("it has no peft_type")
        except ValueError as error:
            raise InputError(f"{path}: not the configuration of a PEFT adapter ({error})") from None
        refused = _refused(content)
        if of_any_lora:
            refused = [entry for entry in refused if entry.startswith(_OTHERWISE)]
        if refused:
            raise InputError(f"{path}: only ordinary LoRAs and DoRAs can be read, this one has {', '.join(refused)}")
        try:
            return cls.of_entries(content)
        except ValueError as error:
            raise InputError(f"{path}: r, lora_alpha or their patterns are missing or wrong ({error})") from None

    @classmethod
    def of_entries(cls, content: Mapping[str, Any]) -> PeftConfig:
        """The settings in the entries of a configuration.

        Raises ValueError for entries that are missing or wrong, ranks below 1, and patterns that are none.
        """
        entries = typed.convert(content, _Entries)
        settings = cls(
            entries.r,
            entries.lora_alpha,
            entries.rank_pattern or {},
            entries.alpha_pattern or {},
            bool(entries.use_rslora),
            bool(entries.use_dora),
            entries.base_model_name_or_path or None,
            bool(entries.target_parameters),
        )
        if min([settings.r, *settings.rank_pattern.values()]) < 1:
            raise ValueError("ranks must be at least 1")
        for pattern in (*settings.rank_pattern, *settings.alpha_pattern):
            _check_pattern(pattern)
        return settings

    @classmethod
    def of(cls, ranks: Mapping[str, int], scale: float, *, use_dora: bool = False) -> PeftConfig:
        """The settings of modules (name → rank) that have the same scale: the most frequent rank is ``r``."""
        r = Counter(ranks.values()).most_common(1)[0][0]
        others = {_exactly(name): rank for name, rank in ranks.items() if rank != r}
        alphas = {pattern: scale * rank for pattern, rank in others.items()}
        return cls(r, scale * r, others, alphas, use_dora=use_dora)

    @classmethod
    def of_modules(cls, ranks: Mapping[str, int], scales: Mapping[str, float], base: str | None) -> PeftConfig:
        """The settings of modules (name → rank, name → scale) of any model: what most of them have is the default."""
        alphas = {name: scales[name] * rank for name, rank in ranks.items()}
        (r, alpha), _ = Counter((ranks[name], alphas[name]) for name in ranks).most_common(1)[0]
        return cls(
            r,
            alpha,
            {_exactly(name): rank for name, rank in ranks.items() if rank != r},
            {_exactly(name): own for name, own in alphas.items() if own != alpha},
            base=base,
        )

    def rank(self, module: str) -> int:
        return int(_first_match(self.rank_pattern, module, self.r))

    def scale(self, module: str) -> float:
        """The factor before lora_B · lora_A: alpha / rank, or alpha / √rank for rank-stabilised LoRA."""
        rank = self.rank(module)
        return _first_match(self.alpha_pattern, module, self.lora_alpha) / (sqrt(rank) if self.use_rslora else rank)

    def to_json(self, modules: list[str]) -> str:
        """The text of an ``adapter_config.json`` for a LoRA, or a DoRA, on exactly these modules."""
        content = {
            "peft_type": "LORA",
            **({"base_model_name_or_path": self.base} if self.base else {}),
            "r": self.r,
            "lora_alpha": _integer_if_whole(self.lora_alpha),
            "rank_pattern": dict(self.rank_pattern),
            "alpha_pattern": {key: _integer_if_whole(alpha) for key, alpha in self.alpha_pattern.items()},
            "use_rslora": self.use_rslora,
            **({"use_dora": True} if self.use_dora else {}),
            "target_modules": modules,
            "lora_dropout": 0.0,
            "bias": "none",
            "init_lora_weights": True,
            "inference_mode": True,
        }
        return json.dumps(content, indent=2) + "\n"


def _exactly(name: str) -> str:
    """The pattern of this module alone: without the anchor, PEFT takes it for every name that ends in ``.name`` too."""
    return "^" + re.escape(name)


def _check_pattern(pattern: str) -> None:
    """Raises ValueError for what is no regular expression, or one that could take for ever."""
    try:
        re.compile(pattern)
    except (re.error, RecursionError) as error:
        raise ValueError(f"the pattern {pattern[:80]!r} is no regular expression: {error}") from None
    plain = re.sub(r"\\.", "x", pattern)
    if (
        len(pattern) > _LONGEST_PATTERN
        or re.search(r"\)[*+{]", plain)
        or len(re.findall(r"[*+{]", plain)) > _MOST_REPEATS
    ):
        raise ValueError(f"the pattern {pattern[:80]!r} repeats too much to be compared with names")


def _first_match(patterns: Mapping[str, float], module: str, default: float) -> float:
    return next((value for key, value in patterns.items() if re.match(rf"(.*\.)?({key})$", module)), default)


def _refused(content: Mapping[str, Any]) -> list[str]:
    """Entries that make a folder more than an ordinary LoRA."""
    if content["peft_type"] != "LORA":
        return [f"peft_type {content['peft_type']}"]
    refused = [
        f"{key} {json.dumps(value)}"
        for key, value in content.items()
        if value and key not in _READ | _WITHOUT_EFFECT and (key, value) != ("bias", "none")
    ]
    start = content.get("init_lora_weights", True)
    if start not in _ORDINARY_STARTS:
        refused.append(
            f"init_lora_weights {json.dumps(start)}, which may change the base's weights "
            "(PEFT's save_pretrained converts it with path_initial_model_for_weight_conversion)"
        )
    return refused


def _integer_if_whole(number: float) -> float:
    return int(number) if number == int(number) else number
