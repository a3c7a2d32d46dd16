"""The frozen encoder's tokens, computed once per image: kept in memory, then on disk."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections import OrderedDict
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from threading import Lock

import jax
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Float32, UInt8

from experiments.storage.files import write_bytes
from vggt_jax import VGGTConfig
from vggt_jax.disk_space import named_if_full
from vggt_jax.reading.arrays import MOST_BYTES, array_of
from vggt_jax.reading.regular import read_bytes

_CHECK_BYTES = 4
"""At a file's end, where NumPy's readers do not look: the CRC-32 of all before them, little-endian."""


class FeatureCache:
    """Images → tokens by way of the images' SHA-256; safe to call from several threads.

    The least recently used leave the memory beyond ``memory_bytes``; with a ``folder`` all are also written there, in
    NumPy's format under the image's hash (74 kB for an image of the nano preset, 5.6 MB for VGGT-1B at
    518×518), with a check sum, and found again by later runs. A file that is damaged, or has no check sum, as earlier
    versions wrote it, is written anew. The oldest files leave the folder beyond ``disk_bytes``.
    """

    def __init__(
        self,
        encode: Callable[[UInt8[np.ndarray, "n h w 3"]], Float32[np.ndarray, "n p c"]],
        *,
        folder: Path | None = None,
        memory_bytes: int = 1 << 30,
        disk_bytes: int = 10 << 30,
    ):
        self._encode, self._folder, self._capacity = encode, folder, memory_bytes
        self._memory: OrderedDict[str, np.ndarray] = OrderedDict()
        self._bytes = 0
        self._disk_capacity = disk_bytes
        self._files = _by_age(folder)
        self._disk_bytes = sum(self._files.values())
        self._lock = Lock()

    def __call__(self, images: UInt8[np.ndarray, "n h w 3"]) -> Float32[np.ndarray, "n p c"]:
        """Tokens of the images, of which those not seen before are encoded.

        Raises OSError if they cannot be written, naming the folder if the disk is full.
        """
        keys = [hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest() for image in images]
        found = {key: tokens for key in set(keys) if (tokens := self._find(key)) is not None}
        new = {key: i for i, key in enumerate(keys) if key not in found}
        if new:
            for key, tokens in zip(new, self._encode(images[list(new.values())]), strict=True):
                found[key] = tokens
                self._write(key, tokens)
                self._remember(key, tokens)
        return np.stack([found[key] for key in keys])

    def _find(self, key: str) -> np.ndarray | None:
        with self._lock:
            if key in self._memory:
                self._memory.move_to_end(key)
                return self._memory[key]
        if self._folder is None:
            return None
        try:
            tokens = _checked(read_bytes(self._path(key), MOST_BYTES))
        except (FileNotFoundError, ValueError):
            return None
        self._remember(key, tokens)
        return tokens

    def _remember(self, key: str, tokens: np.ndarray) -> None:
        with self._lock:
            if key not in self._memory:
                self._memory[key] = tokens
                self._bytes += tokens.nbytes
            while self._bytes > self._capacity:
                _, oldest = self._memory.popitem(last=False)
                self._bytes -= oldest.nbytes

    def _write(self, key: str, tokens: np.ndarray) -> None:
        if self._folder is None:
            return
        content = BytesIO()
        np.save(content, tokens)  # to a file it would say how much was written, and not why no more was
        content.write(_check_sum(content.getbuffer()))
        path = self._path(key)
        with named_if_full(self._folder):
            write_bytes(path, content.getbuffer())
        self._make_room(path, content.tell())

    def _make_room(self, new: Path, size: int) -> None:
        """Delete the oldest files until all fit together, ``new`` included; other processes may delete them too."""
        with self._lock:
            self._disk_bytes += size - self._files.pop(new, 0)
            self._files[new] = size
            while self._disk_bytes > self._disk_capacity:
                oldest = next(iter(self._files))
                self._disk_bytes -= self._files.pop(oldest)
                oldest.unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        assert self._folder is not None
        return self._folder / key[:2] / f"{key}.npy"


def _checked(content: bytes) -> np.ndarray:
    """The array of a file; raises ValueError for one that is damaged."""
    if _check_sum(memoryview(content)[:-_CHECK_BYTES]) != content[-_CHECK_BYTES:]:
        raise ValueError("it is not what its check sum says")
    return array_of(content)


def _check_sum(content: memoryview) -> bytes:
    return zlib.crc32(content).to_bytes(_CHECK_BYTES, "little")


def _by_age(folder: Path | None) -> dict[Path, int]:
    """File → bytes, the oldest first."""
    found = []
    for path in () if folder is None else folder.glob("*/*.npy"):
        try:
            status = path.stat()
        except FileNotFoundError:  # another process made room
            continue
        found.append((status.st_mtime_ns, path, status.st_size))
    return {path: size for _, path, size in sorted(found)}


def frozen_encoder(
    graphdef: nnx.GraphDef, base: nnx.State, *, chunk: int = 8
) -> Callable[[UInt8[np.ndarray, "n h w 3"]], Float32[np.ndarray, "n p c"]]:
    """The encoder of a VGGT for any number of images of one size, ``chunk`` at a time: compiled once."""

    @jax.jit
    def encode(base: nnx.State, images: Array) -> Array:
        return nnx.merge(graphdef, base).aggregator.encode(images[None])[0].astype(np.float32)

    def in_chunks(images: UInt8[np.ndarray, "n h w 3"]) -> Float32[np.ndarray, "n p c"]:
        tokens = []
        for start in range(0, len(images), chunk):
            part = images[start : start + chunk]
            padded = np.concatenate([part, np.zeros((chunk - len(part), *part.shape[1:]), part.dtype)])
            tokens.append(np.asarray(encode(base, padded.astype(np.float32) / 255))[: len(part)])
        return np.concatenate(tokens)

    return in_chunks


def encoder_hash(config: VGGTConfig, base: nnx.State) -> str:
    """SHA-256 of everything that tokens depend on besides the image: name the cache's folder by it."""
    digest = hashlib.sha256()
    encoder = ("image_size", "patch_size", "width", "encoder", "image_mean", "image_std", "dtype")
    digest.update(json.dumps({name: config.to_dict()[name] for name in encoder}).encode())
    for leaf in jax.tree.leaves(base["aggregator"]["patch_embed"]):
        values: Float[np.ndarray, "..."] = np.asarray(leaf)
        digest.update(repr((values.shape, str(values.dtype))).encode() + values.tobytes())
    return digest.hexdigest()


def token_cache(store: Path, graphdef: nnx.GraphDef, config: VGGTConfig, base: nnx.State) -> FeatureCache:
    """The tokens of a model's encoder, kept below the folder ``store`` for every run with the same encoder."""
    folder = store / "tokens" / encoder_hash(config, base)[:12]
    return FeatureCache(frozen_encoder(graphdef, base), folder=folder)
