"""The file beside a model's weights that finds its tokens in other views."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from subspace.errors import InputError
from vggt_jax.matching import Matcher
from vggt_jax.reading.safetensors_file import SafetensorsFile, write_safetensors
from weights_convert.sources import open_source

MATCHER = "matcher.safetensors"
_LAYER = "layer"


def save_matcher(path: Path, matcher: Matcher) -> None:
    """Writes ``matcher`` as float32; raises OSError if that fails."""
    arrays = {"kernel": np.asarray(matcher.kernel), "log_temperature": np.asarray(matcher.log_temperature)}
    write_safetensors(path, arrays, {_LAYER: str(matcher.layer)})


def load_matcher(source: str | PathLike[str]) -> Matcher:
    """The matcher beside the weights at ``source``, anything that :func:`weights_convert.load_vggt` takes.

    Raises:
        InputError: there is none, or its file is damaged.
        OSError: a file that cannot be read or fetched.
    """
    path = open_source(source).path.parent / MATCHER
    if not path.is_file():
        raise InputError(f"{source}: has no {MATCHER} beside its weights; models of experiments.pretrain have")
    file = SafetensorsFile(path)
    try:
        arrays = {name: jnp.asarray(file.read(name), jnp.float32) for name in file.tensors}
        return Matcher.from_arrays(arrays, int(file.metadata.get(_LAYER, "none")))
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
