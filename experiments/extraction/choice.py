"""What the user of ``experiments.extract`` asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from absl import flags

from experiments.extraction.targets import Targets
from experiments.presets import PRESETS, Preset, PresetName
from experiments.scenes.schema import Attribute, Setting

if TYPE_CHECKING:  # what --help, and processes that only draw, need not wait for
    from vggt_jax.adapters import Init

flags.disclaim_key_flags()  # they are those of the command that calls define_flags, whose --help shows them

ATTRIBUTES: tuple[Attribute, ...] = ("texture", "geometry", "camera", "lighting")


@dataclass(frozen=True)
class Choice:
    """The command's flags, with the defaults that hang on other flags filled in."""

    attribute: Attribute
    setting: Setting
    preset_name: PresetName
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
    def settings(self) -> dict[str, str]:
        """What the results depend on besides the base model, in the words of their summary."""
        found = {"attribute": self.attribute, "exponent α": f"{self.alpha:g}", "d'": str(self.preset.extraction.dim)}
        if self.adapters:
            return {**found, "adapters": ", ".join(self.adapters)}
        return {
            **found,
            "k": str(self.k),
            "setting": self.setting,
            "input factors drawn": self.init,
            "targets": self.targets,
            "seed": str(self.seed),
            **{f"preset: {name}": str(value) for name, value in self._sizes().items()},
        }

    def _sizes(self) -> dict[str, Any]:
        rendering = self.preset.rendering
        return {
            "resolution": rendering.resolution,
            "views": rendering.views,
            "samples": rendering.samples,
            "scenes": rendering.scenes,
            **asdict(self.preset.extraction),
            **asdict(self.preset.training),
        }

    @property
    def default_output(self) -> Path:
        """Where the results lie if nothing else is said: below the store, controls beside what they are controls of."""
        if self.adapters:
            return self.store / "extract" / "imported"
        parts = [self.attribute, self.setting, self.preset_name]
        plain = PRESETS[self.preset_name]
        parts += [f"r{self.preset.training.rank}"] * (self.preset.training.rank != plain.training.rank)
        parts += ["shared_init"] * (self.init == "shared") + ["shuffled_targets"] * (self.targets == "shuffled")
        return self.store / "extract" / "_".join(parts)


def choose(
    *,
    attribute: Attribute,
    setting: Setting,
    preset: PresetName,
    store: str,
    weights: str | None = None,
    k: int | None = None,
    rank: int | None = None,
    dim: int | None = None,
    steps: int | None = None,
    alpha: float = 1.0,
    init: Init = "independent",
    targets: Targets = "true",
    adapters: Sequence[str] | None = None,
    seed: int = 0,
    workers: int | None = None,
    blender: str | None = None,
) -> Choice:
    """The command's flags of the same names as one value; None stands for the preset's own."""
    plain = PRESETS[preset]
    wanted: dict[str, Any] = {"rank": rank, "steps": steps}
    changes = {name: value for name, value in wanted.items() if value is not None}
    if rank is not None:
        changes["alpha"] = float(rank)
    if weights is None and not adapters:
        weights = plain.weights
    return Choice(
        attribute=attribute,
        setting=setting,
        preset_name=preset,
        preset=replace(
            plain,
            training=replace(plain.training, **changes),
            extraction=plain.extraction if dim is None else replace(plain.extraction, dim=dim),
        ),
        weights=weights,
        k=plain.rendering.datasets[setting] if k is None else k,
        alpha=alpha,
        init=init,
        targets=targets,
        seed=seed,
        adapters=tuple(adapters or ()),
        store=Path(store),
        workers=workers,
        blender=blender,
    )


def define_flags() -> None:
    """The flags that ``experiments.extract`` shares with commands that call it."""
    flags.DEFINE_enum(
        "setting",
        "object_centric",
        list(get_args(Setting)),
        "cameras around objects, or in a room: hardly moving, or about",
    )
    flags.DEFINE_enum("preset", "nano", list(PRESETS), "nano: minutes on a CPU; vggt_1b: the paper's numbers")
    flags.DEFINE_string(
        "weights",
        None,
        "the base model, a converted or official VGGT: a file, a folder, hf:OWNER/NAME, or nano, the small one that is "
        "shipped; by default nano, or for vggt_1b hf:facebook/VGGT-1B",
    )
    flags.DEFINE_string("store", "runs", "folder of data sets and adapters, shared by commands")
