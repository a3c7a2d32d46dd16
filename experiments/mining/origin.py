"""Where a subspace comes from: the attribute, the base model, and how its adapters were trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Init = Literal["independent", "shared"]
"""How the adapters' random input factors are drawn: each for itself, or one draw for all of them."""
Targets = Literal["true", "shuffled"]
"""What adapters are trained towards: the truth of the scene in the images, or, as a control, that of another scene."""

Updates = Literal["lora", "second_pass", "full", "gradient"]
"""What the k updates of each matrix are: trained LoRAs, their inputs trained between mined outputs, what full fine-tuning
changed, or a step along the mean gradient of the base model."""

NOT_RECORDED = "not recorded"
"""Name of a base model that is not known."""


@dataclass(frozen=True)
class Origin:
    """What a subspace was mined from."""

    attribute: str
    """The attribute that varies in the data of the adapters; "unknown" for adapters that were made elsewhere."""
    base: str
    """Name of the base model, for people; :data:`NOT_RECORDED` where it is not known."""
    fingerprint: str | None
    """What tells base models apart (:func:`vggt_jax.adapters.fingerprint`); None where it was not recorded."""
    dim: int
    """d' of the subspace; small matrices have fewer directions."""
    exponent: float
    """The exponent of Eq. 1."""
    adapters: tuple[str, ...]
    """Names of the k adapters, in the order of the weights."""
    init: Init | None = None
    """How the adapters' input factors were drawn; None where that is not known, or nothing is drawn."""
    targets: Targets | None = None
    """What the adapters were trained towards; None where that is not known."""
    updates: Updates = "lora"
    """What made the adapters' updates."""

    @property
    def base_label(self) -> str:
        """Name and fingerprint of the base model, for people."""
        return self.base if self.fingerprint is None else f"{self.base} ({self.fingerprint})"

    def has_base_of(self, other: Origin) -> bool:
        """Whether both were mined from adapters of one base model, as far as that is known.

        Where a fingerprint is missing, names decide; two that are not recorded may be one.
        """
        if self.fingerprint is None or other.fingerprint is None:
            return self.base_label == other.base_label
        return self.fingerprint == other.fingerprint
