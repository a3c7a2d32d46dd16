"""The order of jobs, the same search for every method, records that are found again, and what does not belong together."""

import json
import math
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from threading import Event, Lock

import msgspec
import pytest

from experiments.reproduction.data_sheets import DataSheet
from experiments.reproduction.plan import Search, make_plan
from experiments.reproduction.record_folder import RecordFolder
from experiments.reproduction.records import RateSearch, read, read_searches
from experiments.reproduction.results import write_results
from experiments.reproduction.scale import sizes
from experiments.reproduction.schedule import Schedule
from subspace.errors import InputError
from tests.experiments.reproduction import planted
from tests.experiments.reproduction.planted import plan

BEST_RATE = 5e-4


class RunInputs:
    """Of no content; notes what is asked for."""

    def __init__(self):
        self.made = []

    def dataset(self, task, split):
        self.made.append((task, split))
        return Path(task, split)

    def validation(self, task):
        self.made.append((task, "validation"))
        return Path(task, "validation")

    def sheet(self, folder):
        return planted.sheet("ab")

    def subspaces(self, wanted):
        self.made.append(wanted)
        return tuple(Path(f"{name}_r{wanted.mined_rank}") for name in wanted.attributes)


class Done:
    """Workers that take no time; notes jobs in the order in which they are handed over."""

    def __init__(self, scale, best_rate=BEST_RATE, diverges_above=math.inf):
        self.compared, self.recorded, self._scale = [], [], scale
        self._best_rate, self._diverges_above = best_rate, diverges_above

    def wait(self, futures):
        return wait(futures, return_when=FIRST_COMPLETED).done

    def validation_loss(self, job):
        self.compared.append(job)
        diverges = job.rate > self._diverges_above
        return finished(math.inf if diverges else abs(math.log(job.rate / self._best_rate)))

    def record(self, job):
        self.recorded.append(job)
        return finished(self.make(job))

    def make(self, job):
        found = planted.record(job.run, 1.0, splits=tuple(job.tests), parameters=7, seconds=90.0)
        used = sizes(self._scale, job.run.method, job.run.size)
        return msgspec.structs.replace(found, sizes=used, rate=job.rate, rate_from=job.rate_from, **self.validated(job))

    def validated(self, job):
        return {} if job.validation is None else {"validated_on": "test"}


def finished(value):
    future = Future()
    future.set_result(value)
    return future


def records_in(tmp_path, wanted, base="nano (ab)", **more):
    return RecordFolder(wanted, base, tmp_path / "records", **more)


def make(tmp_path, wanted, inputs=None, **more):
    return Schedule(records_in(tmp_path, wanted, **more), inputs or RunInputs())


def go(tmp_path, wanted, at_once=1):
    workers = Done(wanted.scale)
    return dict(make(tmp_path, wanted)(workers, at_once)), workers


def test_every_methods_rate_is_the_best_of_the_same_ones_on_validation_scenes(tmp_path):
    wanted = plan("3")
    found, workers = go(tmp_path, wanted)
    assert list(found) == wanted.runs
    for method in ("lora", "adalora", "full", "subspace_blocks", "lora_heads"):
        tried = [job for job in workers.compared if (job.run.search.task, job.run.search.variant) == ("glass", method)]
        assert [job.rate for job in tried] == [1e-4, 5e-4, 2.5e-3]
        assert len({job.run for job in tried}) == 1
        search = read(tmp_path / "records" / f"rates_glass_{method}.json", RateSearch)
        assert search is not None and search.chosen == BEST_RATE and search.losses["0.0005"] == 0
    assert {job.rate for job in workers.recorded} == {None, BEST_RATE}
    assert [job.run.method for job in workers.recorded if job.rate is None] == [None, None]


@pytest.mark.parametrize("at_once", [1, 3])
def test_a_search_goes_on_beyond_the_best_rate_and_ends_on_the_way_to_one_that_diverges(tmp_path, at_once):
    wanted = plan("3")
    workers = Done(wanted.scale, best_rate=1e-5, diverges_above=1e-3)
    dict(make(tmp_path, wanted)(workers, at_once))
    tried = [job.rate for job in workers.compared if job.run.search == Search("glass", "lora")]
    assert tried == [1e-4, 5e-4, 2.5e-3, 2e-5, 4e-6]
    search = read(tmp_path / "records" / "rates_glass_lora.json", RateSearch)
    assert search is not None and search.losses["0.0025"] is None
    assert list(search.losses) == ["4e-06", "2e-05", "0.0001", "0.0005", "0.0025"]
    assert {job.rate for job in workers.recorded} == {None, 2e-5}
    _, workers = go(tmp_path, plan("3", seeds=(1,)))
    assert not workers.compared
    found = records_in(tmp_path, wanted).found()
    write_results(tmp_path, wanted, found, read_searches(tmp_path / "records"), "python -m experiments.reproduce")
    line = "| glass | lora | rank = 2, seed 0 | 0.3000 | 0.9163 | **0.6931** | 2.3026 | 3.9120 | diverged |  |  |"
    assert line in (tmp_path / "README.md").read_text()


def test_further_seeds_take_the_chosen_rate(tmp_path):
    go(tmp_path, plan("3"))
    _, workers = go(tmp_path, plan("3", seeds=(0, 1)))
    assert not workers.compared and {job.run.seed for job in workers.recorded} == {1}
    assert {job.rate for job in workers.recorded} == {BEST_RATE}


def test_without_a_choice_of_rates_nothing_is_searched(tmp_path):
    wanted = plan("3")
    wanted = replace(wanted, scale=replace(wanted.scale, rates=(1e-5,)))
    _, workers = go(tmp_path, wanted)
    assert not workers.compared and {job.rate for job in workers.recorded} == {None, 1e-5}
    assert not list((tmp_path / "records").glob("rates_*"))


def test_a_job_has_the_folders_of_its_run_and_nothing_is_made_that_no_run_needs(tmp_path):
    wanted = plan("5", "s1")
    inputs, workers = RunInputs(), Done(wanted.scale)
    list(make(tmp_path, wanted, inputs)(workers, 1))
    job = next(job for job in workers.recorded if job.run.subspaces.mined_rank == 16)
    assert job.training == Path("humans/train")
    assert job.tests == {split: Path("humans", split) for split in ("test", "cross_domain")}
    assert job.subspaces == tuple(Path(f"{name}_r16") for name in ("texture", "geometry", "camera", "lighting"))
    assert len(inputs.made) == len(set(inputs.made)) == 3 + 2  # three data sets, subspaces of adapters of two ranks
    _, workers = go(tmp_path, make_plan(("3",), (0,), wanted.scale))
    base = workers.recorded[0]
    assert base.run.method is None and base.training is None and base.subspaces == ()


def test_a_record_is_found_again_and_shown_in_the_tables(tmp_path):
    wanted = plan("3")
    made = {}
    for run, record in make(tmp_path, wanted)(Done(wanted.scale), 1):
        made[run] = record
        if len(made) == 4:
            break
    assert records_in(tmp_path, wanted).found() == made
    write_results(tmp_path, wanted, made, read_searches(tmp_path / "records"), "python -m experiments.reproduce")
    assert {path.name for path in tmp_path.iterdir()} == {
        "README.md", "table_3.md", "table_3.tex", "table_3.csv", "records"
    }  # fmt: skip
    page = (tmp_path / "README.md").read_text()
    assert page.splitlines()[2].startswith("4 runs, ") and "| Full | 7 | 1.5 | " in page
    assert "Which claims hold?" in page
    assert "| 4e-06 | 2e-05 | 0.0001 | 0.0005 | 0.0025 | 0.0125 | 0.0625 |" in page
    assert "| glass | full | seed 0 | 0.3000 |  |  | 1.6094 | **0.0000** | 1.6094 |  |  |\n| glass | lora |" in page
    rest, workers = go(tmp_path, wanted)
    assert [*made, *rest] == wanted.runs
    write_results(tmp_path, wanted, {**made, **rest}, [], "python -m experiments.reproduce")
    assert "| Ours (d=8) · LoRA (rank=2) | × 1 | test | Acc: " in (tmp_path / "README.md").read_text()
    assert not {job.run for job in workers.recorded} & made.keys()


def test_tables_and_seeds_of_other_calls_are_shown_too(tmp_path):
    go(tmp_path, plan("3"))
    wanted = plan("1", seeds=(2,))
    next(iter(make(tmp_path, wanted)(Done(wanted.scale), 1)))
    shown, found = records_in(tmp_path, wanted).collected()
    assert [table.name for table in shown.tables] == ["1", "3"] and shown.seeds == (0, 2)
    assert {run.task for run in found} == {"glass", "faces"} and len(found) == 14
    write_results(tmp_path, shown, found, read_searches(tmp_path / "records"), "python -m experiments.reproduce")
    page = (tmp_path / "README.md").read_text()
    assert "14 runs" in page and "## Table 3" in page and "Seed 0. 12 test scenes.\n" in page
    assert "Nothing is fine-tuned yet. 12 test scenes. 14 of 15 rows are still to be run" in page
    assert "gets the next lower one" not in page
    run, record = next((run, record) for run, record in found.items() if run.method)
    harmed = {**found, run: msgspec.structs.replace(record, rate=1e-4, given_up=(5e-4,))}
    write_results(tmp_path, shown, harmed, read_searches(tmp_path / "records"), "python -m experiments.reproduce")
    page = (tmp_path / "README.md").read_text()
    assert f"if all do:\n\n- {run.name}: 0.0001\n" in page
    go(tmp_path, plan("3", seeds=(1,)))
    shown, _ = records_in(tmp_path, plan("3")).collected()
    assert [table.name for table in shown.tables] == ["3"] and shown.seeds == (0, 1)


class Hashed(Done):
    """Records have the hashes of their data."""

    sha256 = "ab"

    def make(self, job):
        splits = ("test",) if job.training is None else ("train", "test")
        return msgspec.structs.replace(super().make(job), data=dict.fromkeys(splits, self.sha256))


def test_runs_on_different_data_do_not_come_into_one_table(tmp_path):
    wanted = plan("3")
    workers = Hashed(wanted.scale)
    running = make(tmp_path, wanted)(workers, 1)
    untrained = [next(running) for _ in range(2)]
    workers.sha256 = "ef"
    message = r"data_glass_train\.json and .*glass_full_seed0\.json are of different data \(glass, train\)"
    with pytest.raises(ValueError, match=message):
        next(running)
    assert len(records_in(tmp_path, wanted).found()) == len(untrained)


def test_records_of_different_data_are_refused_without_a_sheet_too(tmp_path):
    wanted = plan("3")
    dict(make(tmp_path, wanted)(Hashed(wanted.scale), 1))
    for path in (tmp_path / "records").glob("data_*"):
        path.unlink()
    assert len(records_in(tmp_path, wanted).found()) == 13
    path = tmp_path / "records" / "glass_base.json"
    path.write_text(path.read_text().replace('"ab"', '"gh"'))
    with pytest.raises(
        ValueError, match=r"glass_base\.json and .*glass_constant_depth\.json are of different data \(glass, test\)"
    ):
        records_in(tmp_path, wanted).found()


def another(tmp_path, wanted, sheet):
    """A schedule on another machine, whose data sets have this sheet."""
    inputs = RunInputs()
    inputs.sheet = lambda folder: sheet
    return make(tmp_path, wanted, inputs)


def test_the_same_scenes_rendered_on_another_machine_are_the_same_data(tmp_path):
    """Its processor rounds differently, so the bytes and their hashes differ."""
    seed_0, both = plan("3"), plan("3", seeds=(0, 1))
    dict(make(tmp_path, seed_0)(Hashed(seed_0.scale), 1))
    workers = Hashed(both.scale)
    workers.sha256 = "ef"
    dict(another(tmp_path, both, planted.sheet("ef", depth=2.0001))(workers, 1))
    assert {job.run.seed for job in workers.recorded} == {1} and len(records_in(tmp_path, both).found()) == 24
    kept = read(tmp_path / "records" / "data_glass_train.json", DataSheet)
    assert kept == planted.sheet("ab", "ef")


def test_other_scenes_are_refused_before_anything_is_trained(tmp_path):
    seed_0, both = plan("3"), plan("3", seeds=(0, 1))
    dict(make(tmp_path, seed_0)(Hashed(seed_0.scale), 1))
    before = {path.name: path.read_bytes() for path in (tmp_path / "records").iterdir()}
    workers = Hashed(both.scale)
    with pytest.raises(
        ValueError,
        match=r"^glass/train is other data than .*data_glass_train\.json says: scene_0001 shows depth 2\.1 m",
    ):
        dict(another(tmp_path, both, planted.sheet("ef", depth=2.1))(workers, 1))
    for path in (tmp_path / "records").glob("data_*"):  # as before there were sheets
        path.unlink()
    with pytest.raises(ValueError, match=r"glass_full_seed0\.json is of other data than glass/train; name another"):
        dict(another(tmp_path, both, planted.sheet("ef"))(workers, 1))
    assert not workers.recorded and not workers.compared
    left = {path.name: path.read_bytes() for path in (tmp_path / "records").iterdir()}
    assert left == {name: content for name, content in before.items() if not name.startswith("data_")}


def test_a_search_among_other_rates_is_not_shown(tmp_path):
    wanted = plan("3")
    go(tmp_path, wanted)
    other = replace(wanted, scale=replace(wanted.scale, rates=(1e-4, 1e-2)))
    found, searches = records_in(tmp_path, wanted).found(), read_searches(tmp_path / "records")
    write_results(tmp_path, other, found, searches, "python -m experiments.reproduce")
    assert searches and "Learning rates" not in (tmp_path / "README.md").read_text()


def test_with_a_search_for_each_row_records_say_whose_rate_they_have(tmp_path):
    by_row = replace(plan("3", seeds=(1,)), rates_for="row")
    found, workers = go(tmp_path, by_row)
    trained = {run: record for run, record in found.items() if run.method}
    assert {record.rate_from for record in trained.values()} == {run.first.name for run in trained}
    assert len(workers.compared) == 3 * len(trained) and {job.run.seed for job in workers.compared} == {0}
    searches = read_searches(tmp_path / "records")
    assert {search.search for search in searches} == by_row.searches.keys()
    write_results(tmp_path, by_row, found, searches, "python -m experiments.reproduce")
    page = (tmp_path / "README.md").read_text()
    assert "rate, searched for each row" in page and "| glass | lora_128 | rank = 16, seed 0 |" in page
    _, workers = go(tmp_path, replace(by_row, seeds=(1, 2)))
    assert not workers.compared and {job.run.seed for job in workers.recorded} == {2}


def test_rates_of_a_method_do_not_pass_as_rates_of_rows(tmp_path):
    found, _ = go(tmp_path, plan("3"))
    assert {record.rate_from for run, record in found.items() if run.method == "lora" and run.part == "all"} == {
        "glass_lora_16_seed0"
    }
    by_row = replace(plan("3"), rates_for="row")
    with pytest.raises(
        InputError, match=r"glass_lora_32_seed0\.json has a learning rate that was not searched for its row"
    ):
        records_in(tmp_path, by_row).found()
    kept = records_in(tmp_path, by_row, overwrite=True).found()  # the rows that rates were compared on have their own
    assert {record.rate_from for run, record in kept.items() if run.method} == {run.name for run in kept if run.method}


def test_rates_of_rows_do_not_pass_as_rates_of_their_method(tmp_path):
    go(tmp_path, replace(plan("3"), rates_for="row"))
    with pytest.raises(
        InputError, match=r"glass_lora_32_seed0\.json has a learning rate that was not searched for its method"
    ):
        records_in(tmp_path, plan("3")).found()
    kept = records_in(tmp_path, plan("3"), overwrite=True).found()
    assert "glass_lora_16_seed0" in {run.name for run in kept} and "glass_lora_32_seed0" not in {
        run.name for run in kept
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"base": "nano (cd)"}, "is of another base model"),
        ({"weights": "ab"}, "is of another base model"),
        ({"data": ("ef",)}, "is of other data"),
    ],
)
def test_a_search_of_another_model_or_on_other_data_is_refused_and_made_again(change, message, tmp_path):
    wanted = plan("3")
    go(tmp_path, wanted)
    path = tmp_path / "records" / "rates_glass_lora.json"
    for record in (tmp_path / "records").glob("glass_lora_*_seed0.json"):
        record.unlink()
    content = json.loads(path.read_text())
    assert (content["base"], content["data"]) == ("nano (ab)", ["ab"])
    path.write_text(json.dumps(content | change))
    more = {"weights": "cd"} if "weights" in change else {}
    with pytest.raises(InputError, match=rf"rates_glass_lora\.json {message}"):
        dict(make(tmp_path, wanted, **more)(Done(wanted.scale), 1))
    for damage in (None, "{"):
        if damage:
            path.write_text(damage)
            with pytest.raises(InputError, match=r"rates_glass_lora\.json"):
                dict(make(tmp_path, wanted, **more)(Done(wanted.scale), 1))
        workers = Done(wanted.scale)
        dict(make(tmp_path, wanted, overwrite=True, **more)(workers, 1))
        assert {job.run.name for job in workers.compared} == {"glass_lora_16_seed0"}
        for record in (tmp_path / "records").glob("glass_lora_*_seed0.json"):
            record.unlink()


def test_records_of_a_model_with_other_heads_are_refused(tmp_path):
    wanted = plan("3")
    run, record = next(iter(make(tmp_path, wanted)(Done(wanted.scale), 1)))
    records_in(tmp_path, wanted).keep(run, msgspec.structs.replace(record, weights="ab"))
    assert records_in(tmp_path, wanted).found() and records_in(tmp_path, wanted, weights="ab").found()
    with pytest.raises(InputError, match=r"glass_base\.json is of another base model in its heads: ab, not cd"):
        records_in(tmp_path, wanted, weights="cd").found()
    assert not records_in(tmp_path, wanted, weights="cd", overwrite=True).found()


def test_controls_are_shown_where_there_are_records_of_them(tmp_path):
    wanted = plan("controls")
    go(tmp_path, plan("3"))
    assert [table.name for table in records_in(tmp_path, plan("3")).collected()[0].tables] == ["3"]
    go(tmp_path, wanted)
    shown, found = records_in(tmp_path, plan("3")).collected()
    assert [table.name for table in shown.tables] == ["3", "controls"]
    write_results(tmp_path, shown, found, read_searches(tmp_path / "records"), "python -m experiments.reproduce")
    assert "| Gradient directions (D=32) |" in (tmp_path / "table_controls.md").read_text()
    assert "Mined directions beat those of one gradient" in (tmp_path / "README.md").read_text()


def test_the_paper_s_table_is_not_shown_for_rows_that_the_controls_have(tmp_path):
    wanted = plan("controls")
    go(tmp_path, wanted)
    shown, found = records_in(tmp_path, wanted).collected()
    assert [table.name for table in shown.tables] == ["controls"]
    write_results(tmp_path, shown, found, read_searches(tmp_path / "records"), "python -m experiments.reproduce")
    page, table = ((tmp_path / name).read_text() for name in ("README.md", "table_controls.md"))
    assert page.startswith("# Mined directions or others, made on") and "\n## Controls. Mined directions" in page
    assert "paper:" not in page and "paper" not in table and table.splitlines()[0].endswith("NC ↑ (%) |")
    assert "paper" not in (tmp_path / "table_controls.tex").read_text()


def test_data_that_the_user_recorded_are_known_by_their_sheets(tmp_path):
    wanted, inputs = plan("3"), RunInputs()
    recorded = planted.sheet("ab", kind="recorded", source="table_tops", layout="captures")
    inputs.sheet = lambda folder: recorded if folder == Path("glass/test") else planted.sheet("ab")
    dict(make(tmp_path, wanted, inputs)(Done(wanted.scale), 1))
    folder = records_in(tmp_path, wanted)
    assert folder.recorded() == {("glass", "test"): "2 scenes of table_tops (captures)"}
    write_results(tmp_path, wanted, folder.found(), [], "python -m experiments.reproduce", folder.recorded())
    page = (tmp_path / "README.md").read_text()
    assert "**The test scenes are the user's own recordings**: 2 scenes of table_tops (captures)" in page
    assert "rendered stand-ins for ClearPose" not in page


def test_rates_can_be_compared_on_scenes_of_the_tests_kind(tmp_path):
    go(tmp_path, plan("3"))
    on_test = replace(plan("3"), validate_on="test")
    with pytest.raises(InputError, match=r"glass_full_seed0\.json was validated on other scenes"):
        records_in(tmp_path, on_test).found()
    found, workers = go(tmp_path / "other", on_test)
    assert {job.validation for job in (*workers.compared, *workers.recorded) if job.run.method} == {
        Path("glass/validation")
    }
    assert {search.validated_on for search in read_searches(tmp_path / "other" / "records")} == {"test"}
    write_results(tmp_path / "other", on_test, found, read_searches(tmp_path / "other" / "records"), "reproduce")
    assert "(of the test data's kind)" in (tmp_path / "other" / "README.md").read_text()
    _, workers = go(tmp_path / "other", replace(on_test, seeds=(1,)))
    assert not workers.compared


def test_an_interrupted_search_is_made_again(tmp_path):
    wanted = plan("3")
    first = next(iter(make(tmp_path, wanted)(Done(wanted.scale), 1)))
    assert first[0].method is None
    _, workers = go(tmp_path, wanted)
    assert len(workers.compared) == 5 * 3


@pytest.mark.parametrize("at_once", [2, 3])
def test_several_at_a_time_are_the_same_runs(tmp_path, at_once):
    wanted = plan("2", "4")
    running, most, lock = [0], [0], Lock()

    class Busy(Done):
        """Jobs wait for others for as long as others can come."""

        def __init__(self, scale):
            super().__init__(scale)
            self.pool = ThreadPoolExecutor(8)

        def _work(self, value):
            with lock:
                running[0] += 1
                most[0] = max(most[0], running[0])
            time.sleep(0.005)
            with lock:
                running[0] -= 1
            return value

        def validation_loss(self, job):
            return self.pool.submit(self._work, super().validation_loss(job).result())

        def record(self, job):
            return self.pool.submit(self._work, super().record(job).result())

    workers = Busy(wanted.scale)
    found = dict(make(tmp_path / "several", wanted)(workers, at_once))
    alone, one = go(tmp_path / "one", wanted)
    assert found == alone and most[0] == at_once
    assert sorted(map(str, workers.compared)) == sorted(map(str, one.compared))
    for job in workers.compared:  # before the first record of its method and task
        later = [
            other for other in workers.recorded if (other.run.task, other.run.method) == (job.run.task, job.run.method)
        ]
        assert {other.rate for other in later} == {BEST_RATE}


def test_a_record_is_kept_when_it_is_made_not_when_the_next_run_has_what_it_needs(tmp_path):
    """Extraction takes minutes; a command that is ended meanwhile must not lose what other processes have finished."""
    runs = plan("3")
    extracting = Event()

    class Extracting(RunInputs):
        def subspaces(self, wanted):
            extracting.set()
            deadline = time.monotonic() + 20
            while not (tmp_path / "records" / "glass_base.json").exists():
                assert time.monotonic() < deadline, "a finished run has no record during an extraction"
                time.sleep(0.01)
            return super().subspaces(wanted)

    class Slow(Done):
        def record(self, job):
            return pool.submit(self._after, super().record(job).result())

        def _after(self, made):
            assert made.run.method is not None or extracting.wait(20)
            return made

    with ThreadPoolExecutor(9) as pool:
        found = dict(make(tmp_path, runs, Extracting())(Slow(runs.scale), 9))
    assert extracting.is_set() and found.keys() == set(runs.runs)


def test_what_a_job_raises_comes_out_and_finished_runs_stay(tmp_path):
    wanted = plan("3")

    class Broken(Done):
        def record(self, job):
            if job.run.method == "lora":
                future = Future()
                future.set_exception(ValueError("training stopped"))
                return future
            return super().record(job)

    with pytest.raises(ValueError, match="training stopped"):
        dict(make(tmp_path, wanted)(Broken(wanted.scale), 1))
    assert {run.method for run in records_in(tmp_path, wanted).found()} == {None, "full"}


def test_records_of_another_base_or_a_damaged_one_are_refused(tmp_path):
    wanted = plan("3")
    go(tmp_path, wanted)
    with pytest.raises(InputError, match=r"glass_base.json is of another base model: nano \(ab\), not other") as error:
        records_in(tmp_path, wanted, "other").found()
    assert error.value.argument == "overwrite"
    path = tmp_path / "records" / "glass_base.json"
    path.write_text('{"run": 1}')
    with pytest.raises(ValueError, match=r"glass_base.json is no record .*delete it to run it again"):
        records_in(tmp_path, wanted).found()


def test_what_was_made_from_other_settings_is_run_again_when_asked_to_be_replaced(tmp_path):
    wanted = plan("3")
    go(tmp_path, wanted)
    folder = records_in(tmp_path, wanted, overwrite=True)
    (tmp_path / "records" / "glass_base.json").write_text('{"run": 1}')
    assert len(folder.found()) == len(wanted.runs) - 1
    other = records_in(tmp_path, wanted, "other", overwrite=True)
    assert other.found() == {} and other.collected()[1] == {}
    workers = Done(wanted.scale)
    found = dict(Schedule(folder, RunInputs())(workers, 1))
    assert [run.name for run in found] == ["glass_base"] and folder.found().keys() == set(wanted.runs)


def test_what_is_of_other_data_is_run_again_when_asked_to_be_replaced(tmp_path):
    seed_0, seed_1 = plan("3"), plan("3", seeds=(1,))
    for wanted in (seed_0, seed_1):
        dict(make(tmp_path, wanted)(Hashed(wanted.scale), 1))
    new = planted.sheet("ef", depth=2.1)
    inputs, workers = RunInputs(), Hashed(seed_0.scale)
    inputs.sheet, workers.sha256 = lambda folder: new, "ef"
    schedule = make(tmp_path, seed_0, inputs, overwrite=True)
    schedule.register_data()
    assert schedule.records.collected()[1] == {}
    dict(schedule(workers, 1))
    assert [job.run for job in workers.recorded] == seed_0.runs
    assert read(tmp_path / "records" / "data_glass_train.json", DataSheet) == new
    _, found = schedule.records.collected()
    assert list(found) == seed_0.runs  # the other seed's are of the old data, and left alone
    assert (tmp_path / "records" / "glass_full_seed1.json").exists()
    with pytest.raises(InputError, match=r"glass_full_seed1\.json are of different data"):
        records_in(tmp_path, seed_0).collected()
