"""``experiments.benchmark`` from the outside: what it can measure, and what it refuses."""

import pytest

from tests.experiments.commands import call


@pytest.mark.parametrize("words", [[], ["speed"], ["memory", "model"]])
def test_one_of_its_words_is_asked_for(words):
    found = call("experiments.benchmark", *words)
    assert found.status == 2 and not found.stdout
    assert (
        "one of: subspace, model, memory, accelerator, training, input, finetuning, adapters, analysis, "
        "evaluation, rendering, cluster, first_command" in found.stderr
    )


def test_a_flag_of_another_benchmark_is_refused():
    found = call("experiments.benchmark", "memory", "--noadapters", "--iterations=3")
    assert found.status == 2 and "--iterations, --adapters have no effect on memory" in found.stderr


@pytest.mark.parametrize(
    ("words", "message"), [(["modle"], "did you mean model?"), (["first_command", "--noinstall=3"], "--noinstall=3")]
)
def test_slips_are_one_line(words, message):
    found = call("experiments.benchmark", *words)
    assert found.status == 2 and message in found.stderr and found.stderr.count("\n") == 1


def test_lines_are_printed_as_they_come(monkeypatch):
    from experiments.benchmarks import accelerator_plans

    monkeypatch.setattr(accelerator_plans, "report", lambda chips, write: iter(["one", "two"]))
    assert call("experiments.benchmark", "memory").stdout == "one\ntwo\n"
