"""The analysis from end to end: every topic of the report, in order."""

from __future__ import annotations

from collections.abc import Callable

from experiments.analysis.angle_topic import angle_topic
from experiments.analysis.angles import measure_angles
from experiments.analysis.basis import measure_basis
from experiments.analysis.basis_topic import basis_topic
from experiments.analysis.controls import Controls, measure_controls
from experiments.analysis.controls_topic import controls_topic
from experiments.analysis.empirical import compare_empirically
from experiments.analysis.empirical_topic import empirical_topic
from experiments.analysis.magnitude_topic import magnitude_topic
from experiments.analysis.magnitudes import measure_magnitudes
from experiments.analysis.specificity import measure_specificity
from experiments.analysis.specificity_topic import specificity_topic
from experiments.analysis.spectra import measure_spectra
from experiments.analysis.spectra_topic import spectra_topic
from experiments.analysis.topic import Topic
from experiments.analysis.verdict import headline, verdict_topic
from experiments.mining.folder import Inputs, MinedAttribute
from experiments.reports.drawings import Drawings


def make_topics(
    inputs: Inputs, controls: Controls, seed: int, drawings: Drawings, say: Callable[[str], None]
) -> tuple[list[Topic], str, dict[str, str]]:
    """The report's sections, its headline, and where everything comes from.

    Args:
        inputs: the attributes under study.
        controls: condition → attribute → what was mined under it; may be empty.
        seed: of the random subspaces, halves and labels.
        drawings: gets the figures as soon as they are known.
        say: gets a line when something long begins.
    """
    topics: list[Topic] = []

    def add(topic: Topic) -> None:
        topics.append(topic)
        drawings.add({name: figure for name, (figure, _) in topic.figures.items()})

    say("spectra and magnitudes")
    add(spectra_topic(measure_spectra(inputs), inputs))
    add(magnitude_topic(measure_magnitudes(inputs)))
    say(f"angles between {len(inputs.names)} attributes")
    angles = measure_angles(inputs, seed)
    add(angle_topic(angles))
    comparison = specificity = control_numbers = None
    if inputs.has_adapters:
        comparison = compare_empirically(inputs, angles, seed, say)
        add(empirical_topic(comparison))
        specificity = measure_specificity(inputs, say)
        add(specificity_topic(specificity))
    if controls:
        say(f"{sum(map(len, controls.values()))} controls")
        control_numbers = measure_controls(inputs, controls, angles)
        add(controls_topic(control_numbers))
    say("the union as a basis")
    add(basis_topic(measure_basis(inputs)))
    found = (angles, comparison, specificity, control_numbers)
    facts = {
        "base model": inputs.first.origin.base_label,
        **{f"subspace of {name}": _origin(mined) for name, mined in inputs.attributes.items()},
        **{
            f"control: {name}, {condition}": _origin(mined)
            for condition, own in controls.items()
            for name, mined in own.items()
        },
    }
    return [verdict_topic(*found), *topics], headline(*found), facts


def _origin(mined: MinedAttribute) -> str:
    origin = mined.origin
    conditions = {"input factors drawn": origin.init, "targets": origin.targets}
    named = [f"{name}: {value}" for name, value in conditions.items() if value is not None]
    numbers = [f"k = {len(origin.adapters)}", f"d' = {origin.dim}", f"α = {origin.exponent:g}"]
    return f"{mined.folder}: {', '.join([*numbers, *named])}"
