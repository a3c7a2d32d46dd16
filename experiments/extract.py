"""The subspace of one attribute: data sets in which it varies, a LoRA adapter on each, and what the adapters share.

``python -m experiments.extract --attribute=geometry`` renders k data sets, trains k adapters of the base model at once,
mines their shared subspace in every adapted matrix (IRLS, Eq. 1–3 of the paper) and writes ``subspace.safetensors``, the
adapters, ``metrics.jsonl``, ``summary.json``, figures and ``report.html``. With ``--adapters=A,B,…`` it takes finished
adapters instead, this project's or PEFT's, of any model. ``--init=shared`` and ``--targets=shuffled`` make controls for
``experiments.analyze``: what remains under them is not the attribute's.

Interrupted, it goes on where it stopped; a changed setting redoes only what depends on it, and other commands find the same
data sets and adapters again (``--store``).
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from absl import flags

from experiments.extraction.choice import ATTRIBUTES, Choice, choose, define_flags
from experiments.extraction.targets import Targets
from experiments.process.compilation_cache import keep_compiled
from weights_convert.command_line import run

if TYPE_CHECKING:
    from experiments.extraction.source import Source


def extract(choice: Choice, output: Path) -> None:
    """Run the command.

    Raises ValueError and OSError for everything that is wrong with settings, data, weights, adapters or the disk.
    """
    from experiments.extraction.results import OUTPUTS, write_results
    from experiments.mining.dimensions import check_dim
    from experiments.mining.mine import mine, stack_adapters
    from experiments.mining.origin import Origin
    from experiments.mining.report import print_table, verdict
    from experiments.mining.summary import rows
    from experiments.storage.output_folder import check_free
    from subspace.shared import EPSILON, MAX_ITERATIONS, TOLERANCE, check_options

    check_free(output, True, OUTPUTS)
    check_options(choice.alpha, EPSILON, MAX_ITERATIONS, TOLERANCE)
    if not choice.adapters:  # before hours of rendering and training; finished ones show it when they are read
        check_dim(choice.preset.extraction.dim, choice.k, choice.preset.training.rank)
    start = time.perf_counter()
    source = _find_adapters(choice)
    stacks = stack_adapters(source.deltas)
    matrices = sum(stack.A[0, ..., 0, 0].size for stack in stacks.values())
    _say(f"mining {matrices} matrices of {len(source.deltas)} adapters")
    mined = mine(stacks, choice.preset.extraction.dim, exponent=choice.alpha)
    summaries = rows(mined)
    origin = Origin(
        choice.attribute,
        source.base,
        source.fingerprint,
        choice.preset.extraction.dim,
        choice.alpha,
        tuple(source.deltas),
        None if choice.adapters else choice.init,
        None if choice.adapters else choice.targets,
    )
    facts = {
        **choice.settings,
        **source.folders,
        "base model": origin.base_label,
        "k": str(len(source.deltas)),
        "seconds": f"{time.perf_counter() - start:.0f}",
    }
    write_results(output, source, mined, summaries, origin, facts)
    print(print_table(summaries))
    if source.learned is not None:
        print(source.learned)
    print(verdict(summaries))
    print(f"wrote {output} in {time.perf_counter() - start:.0f} s; open {output}/report.html")


def extract_missing(choices: Sequence[Choice]) -> list[Path]:
    """Run the command for every choice whose default folder does not hold its results yet.

    Args:
        choices: of adapters to train, all on one base model.

    Returns:
        The folders, in the same order.

    Raises:
        ValueError, OSError: as :func:`extract`.
    """
    from experiments.extraction.results import holds_results
    from experiments.models import load_base

    assert choices[0].weights is not None
    base = load_base(choices[0].weights, choices[0].preset.rendering.resolution, choices[0].preset.training).label
    outputs = [Path(os.path.abspath(choice.default_output)) for choice in choices]
    for number, (choice, output) in enumerate(zip(choices, outputs, strict=True), start=1):
        if holds_results(output, {**choice.settings, "base model": base}):
            _say(f"{number} of {len(choices)}: found in {output}")
        else:
            _say(f"{number} of {len(choices)}: extracting {output}")
            extract(choice, output)
    return outputs


def _find_adapters(choice: Choice) -> Source:
    if choice.adapters:
        from experiments.extraction.imported import import_adapters

        return import_adapters(choice)
    from experiments.extraction.trained import train_adapters

    return train_adapters(choice, _say)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main(_: Sequence[str]) -> None:
    given = flags.FLAGS.flag_values_dict()
    choice = choose(**{name: given[name] for name in signature(choose).parameters})
    keep_compiled()
    extract(choice, Path(os.path.abspath(given["output"] or choice.default_output)))


if __name__ == "__main__":
    flags.DEFINE_enum("attribute", "geometry", list(ATTRIBUTES), "what varies within the data sets")
    define_flags()
    flags.DEFINE_integer("k", None, "data sets and adapters (nano 5, vggt_1b 5 or 10)", lower_bound=2)
    flags.DEFINE_integer("rank", None, "r of the adapters (nano 8, vggt_1b 16)", lower_bound=1)
    flags.DEFINE_integer("dim", None, "d' of the shared subspace, at most k·r (nano 8, vggt_1b 16)", lower_bound=1)
    flags.DEFINE_integer("steps", None, "training steps of each adapter (nano 100, vggt_1b 24,000)", lower_bound=1)
    flags.DEFINE_float("alpha", 1.0, "exponent of Eq. 1 in (0, 2]: 1 is robust to outliers, 2 is the plain mean")
    flags.DEFINE_enum(
        "init",
        "independent",
        ["independent", "shared"],
        "the adapters' random input factors: drawn for each, or one draw for all, which by itself makes them share one side",
    )
    flags.DEFINE_enum(
        "targets",
        "true",
        list(get_args(Targets)),
        "what adapters are trained towards: the truth of the scene in the images, or, as a control, that of a scene of "
        "another data set",
    )
    flags.DEFINE_list("adapters", None, "finished adapters instead of training: files, or PEFT folders, with commas")
    flags.DEFINE_integer("seed", 0, "of data, factors and batches", lower_bound=0)
    flags.DEFINE_string("output", None, "folder of the results; by default below the store, replaced if it is there")
    flags.DEFINE_integer("workers", None, "Blender processes; by default one for each core", lower_bound=1)
    flags.DEFINE_string("blender", None, "an installed Blender, or a Python with bpy; by default uv makes one")
    run(main)
