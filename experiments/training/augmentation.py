"""Colours that vary between views, as in VGGT's training (VGGT, Sec. 3.4; probabilities of its published training code)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Float
from matplotlib.colors import hsv_to_rgb, rgb_to_hsv
from scipy.ndimage import gaussian_filter

from subspace.errors import InputError

Image = Float[np.ndarray, "h w 3"]
Change = Callable[[Image], Image]

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class ColorAugmentation:
    """Random colour jitter, grey images and blur, the same for all views of a sequence or for each view its own.

    Brightness, contrast, saturation and hue are changed in random order. A blur's standard deviation is 0.1 to 1 pixel.
    """

    brightness: float = 0.5
    """Brightness is multiplied by a factor from 1 ± this."""
    contrast: float = 0.5
    """Contrast is multiplied by a factor from 1 ± this."""
    saturation: float = 0.5
    """Saturation is multiplied by a factor from 1 ± this."""
    hue: float = 0.1
    """The hue is turned by a part of the circle from ± this."""
    jitter: float = 0.9
    """Probability of a change of brightness, contrast, saturation and hue."""
    gray: float = 0.05
    """Probability of a grey image."""
    blur: float = 0.0
    """Probability of a blur."""
    shared: float = 0.3
    """Probability of one draw for the whole sequence."""

    def __post_init__(self) -> None:
        for name in ("brightness", "contrast", "saturation", "jitter", "gray", "blur", "shared"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} must lie in [0, 1], got {getattr(self, name)}")
        if not 0 <= self.hue <= 0.5:
            raise InputError(f"hue must lie in [0, 0.5], got {self.hue}")

    def __call__(self, images: Float[np.ndarray, "s h w 3"], rng: np.random.Generator) -> Float[np.ndarray, "s h w 3"]:
        """The views with other colours, in [0, 1]; float32."""
        if rng.uniform() < self.shared:
            changes = [self._draw(rng)] * len(images)
        else:
            changes = [self._draw(rng) for _ in images]
        changed = np.asarray(images, np.float32).copy()
        for image, sequence in zip(changed, changes, strict=True):
            for change in sequence:
                image[:] = np.clip(change(image), 0, 1)
        return changed

    def _draw(self, rng: np.random.Generator) -> list[Change]:
        changes: list[Change] = []
        if rng.uniform() < self.jitter:
            factors: dict[Callable[[float, Image], Image], float] = {
                change: rng.uniform(1 - spread, 1 + spread)
                for change, spread in (
                    (brightened, self.brightness),
                    (contrasted, self.contrast),
                    (saturated, self.saturation),
                )
            }
            factors[hue_turned] = rng.uniform(-self.hue, self.hue)
            jitter = [partial(change, factor) for change, factor in factors.items()]
            changes += [jitter[i] for i in rng.permutation(len(jitter))]
        if rng.uniform() < self.gray:
            changes.append(partial(saturated, 0.0))
        if rng.uniform() < self.blur:
            changes.append(partial(blurred, rng.uniform(0.1, 1)))
        return changes


def brightened(factor: float, image: Image) -> Image:
    """All values multiplied."""
    return factor * image


def contrasted(factor: float, image: Image) -> Image:
    """Differences from the mean luma multiplied."""
    mean = (image @ _LUMA).mean()
    return mean + factor * (image - mean)


def saturated(factor: float, image: Image) -> Image:
    """Differences from each pixel's luma multiplied; 0 makes the image grey."""
    luma = (image @ _LUMA)[..., None]
    return luma + factor * (image - luma)


def hue_turned(factor: float, image: Image) -> Image:
    """Hues turned by ``factor`` of the colour circle."""
    hsv = rgb_to_hsv(image)
    hsv[..., 0] = (hsv[..., 0] + factor) % 1
    return hsv_to_rgb(hsv)


def blurred(sigma: float, image: Image) -> Image:
    """A Gaussian blur of ``sigma`` pixels, mirrored at the edges."""
    return gaussian_filter(image, (sigma, sigma, 0), mode="mirror", radius=(2, 2, 0))
