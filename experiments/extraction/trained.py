"""The stages up to the adapters: base model, data sets, training."""

from __future__ import annotations

from collections.abc import Callable

from experiments.extraction.adapters import make_adapters, stacked_deltas
from experiments.extraction.choice import Choice
from experiments.extraction.data import make_data
from experiments.extraction.report import data_section, learned, training_section
from experiments.extraction.source import Source
from experiments.models import load_base


def train_adapters(choice: Choice, say: Callable[[str], None]) -> Source:
    """Render and train what is missing in the store.

    Args:
        choice: what is asked for, with ``weights``.
        say: gets a line when something long begins.

    Raises:
        ValueError: unusable weights, data sets that cannot be rendered, training that diverged, or a damaged folder.
        OSError: something that cannot be read or written.
    """
    assert choice.weights is not None
    say(f"base model: {choice.weights}")
    base = load_base(choice.weights, choice.preset.rendering.resolution, choice.preset.training)
    say(f"data: {choice.k} data sets in which the {choice.attribute} varies")
    data = make_data(
        choice.store,
        choice.attribute,
        choice.setting,
        choice.preset,
        choice.k,
        choice.seed,
        choice.workers,
        choice.blender,
    )
    trained = make_adapters(
        choice.store, base, data, choice.preset.training, choice.init, choice.targets, choice.seed, say
    )
    deltas = stacked_deltas(trained.adapters)
    return Source(
        deltas,
        base.identity.name,
        base.identity.fingerprint,
        f"The {choice.attribute} subspace of {base.identity.name}"
        + (", shuffled targets" if choice.targets == "shuffled" else ""),
        {
            "data sets": str(data.folder),
            "trained adapters": str(trained.folder),
        },
        [data_section(data), training_section(trained)],
        {name: trained.folder / f"{name}.safetensors" for name in deltas},
        trained.folder / "metrics.jsonl",
        learned(trained),
    )
