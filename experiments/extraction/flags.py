"""Flags that ``experiments.extract`` shares with commands that extract what they lack."""

from __future__ import annotations

from typing import get_args

from absl import flags

from experiments.presets import PRESETS
from experiments.process.command_line import DEFINE_path_or_name
from experiments.scenes.schema import Setting
from experiments.storage.store_flags import DEFINE_store

flags.disclaim_key_flags()  # they are those of the command that calls define_flags, whose --help shows them


def define_flags() -> None:
    """Define ``--setting``, ``--preset``, ``--weights`` and ``--store``."""
    flags.DEFINE_enum(
        "setting",
        "object_centric",
        list(get_args(Setting)),
        "cameras around objects, or in a room: hardly moving, or about",
    )
    flags.DEFINE_enum("preset", "nano", list(PRESETS), "nano: minutes on a CPU; vggt_1b: the paper's numbers")
    DEFINE_path_or_name(
        "weights",
        None,
        "the base model, a converted or official VGGT: a file, a folder, hf:OWNER/NAME, or nano_2 or nano, the small ones "
        "that are shipped; by default nano_2, or for vggt_1b hf:facebook/VGGT-1B",
    )
    DEFINE_store("folder of data sets and adapters, shared by commands")
