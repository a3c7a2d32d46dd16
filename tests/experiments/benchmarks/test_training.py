"""``benchmark training``: functions that take turns, and what the table makes of them."""

from experiments.benchmarks import training
from experiments.benchmarks.training import alternate, median_turns


def test_functions_take_turns_and_the_median_counts():
    taken = []

    def once(function):
        taken.append(function())
        hiccup = 100.0 if len(taken) == 3 else 0.0  # in the first round
        return {"at once": 10.0, "alone": 3.0}[taken[-1]] + hiccup

    found = median_turns([(lambda: "at once", 1), (lambda: "alone", 2)], 3, once)
    assert taken == ["at once", "alone"] + 3 * ["at once", "alone", "alone"]  # once each to compile
    assert found == [10.0, 6.0]


def test_the_table_says_how_many_times_as_fast(monkeypatch):
    def answers(function, *arguments):
        if function is alternate:
            assert list(arguments[2].values()) == [1, 1, training.K]
            return [2.0, 5.0, 3.0]
        if function is training.parts:
            return ["a row of the profile"]
        return training.MeasuredStep(1.0, 2.0, 8e9, 40.0, 2**30)

    monkeypatch.setattr(training.machine, "in_own_process", answers)
    said = "\n".join(training.report())
    assert "at once is 1.50 times as fast as one after the other, 2.50 times as fast as one program" in said
    assert "5 adapters at once, tokens cached" in said and "10%" in said and "a row of the profile" in said
