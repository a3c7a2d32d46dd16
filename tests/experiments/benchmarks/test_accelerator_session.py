"""``benchmark accelerator``: parts that fail or come too late cost nothing that was found; parity with the stored reference."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.accelerators.hlo import Hlo
from experiments.accelerators.kernels import kernels
from experiments.benchmarks import accelerator_session as session
from experiments.storage.files import read_json


def test_what_was_found_is_kept_whatever_fails(monkeypatch, tmp_path):
    def found(running, small):
        running.keep(found=1)
        yield "  found"

    def broken(running, small):
        raise RuntimeError("no\nluck")
        yield

    for name, part in (("_ceilings", found), ("_parity", broken), ("_steps", found), ("_without_autotuning", broken)):
        monkeypatch.setattr(session, name, part)
    monkeypatch.setattr(session, "_input", lambda *_: iter(()))
    monkeypatch.setattr(session, "_training", lambda *_: iter(()))
    file = tmp_path / "record.jsonl"
    said = list(session.report(100.0, file))
    assert said.count("  found") == 2 and said.count("  failed: RuntimeError: no") == 2
    records = [json.loads(line) for line in file.read_text().splitlines()]
    assert [record.get("found") for record in records] == [None, 1, None, 1, None]

    said = list(session.report(5.0, file))
    assert said[-2] == "no time left for found and what comes after"


def test_parts_of_a_program(monkeypatch):
    n = 64

    def function(x):
        with jax.named_scope("mlp"):
            return jnp.sin(x @ x)

    x = jnp.ones((n, n))
    compiled = jax.jit(function).lower(x).compile()
    found = tuple(kernels(Hlo.parse(compiled.as_text() or "")))
    running = session._Running(lambda: compiled(x), compiled, found, 1.0, 0)
    seconds = session.parts(running)
    assert seconds["mlp products", "forward"] > 0 and {direction for _, direction in seconds} == {"forward"}


@pytest.mark.slow
def test_this_cpu_agrees_with_the_reference():
    reference = read_json(session.REFERENCE)
    value, sums = session.small_gradient("float32")
    np.testing.assert_allclose(value, reference["loss"], rtol=1e-5)
    known = np.array(reference["sums"])
    assert np.linalg.norm(sums - known) < 1e-4 * np.linalg.norm(known)
