"""The base model of a PEFT folder of this project: PEFT records a path or a name at most, by which two models do not differ."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path

from vggt_jax.adapters.file import BaseModel, check_belongs
from vggt_jax.reading.safetensors_file import SafetensorsFile

WEIGHTS = "adapter_model.safetensors"
_NAME, _FINGERPRINT = "attribute_subspaces.base", "attribute_subspaces.base_fingerprint"


def metadata_of(base: BaseModel | None) -> Mapping[str, str]:
    """What the file says of its base model, in metadata that PEFT does not read."""
    return {} if base is None else {_NAME: base.name, _FINGERPRINT: base.fingerprint}


def recorded_base(folder: str | PathLike[str]) -> tuple[str, str] | None:
    """Name and fingerprint of the base model, where :func:`weights_convert.write_peft` recorded them; else None.

    Raises InputError and OSError for a file that is damaged or missing.
    """
    found = SafetensorsFile(Path(folder) / WEIGHTS).metadata
    return (found[_NAME], found[_FINGERPRINT]) if {_NAME, _FINGERPRINT} <= found.keys() else None


def check_base(folder: str | PathLike[str], base: BaseModel) -> None:
    """Raises InputError if a PEFT folder says that it belongs to another model than ``base``, and as :func:`recorded_base`."""
    if (found := recorded_base(folder)) is not None:
        check_belongs(Path(folder), *found, base)
