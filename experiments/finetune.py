"""Fine-tune a VGGT: the whole of it, an adapter of several kinds, or an M inside the subspaces of attributes.

``python -m experiments.finetune --method=subspace --subspaces=runs/extract/texture…,… --data=DATASET,…``
trains dW = Ā M B̄ᵀ on data sets of ``experiments.generate`` and writes ``adapter.safetensors`` (``--method=full``: a folder
``model``), ``metrics.jsonl`` and ``summary.json`` with the losses on held-out scenes before and after. All methods see the
same batches under the same schedule; they differ in what is trained, whose exact number is printed. Adapters merge, go on
training and become PEFT's as any other (``python -m weights_convert --to=peft``).

Interrupted, it goes on where it stopped; asked for the same thing again, it finds what it did (``--store``).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from experiments.cluster.flags import DEFINE_executor, executor_of
from experiments.finetuning.method import Method, Option
from experiments.finetuning.methods import METHODS
from experiments.process.command_line import (
    DEFINE_path,
    DEFINE_path_or_name,
    InputError,
    run,
    run_if_new,
)
from experiments.process.host_flags import join_processes
from experiments.process.hosts import first_console
from experiments.storage.store_flags import DEFINE_store, DEFINE_stored
from experiments.training.log_flag import DEFINE_log
from experiments.training.plan_flags import DEFINE_head_dtype, DEFINE_step, plan_of


def _options() -> dict[str, dict[str, Option]]:
    """Flag → method → what the flag means for it."""
    found: dict[str, dict[str, Option]] = {}
    for name, method in METHODS.items():
        for flag, option in method.options.items():
            found.setdefault(flag, {})[name] = option
    return found


def _define(flag: str, by_method: dict[str, Option], values: flags.FlagValues) -> None:
    """A flag whose help says which methods have it, unless all have it in one meaning."""
    meanings: dict[str, list[str]] = {}
    for method, option in by_method.items():
        meanings.setdefault(option.help, []).append(method)
    if len(meanings) == 1 and len(by_method) == len(METHODS):
        (text,) = meanings
    else:
        text = "; ".join(f"{', '.join(methods)}: {meaning}" for meaning, methods in meanings.items())
    option = next(iter(by_method.values()))
    match option.kind:
        case "integer":
            flags.DEFINE_integer(flag, None, text, lower_bound=1, flag_values=values)
        case "names":
            flags.DEFINE_list(flag, None, text, flag_values=values)
        case "paths":
            DEFINE_stored(flag, None, text, values)
        case "choice":
            flags.DEFINE_enum(flag, None, list(option.choices), text, flag_values=values)


def define_flags(values: flags.FlagValues = flags.FLAGS) -> None:
    """The flags of this command."""
    from experiments.presets import PRESETS

    flags.DEFINE_enum(
        "method",
        "subspace",
        list(METHODS),
        "what is trained: " + "; ".join(f"{name}: {method.summary}" for name, method in METHODS.items()),
        flag_values=values,
    )
    DEFINE_stored("data", [], "folders of data sets of experiments.generate, with commas", flag_values=values)
    DEFINE_stored(
        "validation",
        [],
        "data sets to validate on in place of the last scenes of --data, with commas",
        flag_values=values,
    )
    for name, by_method in _options().items():
        _define(name, by_method, values)
    flags.DEFINE_enum(
        "preset", "nano", list(PRESETS), "nano: minutes on a CPU; vggt_1b: the paper's numbers", flag_values=values
    )
    DEFINE_path_or_name(
        "weights",
        None,
        "the base model, as for experiments.extract; by default nano_2, or for vggt_1b hf:facebook/VGGT-1B",
        flag_values=values,
    )
    flags.DEFINE_integer("steps", None, "training steps (nano 100, vggt_1b 24,000)", lower_bound=1, flag_values=values)
    flags.DEFINE_float(
        "peak_rate",
        None,
        "learning rate after the warm-up (nano 1e-3, vggt_1b 1e-5)",
        lower_bound=0,
        flag_values=values,
    )
    flags.DEFINE_integer(
        "held_out",
        None,
        "scenes at the end of each data set to validate on (nano 4, vggt_1b 8)",
        lower_bound=0,
        flag_values=values,
    )
    flags.DEFINE_integer("seed", 0, "of what is drawn and of the order of the data", lower_bound=0, flag_values=values)
    DEFINE_step("(adapter is 1 here), the sequences of a step, the base model's large matrices", values)
    DEFINE_head_dtype(values)
    DEFINE_log(values)
    DEFINE_executor(values)
    DEFINE_store("folder of finished and interrupted work, and of results, shared by commands", values)
    DEFINE_path("output", None, "folder of the results; by default STORE/finetune/METHOD-HASH", flag_values=values)
    flags.DEFINE_boolean(
        "overwrite",
        False,
        "make the results again, also in place of results of other settings in the output folder",
        flag_values=values,
    )


def method_of(given: Any) -> Method:
    """The method with the preset's sizes and the flags that were given.

    Raises InputError for flags that the method does not have, and for settings that contradict each other.
    """
    from experiments.presets import PRESETS

    kind = METHODS[given.method]
    options = _options()
    wanted: dict[str, Any] = {name: getattr(given, name) for name in options if getattr(given, name) is not None}
    if others := [name for name in wanted if name not in kind.options]:
        meant = "; ".join(f"--{name} is for {', '.join(options[name])}" for name in others)
        raise InputError(f"--method={kind.name} does not have {', '.join(f'--{name}' for name in others)} ({meant})")
    return kind.of(
        PRESETS[given.preset],
        **{name: tuple(value) if isinstance(value, list) else value for name, value in wanted.items()},
    )


def main(_: Sequence[str]) -> None:
    given = flags.FLAGS
    start = time.perf_counter()
    if not given.data:
        raise InputError("--data: name at least one data set, a folder with a manifest.json")
    method, executor = method_of(given), executor_of()

    if executor is None:  # on a cluster nodes join each other
        join_processes()
    from experiments.process.compilation_cache import keep_compiled

    keep_compiled()
    from experiments.finetuning import Settings
    from experiments.finetuning.files import SUMMARY
    from experiments.finetuning.pipeline import work_of
    from experiments.finetuning.results import verdict
    from experiments.finetuning.run import describe

    optional = ("held_out", "images", "head_dtype")
    changes = {name: getattr(given, name) for name in optional if getattr(given, name) is not None}
    settings = Settings.of(
        given.preset,
        method,
        data=given.data,
        validation=tuple(map(Path, given.validation or ())),
        weights=given.weights,
        steps=given.steps,
        peak_rate=given.peak_rate,
        seed=given.seed,
        log=tuple(given.log or ()),
        plan=plan_of(),
        store=given.store,
        output=None if given.output is None else given.output.absolute(),
        overwrite=given.overwrite,
        executor=executor,
        **changes,
    )
    tuned = run_if_new(work_of(settings, first_console()))
    assert tuned.output is not None
    print(describe(method.label, tuned.parameters))
    print(verdict(tuned))
    print(
        f"wrote {tuned.output / tuned.result.name} in {time.perf_counter() - start:.0f} s; see {tuned.output / SUMMARY}"
    )


if __name__ == "__main__":
    define_flags()
    run(main)
