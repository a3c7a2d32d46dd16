"""From settings to a folder of results: read data and model, fine-tune, write."""

from __future__ import annotations

from dataclasses import replace

from experiments.finetuning.data import read_data
from experiments.finetuning.results import OUTPUTS, write_results
from experiments.finetuning.run import FineTuned, tune
from experiments.finetuning.settings import Settings, depends_on
from experiments.models import read_base
from experiments.process.reporting import SILENT, Reporter
from experiments.storage.results import check_replaceable, new_results, results_folder


def finetune(settings: Settings, reporter: Reporter = SILENT) -> FineTuned:
    """Fine-tune a model and write the results into one folder.

    Interrupted and called again with the same settings, it goes on where it stopped; finished work is found, not repeated.

    Args:
        settings: what is asked for.
        reporter: gets a line when something long begins.

    Raises:
        InputError: everything that is wrong with settings, data, weights or subspaces, training that diverged, or a
            folder of other results where these should go.
        OSError: a file that cannot be read or written.
    """
    data = read_data(settings.data, settings.held_out)
    reporter.info(f"base model: {settings.weights}; {len(data.training)} scenes")
    base = read_base(settings.weights, settings.dtype, settings.remat)
    identity, label = depends_on(settings, base, data), settings.method.name
    folder = results_folder(settings.store, "finetune", label, identity) if settings.output is None else settings.output
    check_replaceable(folder, identity, ours=OUTPUTS, overwrite=settings.overwrite)
    tuned = tune(settings, base, data, reporter)
    with new_results(folder, identity, label=label, ours=OUTPUTS, overwrite=settings.overwrite) as new:
        write_results(new, settings, identity, tuned, data)
    return replace(tuned, output=folder)
