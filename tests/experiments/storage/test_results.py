"""Results are named by what they depend on, complete or absent, and never replaced by other results unasked."""

import errno
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from experiments.storage.results import Ready, ResultsFolder, check_output, results_folder
from subspace.errors import InputError
from vggt_jax.disk_space import DiskFullError

OURS = frozenset({"summary.json", "figures"})


@dataclass(frozen=True)
class Settings:
    attribute: str = "geometry"
    seed: int = 0
    alpha: float = 1.0


@dataclass(frozen=True)
class Asked:
    """What settings of every pipeline say of their results."""

    output: Path | None
    store: Path = Path("runs")
    overwrite: bool = False


def at(path: Path | None, identity, label: str = "", **options) -> ResultsFolder:
    return ResultsFolder.of(Asked(path, **options), "extract", label, identity, OURS)


def write(path: Path, settings: Settings, text: str = "", **options) -> None:
    with at(path, settings, settings.attribute, **options).new() as folder:
        (folder / "summary.json").write_text(text)


def default(store: Path, settings: Settings) -> Path:
    return at(None, settings, settings.attribute, store=store).path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_other_settings_have_another_folder(tmp_path):
    folders = {default(tmp_path, settings) for settings in (Settings(), Settings(seed=1), Settings(alpha=2))}
    assert len(folders) == 3 and default(tmp_path, Settings(alpha=1)) == default(tmp_path, Settings())
    assert {folder.parent for folder in folders} == {tmp_path / "extract"}
    assert all(len(folder.name) == len("geometry-") + 12 for folder in folders)


def test_results_are_found_by_what_they_were_made_from(tmp_path):
    path = default(tmp_path, Settings())
    assert path == results_folder(tmp_path, "extract", "geometry", Settings())
    assert not at(path, Settings()).complete
    write(path, Settings())
    assert at(path, Settings()).complete and not at(path, Settings(seed=1)).complete
    assert names(path) == ["results.json", "summary.json"]


def test_the_same_results_stay_unless_they_are_to_be_made_again(tmp_path):
    path = tmp_path / "mine"
    assert not at(path, Settings()).kept
    write(path, Settings(), "first")
    assert at(path, Settings()).kept and not at(path, Settings(), overwrite=True).kept
    assert not at(path, Settings(seed=1)).kept
    (path / "note.txt").write_text("dear")  # nothing will be written: no reason to refuse
    before = (path / "results.json").read_bytes()
    check_output(Asked(path), {"seed": 0}, OURS)
    at(path, Settings()).check()
    write(path, Settings(), "second")
    assert (path / "summary.json").read_text() == "first" and (path / "results.json").read_bytes() == before
    assert names(tmp_path) == ["mine"]
    with pytest.raises(InputError, match=r"note\.txt"):
        write(path, Settings(), "second", overwrite=True)
    (path / "note.txt").unlink()
    write(path, Settings(), "second", overwrite=True)
    assert (path / "summary.json").read_text() == "second"


def test_results_that_lack_a_file_are_made_again(tmp_path):
    path = tmp_path / "mine"
    for made in range(2):
        with at(path, Settings()).new() as folder:
            (folder / "figures").mkdir()
            (folder / "figures" / "one.png").write_text(str(made))
            (folder / "summary.json").touch()
        assert (path / "figures" / "one.png").read_text() == str(made) and at(path, Settings()).complete
        (path / "figures" / "one.png").unlink()
        assert not at(path, Settings()).complete and not at(path, Settings()).kept
    record = json.loads((path / "results.json").read_text())
    assert list(record.pop("files")) == ["figures/one.png", "summary.json"]
    (path / "results.json").write_text(json.dumps(record))  # as version 0.2.0 wrote it
    assert at(path, Settings()).kept


def write_figure(path: Path, text: str, **options) -> None:
    with at(path, Settings(), **options).new() as folder:
        (folder / "figures").mkdir()
        (folder / "figures" / "one.png").write_text(text)


def test_results_that_are_not_as_they_were_written_stay_unless_they_are_to_be_made_again(tmp_path):
    path = tmp_path / "mine"
    write_figure(path, "first")
    (path / "figures" / "one.png").write_text("1irst")  # of the same size
    assert not at(path, Settings()).complete and not at(path, Settings()).kept
    for refused in (
        lambda: check_output(Asked(path), {"seed": 0}, OURS),
        at(path, Settings()).check,
        lambda: write_figure(path, "second"),
    ):
        with pytest.raises(InputError, match=r"mine holds 'figures/one.png', which is not as") as error:
            refused()
        assert error.value.argument == "overwrite"
    assert (path / "figures" / "one.png").read_text() == "1irst"
    write_figure(path, "second", overwrite=True)
    assert at(path, Settings()).kept
    (path / "results.json").write_text((path / "results.json").read_text().replace("figures", "elsewhere"))
    assert not at(path, Settings()).kept


@pytest.mark.parametrize("name", ["figures/mine/mask.png", "figures/.hidden", "figures/link"])
def test_what_somebody_put_among_results_is_never_deleted(tmp_path, name):
    path = tmp_path / "mine"
    write_figure(path, "first")
    (path / "figures" / ".DS_Store").touch()
    write_figure(path, "second", overwrite=True)
    (path / "figures" / "mine").mkdir()
    write_figure(path, "third", overwrite=True)  # an empty folder is nothing
    (path / name).parent.mkdir(exist_ok=True)
    if name.endswith("link"):
        (path / name).symlink_to(tmp_path)
    else:
        (path / name).write_text("dear")
    with pytest.raises(InputError, match=rf"mine holds '{name}', which"):
        write_figure(path, "fourth", overwrite=True)
    assert (path / "figures" / "one.png").read_text() == "third" and os.path.lexists(path / name)


def test_results_of_another_command_are_never_replaced(tmp_path):
    path = tmp_path / "mine"
    write_figure(path, "first")
    other = ResultsFolder.of(Asked(path, overwrite=True), "evaluate", "", {}, frozenset({"scenes.csv"}))
    with pytest.raises(InputError, match=r"mine holds 'figures/one\.png', which"):
        other.check()


@pytest.mark.parametrize("record", [None, "{"])
def test_folders_that_no_record_calls_results_are_never_deleted(tmp_path, record):
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "photo.png").write_text("dear")
    if record is not None:
        (tmp_path / "results.json").write_text(record)
    with pytest.raises(InputError, match=r"figures/photo\.png"):
        write(tmp_path, Settings(), overwrite=True)
    assert (tmp_path / "figures" / "photo.png").read_text() == "dear"


def test_other_settings_are_refused(tmp_path):
    path = tmp_path / "mine"
    write(path, Settings(), "second")
    other = Settings(seed=1)
    with pytest.raises(InputError, match=r"mine holds results of other settings \(seed: 0 there, 1 now\)") as error:
        write(path, other)
    assert error.value.argument == "overwrite"
    with pytest.raises(InputError, match="seed"):
        at(path, other).check()
    with pytest.raises(InputError, match=r"of other settings \(alpha: 1.0 there, 2.0 now; attribute: not the same\);"):
        at(path, Settings(attribute=str([["lora_0", ["0a" * 32]]]), alpha=2.0)).check()
    assert (path / "summary.json").read_text() == "second" and names(tmp_path) == ["mine"]
    write(path, other, "third", overwrite=True)
    assert (path / "summary.json").read_text() == "third" and at(path, other).complete


def test_other_settings_are_noticed_before_everything_is_known(tmp_path):
    path = tmp_path / "mine"
    check_output(Asked(None), {"seed": 1}, OURS)
    check_output(Asked(path), {"seed": 1}, OURS)
    write(path, Settings())
    for known in ({}, {"seed": 0}, {"seed": 0, "alpha": 1.0}):
        check_output(Asked(path), known, OURS)
    for known in ({"seed": 1}, {"model": "nano"}):
        with pytest.raises(InputError, match=next(iter(known))) as error:
            check_output(Asked(path), known, OURS)
        assert error.value.argument == "overwrite"
        check_output(Asked(path, overwrite=True), known, OURS)
    (path / "thesis.tex").touch()
    with pytest.raises(InputError, match="thesis"):
        check_output(Asked(path, overwrite=True), {}, OURS)


def test_results_that_do_not_say_what_they_are_stay(tmp_path):
    (tmp_path / "summary.json").write_text("dear")
    with pytest.raises(InputError, match="do not say"):
        write(tmp_path, Settings())
    (tmp_path / "results.json").write_text("{")
    with pytest.raises(InputError, match="damaged"):
        write(tmp_path, Settings())
    with pytest.raises(InputError, match="damaged"):
        _ = at(tmp_path, Settings()).complete
    assert (tmp_path / "summary.json").read_text() == "dear"
    write(tmp_path, Settings(), overwrite=True)


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_not_ours_is_never_replaced(tmp_path, overwrite):
    path = tmp_path / "thesis"
    path.mkdir()
    (path / "thesis.tex").write_text("dear")
    (path / "summary.json").touch()
    with pytest.raises(InputError, match=r"thesis holds 'thesis.tex', which"):
        write(path, Settings(), overwrite=overwrite)
    assert names(path) == ["summary.json", "thesis.tex"] and names(tmp_path) == ["thesis"]
    with pytest.raises(InputError, match="is a file"):
        write(path / "thesis.tex", Settings(), overwrite=overwrite)


def test_empty_folders_and_those_that_somebody_looked_at_are_replaced(tmp_path):
    write(tmp_path, Settings())
    (tmp_path / ".DS_Store").touch()
    write(tmp_path, Settings(), overwrite=True)
    (tmp_path / "empty").mkdir()
    write(tmp_path / "empty", Settings())


def test_what_appears_meanwhile_stays(tmp_path):
    path = tmp_path / "results"
    with pytest.raises(InputError, match=r"notes.txt"), at(path, {}).new():
        path.mkdir()
        (path / "notes.txt").write_text("dear")
    assert names(path) == ["notes.txt"] and names(tmp_path) == ["results"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_end_in_the_middle_leaves_what_was_there(tmp_path, error):
    path = tmp_path / "results"
    write(path, Settings(), "dear")
    with pytest.raises(error), at(path, Settings(), overwrite=True).new() as folder:
        (folder / "summary.json").write_text("half")
        raise error
    assert (path / "summary.json").read_text() == "dear" and names(tmp_path) == ["results"]


def test_a_full_disk_is_named_and_nothing_half_written_is_left(tmp_path):
    with pytest.raises(DiskFullError) as error, at(tmp_path / "it", {}).new():
        raise OSError(errno.ENOSPC, "No space left on device")
    assert error.value.filename == str(tmp_path / "it") and names(tmp_path) == []


def test_the_list_and_the_links(tmp_path):
    first, second, third = Settings(), Settings(seed=1), Settings("texture")
    for settings in (first, second, third):
        write(default(tmp_path, settings), settings)
    store = tmp_path / "extract"
    assert os.readlink(store / "latest") == default(tmp_path, third).name  # relative: the store may be moved
    assert os.readlink(store / "geometry-latest") == default(tmp_path, second).name
    listed = json.loads((store / "index.json").read_text())
    assert [entry["folder"] for entry in listed] == [default(tmp_path, s).name for s in (third, second, first)]
    assert listed[1]["identity"] == {"attribute": "geometry", "seed": 1, "alpha": 1.0}
    assert listed[1]["label"] == "geometry" and listed[1]["digest"] == listed[1]["folder"][-12:]
    write(default(tmp_path, first), first, overwrite=True)
    assert os.readlink(store / "geometry-latest") == default(tmp_path, first).name
    assert len(json.loads((store / "index.json").read_text())) == 3


def test_without_links_there_is_the_list(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError("no links here")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    write(default(tmp_path, Settings()), Settings())
    assert names(tmp_path / "extract") == [default(tmp_path, Settings()).name, "index.json"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
def test_links_that_were_not_made_are_made_when_the_results_are_found_again(tmp_path, monkeypatch, error):
    old, new = Settings(), Settings(seed=1)
    write(default(tmp_path, old), old)

    def refuse(*_, **__):
        raise error

    with monkeypatch.context() as patch, pytest.raises((DiskFullError, KeyboardInterrupt)):
        patch.setattr(Path, "symlink_to", refuse)
        write(default(tmp_path, new), new)
    assert os.readlink(tmp_path / "extract" / "latest") == default(tmp_path, old).name
    found = at(None, new, new.attribute, store=tmp_path)
    assert found.kept
    found.settle()
    for link in ("latest", "geometry-latest"):
        assert os.readlink(tmp_path / "extract" / link) == default(tmp_path, new).name
    assert len(json.loads((tmp_path / "extract" / "index.json").read_text())) == 2


def test_a_folder_called_latest_is_left_alone(tmp_path):
    (tmp_path / "extract" / "latest").mkdir(parents=True)
    write(default(tmp_path, Settings()), Settings())
    assert not (tmp_path / "extract" / "latest").is_symlink()


def test_a_folder_of_the_users_own_name_gets_no_list(tmp_path):
    write(tmp_path / "mine", Settings())
    assert names(tmp_path) == ["mine"]


def test_the_output_may_be_a_link_to_another_disk(tmp_path):
    (tmp_path / "disk" / "space").mkdir(parents=True)
    for target in (tmp_path / "disk" / "space", tmp_path / "disk" / "new"):
        link = tmp_path / "link"
        link.unlink(missing_ok=True)
        link.symlink_to(target)
        for text in ("first", "second"):
            write(link, Settings(), text, overwrite=True)
        assert link.is_symlink() and (target / "summary.json").read_text() == "second"
    assert names(tmp_path / "disk") == ["new", "space"]


def test_the_new_folder_has_ordinary_permissions(tmp_path):
    write(tmp_path / "results", Settings())
    (tmp_path / "ordinary").mkdir()
    assert (tmp_path / "results").stat().st_mode == (tmp_path / "ordinary").stat().st_mode


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError) as error:
        write(tmp_path / "file" / "results", Settings())
    assert error.value.filename == str(tmp_path / "file")


def test_one_at_a_time_and_the_second_finds_what_the_first_made(tmp_path):
    results = at(None, Settings(), "geometry", store=tmp_path)
    calls = []

    def work():
        with results.new() as folder:
            (folder / "summary.json").write_text("")
        calls.append(1)
        return len(calls)

    with ThreadPoolExecutor(2) as pool:
        ready = Ready(results, work)
        found = [each.result() for each in [pool.submit(ready.run_if_new) for _ in range(2)]]
    assert sorted(found, key=str) == [1, None] and calls == [1]
    assert not list(tmp_path.rglob("*.lock"))


def test_finished_results_are_settled_after_a_death_at_the_very_end(tmp_path):
    results = at(None, Settings(), "geometry", store=tmp_path)
    write(results.path, Settings())
    store = results.path.parent
    (store / "index.json").unlink()
    (store / f".{results.path.name}.lock").touch()
    (store / ".index.json.01234567.partial").touch()
    assert Ready(results, lambda: 1).run_if_new() is None
    assert names(store) == sorted([results.path.name, "geometry-latest", "index.json", "latest"])
