"""Names as training scripts change them, and models that are no VGGT."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

PARTS = ("aggregator", "camera_head", "depth_head", "point_head", "track_head")
"""What the names of a VGGT's parameters begin with."""

_WRAPPERS = re.compile(r"(?:^|(?<=\.))(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
"""What PyTorch's wrappers put anywhere into names."""
_LORA = re.compile(r"\.lora_[AB]\.")
_OWN_UPDATE = re.compile(r"\.(A|B|magnitude|\w*singular_values|residuals|weights)$")
"""Of adapters and subspaces that this project writes."""
_FOREIGN = (
    (r".*(enc_blocks\.\d+|dec_blocks\.\d+|downstream_head\d?)\..*", "DUSt3R, MASt3R or one of their kin"),
    (r"(point_decoder|conf_decoder|camera_decoder)\..*", "Pi3"),
    (r"(model\.)?(backbone\.)?pretrained\.blocks\..*", "Depth Anything"),
    (r"(encoder\.backbone|points_head|mask_head)\..*", "MoGe"),
    (r"(.*\.)?(down_blocks|up_blocks|input_blocks)\.\d+\..*", "a diffusion model"),
    (r"(vision_model|visual|text_model)\..*", "CLIP or one of its kin"),
    (r"(model\.layers|(model\.)?language_model|(bert|roberta)\.|transformer\.h|gpt_neox)\b.*", "a language model"),
    (r"(backbone\.)?blocks\.\d+(\.\d+)?\.ls[12]\.gamma", "DINOv2"),
    (r"(backbone\.)?blocks\.\d+\.attn\..*", "a vision transformer"),
    (r"(.*\.)?layer[1-4]\.\d+\.conv\d\.weight", "a ResNet"),
)
"""Patterns of names, and which model has them; the first that fits is said."""


@dataclass(frozen=True)
class Renaming:
    """The names of a file's tensors without what a training script put before or into them."""

    original: Mapping[str, str]
    """Plain name → name in the file."""
    prefix: str
    """What was put before all names; empty if nothing was."""
    wrapped: bool
    """Whether wrappers had put words into names."""

    def remarks(self) -> list[str]:
        """What the user should know of it."""
        said = [f"all names begin with {self.prefix!r}, which is left out"] if self.prefix else []
        return said + (["words of PyTorch's wrappers are left out of names"] if self.wrapped else [])


def plain_names(names: Iterable[str]) -> Renaming | None:
    """How to rename tensors so that they are called as in a VGGT; None where nothing is to be done or can be."""
    names = list(names)
    unwrapped = [_WRAPPERS.sub("", name) for name in names]
    prefix = _shared_prefix(unwrapped)
    plain = [name.removeprefix(prefix) for name in unwrapped]
    if plain == names or len(set(plain)) < len(plain) or not any(map(_is_part, plain)) or any(map(_LORA.search, names)):
        return None
    return Renaming(dict(zip(plain, names, strict=True)), prefix, unwrapped != names)


def _shared_prefix(names: list[str]) -> str:
    """The words that all names begin with, as far as no part of a VGGT is one of them."""
    prefix = ""
    for words in zip(*(name.split(".")[:-1] for name in names), strict=False):
        if len(set(words)) > 1 or words[0] in PARTS:
            break
        prefix += f"{words[0]}."
    return prefix


def _is_part(name: str) -> bool:
    return name.partition(".")[0] in PARTS


def foreign(names: Iterable[str]) -> str | None:
    """What the tensors look like, if they have nothing of a VGGT's aggregator; None if they have."""
    names = list(names)
    if (lora := next(filter(_LORA.search, names), None)) is not None:
        return f"a LoRA, which is not the model itself but read as an adapter ({lora})"
    if names and all(map(_OWN_UPDATE.search, names)):
        return f"an adapter of this project or a subspace, not a model ({names[0]})"
    if any(name.startswith("aggregator.") for name in names):
        return None
    if not names:
        return "nothing, as it holds no tensors"
    for pattern, model in _FOREIGN:
        regex = re.compile(pattern)
        if (example := next((name for name in names if regex.fullmatch(name)), None)) is not None:
            return f"{model} ({example})"
    if all(_is_part(name) for name in names):
        return f"heads without the aggregator ({names[0]})"
    begin = ", ".join(
        f"{word} ({count})" for word, count in Counter(name.partition(".")[0] for name in names).most_common(3)
    )
    return f"another model, its {len(names):,} tensor(s) begin with {begin}"
