"""From settings to a folder of results: read data and model, fine-tune, write."""

from __future__ import annotations

from dataclasses import replace

import jax

from experiments.accelerators.present import laid_out_for
from experiments.accelerators.wording import laid_out
from experiments.cluster.elsewhere import Elsewhere
from experiments.finetuning.data import read_data
from experiments.finetuning.files import MODEL, OUTPUTS
from experiments.finetuning.results import write_results
from experiments.finetuning.run import FineTuned, tune
from experiments.finetuning.settings import Settings, depends_on, known
from experiments.models import read_base
from experiments.process.hosts import is_first, wait_for_all
from experiments.process.memory import check_training_fits, free_memory
from experiments.process.reporting import SILENT, Reporter
from experiments.storage.results import Ready, ResultsFolder, check_output
from weights_convert import read_config


def finetune(settings: Settings, reporter: Reporter = SILENT) -> FineTuned:
    """Fine-tune a model and write the results into one folder.

    Interrupted and called again with the same settings, it goes on where it stopped; finished work is found, not repeated,
    and a folder of the same results stays as it is.

    Args:
        settings: what is asked for.
        reporter: gets a line when something long begins.

    Raises:
        InputError: everything that is wrong with settings, data, weights or subspaces, training that diverged, or a
            folder of other results where these should go.
        OSError: a file that cannot be read or written.
    """
    return work_of(settings, reporter).run()


def work_of(settings: Settings, reporter: Reporter = SILENT) -> Ready[FineTuned] | Elsewhere[FineTuned]:
    """What :func:`finetune` is about to do, here or on the cluster that is asked for. Arguments and errors are the same."""
    if settings.executor is not None:
        there = replace(settings, executor=None)
        return Elsewhere(settings.executor, ready, there, f"fine-tuning ({settings.method.name})", reporter)
    return ready(settings, reporter)


def ready(settings: Settings, reporter: Reporter = SILENT) -> Ready[FineTuned]:
    """What :func:`finetune` is about to do on this machine. Arguments and errors are the same."""
    data = read_data(settings.data, settings.held_out, settings.validation)
    check_output(settings, known(settings, data), OUTPUTS)
    plan = settings.plan
    if settings.method.result != MODEL:
        plan = laid_out_for(
            jax.local_devices()[0],
            plan,
            width=read_config(settings.weights).width,
            pixels=settings.images * data.resolution**2,
            views=settings.most_views,
        )
    if plan != settings.plan:
        reporter.info(f"laid out for the memory that is there: {laid_out(plan)}")
    settings = replace(settings, plan=plan)
    remat = settings.remat if plan.remat is None else plan.remat
    layout = plan.of_model
    only_products = not settings.method.reads_weights
    base = read_base(
        settings.weights, settings.dtype, remat, head_dtype=settings.head_dtype, for_products=only_products, **layout
    )
    identity = depends_on(settings, base, data)
    method = settings.method
    check_training_fits(method.count(base.config).total, free_memory(jax.local_devices()[0]), method.size or "matrices")
    results = ResultsFolder.of(settings, "finetune", settings.method.name, identity, OUTPUTS)
    results.check()

    def work() -> FineTuned:
        reporter.info(f"base model: {settings.weights}; {len(data.training)} scenes")
        tuned = tune(settings, base, data, reporter)
        if is_first():
            with results.new() as new:
                write_results(new, settings, identity, tuned, data)
        wait_for_all("results")
        return replace(tuned, output=results.path)

    return Ready(results, work, reporter)
