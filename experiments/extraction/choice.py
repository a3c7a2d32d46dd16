"""What the user of ``experiments.extract`` asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from experiments.extraction.presets import PRESETS, Preset
from experiments.extraction.targets import Targets
from experiments.synthetic.schema import Attribute, Setting
from vggt_jax.adapters import Init

ATTRIBUTES: tuple[Attribute, ...] = ("texture", "geometry", "camera", "lighting")


@dataclass(frozen=True)
class Choice:
    """The command's flags, with the defaults that hang on other flags filled in."""

    attribute: Attribute
    setting: Setting
    preset_name: str
    preset: Preset
    """The preset of that name, with the changes that were asked for."""
    weights: str | None
    """Of the base model; None only for imported adapters whose base is not needed."""
    k: int
    alpha: float
    """The exponent of Eq. 1."""
    init: Init
    targets: Targets
    seed: int
    adapters: tuple[str, ...]
    """Finished adapters to import; none are trained then."""
    store: Path
    workers: int | None
    blender: str | None

    @property
    def default_output(self) -> Path:
        """Where the results lie if nothing else is said: below the store, controls beside what they are controls of."""
        if self.adapters:
            return self.store / "extract" / "imported"
        parts = [self.attribute, self.setting, self.preset_name]
        parts += ["shared_init"] * (self.init == "shared") + ["shuffled_targets"] * (self.targets == "shuffled")
        return self.store / "extract" / "_".join(parts)


def choose(given: Mapping[str, Any], store: Path) -> Choice:
    """The command's flags as one value."""
    preset = PRESETS[given["preset"]]
    changes = {name: given[name] for name in ("rank", "dim", "steps") if given[name] is not None}
    if "rank" in changes:
        changes["alpha"] = float(changes["rank"])
    adapters = tuple(given["adapters"] or ())
    weights = given["weights"]
    if weights is None and not adapters:
        weights = preset.weights
    return Choice(
        attribute=given["attribute"],
        setting=given["setting"],
        preset_name=given["preset"],
        preset=replace(preset, **changes),
        weights=weights,
        k=preset.datasets[given["setting"]] if given["k"] is None else given["k"],
        alpha=given["alpha"],
        init=given["init"],
        targets=given["targets"],
        seed=given["seed"],
        adapters=adapters,
        store=store,
        workers=given["workers"],
        blender=given["blender"],
    )
