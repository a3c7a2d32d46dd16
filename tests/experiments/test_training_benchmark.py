"""``benchmark training``: cases that take turns."""

from experiments.benchmarks import training
from experiments.benchmarks.training import Case, alternate

AT_ONCE, ALONE = Case((2, 1, 2, 16, None)), Case((1, 1, 2, 16, None))


def test_cases_take_turns_and_the_median_counts(monkeypatch):
    taken = []

    def prepare(adapter, case):
        return lambda: taken.append(case)

    def once(step):
        step()
        return {AT_ONCE: 10.0, ALONE: 3.0}[taken[-1]] + (
            100.0 if len(taken) == 3 else 0.0
        )  # a hiccup in the first round

    monkeypatch.setattr(training, "_prepare", prepare)
    monkeypatch.setattr(training.AdapterStep, "of", lambda *_, **__: None)
    monkeypatch.setattr(training.machine, "once", once)
    found = alternate(None, lambda _: None, {AT_ONCE: 1, ALONE: 2}, rounds=3)
    assert taken == [AT_ONCE, ALONE] + 3 * [AT_ONCE, ALONE, ALONE]  # once each to compile
    assert found == [10.0, 6.0]


def test_the_table_says_how_many_times_as_fast(monkeypatch, capsys):
    def answers(function, *arguments):
        if function is alternate:
            assert list(arguments[2].values()) == [1, 1, training.K]
            return [2.0, 5.0, 3.0]
        return training.Measured(1.0, 2.0, 8e9, 40.0, 2**30)

    monkeypatch.setattr(training.machine, "in_own_process", answers)
    training.report()
    said = capsys.readouterr().out
    assert "at once is 1.50 times as fast as one after the other, 2.50 times as fast as one program" in said
    assert "5 adapters at once, tokens cached" in said and "10%" in said
