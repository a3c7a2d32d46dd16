"""Controls: further runs of the attributes under study, under other conditions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from experiments.mining.folder import Inputs, MinedAttribute, check_comparable, read_folder
from experiments.mining.origin import Init, Targets, Updates
from subspace.errors import InputError


@dataclass(frozen=True)
class Condition:
    """How adapters were trained, apart from their attribute."""

    init: Init | None
    """How the input factors were drawn; None if the folder does not say."""
    targets: Targets
    """What the adapters were trained towards."""
    again: bool = False
    """Another run under the condition of the run under study: another seed, say."""
    updates: Updates = "lora"
    """What made the updates."""

    def __str__(self) -> str:
        """For people."""
        made = f"{self.init or 'unknown'} initialisation" if self.updates == "lora" else _MADE[self.updates]
        return f"{made}, {self.targets} targets{', another run' * self.again}"


_MADE: Mapping[Updates, str] = {
    "second_pass": "second pass between mined outputs",
    "full": "full fine-tuning",
    "gradient": "mean gradients",
}


Controls = dict[Condition, dict[str, MinedAttribute]]
"""Condition → attribute → folder."""


def condition_of(mined: MinedAttribute) -> Condition:
    """How the input factors were drawn, and what the adapters were trained towards."""
    return Condition(mined.origin.init, mined.origin.targets or "true", updates=mined.origin.updates)


def read_controls(folders: Sequence[Path], inputs: Inputs) -> Controls:
    """Read further outputs of ``experiments.extract``.

    Raises:
      InputError: an attribute that is not under study, another base model, other matrices or sizes, one attribute twice
        under one condition, a folder that is under study itself, or what :func:`read_folder` refuses.
      OSError: a file that cannot be read.
    """
    found: Controls = {}
    for folder in folders:
        mined = read_folder(folder)
        main = inputs.attributes.get(mined.attribute)
        if main is None:
            raise InputError(
                f"{folder} holds the attribute {mined.attribute}, under study are {', '.join(inputs.names)}",
                argument="controls",
            )
        if folder.resolve() == main.folder.resolve():
            raise InputError(f"{folder} is under study itself and cannot be its own control", argument="controls")
        check_comparable(main, mined)
        condition = condition_of(mined)
        condition = replace(condition, again=condition == condition_of(main))
        own = found.setdefault(condition, {})
        if mined.attribute in own:
            raise InputError(
                f"{own[mined.attribute].folder} and {folder} are both {mined.attribute} with {condition}",
                argument="controls",
            )
        own[mined.attribute] = mined
    return found
