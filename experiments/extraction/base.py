"""The base model of an extraction, and how the steps are laid out for the accelerator that is here."""

from __future__ import annotations

from dataclasses import replace

import jax

from experiments.accelerators.present import laid_out_for
from experiments.accelerators.wording import laid_out
from experiments.extraction.settings import Settings
from experiments.models import Base, load_base
from experiments.process.reporting import SILENT, Reporter
from subspace.errors import InputError
from weights_convert import read_config


def weights_of(settings: Settings) -> str:
    """The base model; raises InputError if none is named."""
    if settings.weights is None:
        raise InputError("weights of the base model are needed to train adapters", argument="weights")
    return settings.weights


def with_base(settings: Settings, reporter: Reporter = SILENT) -> tuple[Settings, Base]:
    """The settings with a plan for the memory that is there, and the base model for it."""
    weights = weights_of(settings)
    plan = laid_out_for(
        jax.local_devices()[0],
        settings.plan,
        width=read_config(weights).width,
        pixels=settings.training.images * settings.resolution**2,
        views=settings.training.most_views,
    )
    if plan != settings.plan:
        reporter.info(f"laid out for the memory that is there: {laid_out(plan)}")
    training = settings.training if plan.remat is None else replace(settings.training, remat=plan.remat)
    base = load_base(weights, settings.resolution, training, for_products=True, **plan.of_model)
    return replace(settings, plan=plan), base
