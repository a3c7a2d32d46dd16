"""``experiments.evaluate``: from a model or stored predictions to the report, comparisons, and bad input."""

import csv
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from matplotlib.figure import Figure
from safetensors.numpy import save_file

from experiments.data.dataset import Dataset
from experiments.data.packing import pack
from experiments.evaluation import Settings, compare, evaluate, pipeline
from experiments.evaluation.predictions import Model, from_folder, load_prediction, prediction_file, save_prediction
from experiments.evaluation.report import table
from experiments.evaluation.results import METRICS, read_csv
from experiments.evaluation.run import evaluate_dataset
from experiments.evaluation.scene import Reconstruction, evaluate_scene
from experiments.rendering import runs
from experiments.rendering.pool import LocalPool
from experiments.storage.files import hashes
from experiments.tasks.recordings.conversion import convert
from subspace import LowRank
from subspace.errors import InputError
from tests.experiments.commands import call
from tests.experiments.rendering.small_scenes import COMMAND, SETTINGS, SIZE, VIEWS, make_scene
from tests.experiments.tasks.recordings.written import write_capture
from tests.experiments.training import tiny
from vggt_jax.adapters import Adapter, BaseModel, save_adapter
from vggt_jax.deltas import dotted, merge
from vggt_jax.pose_encoding import decode_pose
from weights_convert import load_vggt

ROOT = Path(__file__).parents[3]
ALL_VIEWS = ",".join(map(str, range(VIEWS)))
QKV = "aggregator.frame_blocks.attn.qkv"


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "experiments.evaluate", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": ".", "JAX_PLATFORMS": "cpu"},
        timeout=600,
    )


def evaluated(data, output, **settings):
    """What :func:`evaluate` returns of all views by default."""
    return evaluate(Settings(data=tuple(data), output=output, **{"views": ALL_VIEWS, **settings}))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    output = tmp_path_factory.mktemp("data") / "out"
    runs.generate(output, SETTINGS, 1, 3, lambda: make_scene, lambda: LocalPool(COMMAND, 1))
    return output / "dataset_00"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A tiny random model whose fields of view are those of cameras."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    folder.mkdir()
    tensors = {dotted(keys): np.asarray(leaf[...]) for keys, leaf in nnx.to_flat_state(tiny.draw_base()[1])}
    (bias,) = (name for name, value in tensors.items() if name.startswith("camera_head") and value.shape == (9,))
    tensors[bias] = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1], np.float32)
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(tiny.CONFIG.to_dict()))
    return folder


@pytest.fixture(scope="module")
def adapter(weights, tmp_path_factory):
    rng = np.random.default_rng(0)
    delta = LowRank(*(jnp.asarray(rng.normal(size=(4, n, 2)), jnp.float32) for n in (24, 8)))
    path = tmp_path_factory.mktemp("adapters") / "texture.safetensors"
    save_adapter(path, Adapter({QKV: delta}, Model(str(weights)).identity))
    return path, delta


@pytest.fixture
def no_pictures(monkeypatch):
    """Drawings take most of an evaluation's time here; other tests look at them."""
    monkeypatch.setattr(pipeline, "draw", lambda *_: Figure(figsize=(1, 1)))


def perfect(folder, data, noise=0.0, seed=0):
    """Stored predictions: the truth in another frame and unit, with errors."""
    rng = np.random.default_rng(seed)
    for scene in Dataset(data):
        views = scene.load()
        extrinsics = np.concatenate([views.extrinsics[..., :3], views.extrinsics[..., 3:] / 3], axis=-1)
        depths = views.depths / 3 * np.exp(noise * rng.normal(size=views.depths.shape))
        path = prediction_file(folder, data.name, scene.folder.name)
        save_prediction(path, Reconstruction(depths, extrinsics, views.intrinsics), range(VIEWS))
    return folder


@pytest.fixture(scope="module")
def results(data, tmp_path_factory):
    """Results of good and of worse predictions."""
    folder = tmp_path_factory.mktemp("results")
    for name, noise in (("good", 0.01), ("worse", 0.05)):
        evaluated([data], folder / name, predictions=perfect(folder / f"of {name}", data, noise))
    return folder


@pytest.mark.slow
def test_model_with_adapter_from_the_command_line(data, weights, adapter, tmp_path):
    output, (path, delta) = tmp_path / "out", adapter
    process = run(
        f"--data={data}", f"--weights={weights}", f"--adapter={path}", f"--output={output}", f"--views={ALL_VIEWS}",
        "--held_out=2", "--save_predictions",
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    assert "2 scene(s)" in process.stdout and "report.html" in process.stdout
    assert list(tmp_path.iterdir()) == [output]
    assert {entry.name for entry in output.iterdir()} == {
        "scenes.csv", "summary.json", "report.html", "pictures", "predictions", "results.json",
    }  # fmt: skip
    with (output / "scenes.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["scene"] for row in rows] == ["scene_0001", "scene_0002"]

    # what was predicted is what the merged weights predict
    graphdef, base = nnx.split(load_vggt(str(weights)))
    views = Dataset(data)[2].load()
    images = jnp.asarray(views.images[None], jnp.float32) / 255
    predict = jax.jit(lambda base: nnx.merge(graphdef, base)(images))
    expected = predict(merge(base, {QKV: delta}))
    extrinsics, intrinsics = decode_pose(expected.pose_enc[0], (SIZE, SIZE))
    stored = load_prediction(output / "predictions" / "dataset_00" / "scene_0002.npz", range(VIEWS), (SIZE, SIZE))
    np.testing.assert_allclose(stored.depths, expected.depth[0, ..., 0], rtol=1e-4)
    np.testing.assert_allclose(stored.extrinsics, extrinsics, atol=1e-4)
    np.testing.assert_allclose(stored.intrinsics, intrinsics, rtol=1e-4)
    # and what was measured, what evaluate_scene says about it
    truth = Reconstruction(views.depths, views.extrinsics, views.intrinsics)
    for name, value in evaluate_scene(stored, truth, views.valid).metrics.row().items():
        assert rows[1][name] == str(value) or float(rows[1][name]) == pytest.approx(value, rel=1e-6)

    again = tmp_path / "again"
    evaluated([data], again, predictions=output / "predictions", held_out=2)
    assert (again / "scenes.csv").read_text() == (output / "scenes.csv").read_text()


def test_summary_and_report(results, data):
    output = results / "good"
    summary = json.loads((output / "summary.json").read_text())
    scenes = read_csv(output)
    assert list(scenes) == [("dataset_00", f"scene_000{i}") for i in range(3)]
    for metric in METRICS:
        mean = np.mean([scene[metric.name] for scene in scenes.values()])
        assert summary["mean"][metric.name] == summary["by_dataset"]["dataset_00"][metric.name] == pytest.approx(mean)
    assert summary["views"] == {"dataset_00": [0, 1, 2]} and summary["scenes"] == 3 and not summary["skipped"]
    assert 0 < summary["mean"]["abs_rel"] < 0.02 and summary["mean"]["delta"] == 1
    assert len(list((output / "pictures").iterdir())) == 3
    page = (output / "report.html").read_text()
    assert page.count("data:image/png") == 3 and "worst accuracy" in page and "http" not in page
    assert str(data.parent) not in page


def test_a_data_set_is_evaluated_without_a_command(results, data):
    predict = from_folder(results / "of good")
    found = evaluate_dataset(predict, Dataset(data), range(VIEWS), held_out=2)
    assert list(found.scenes) == [("dataset_00", "scene_0001"), ("dataset_00", "scene_0002")]
    assert not found.skipped and list(found.views["dataset_00"]) == list(range(VIEWS))
    stored = read_csv(results / "good")
    for key, metrics in found.scenes.items():
        assert {name: metrics.row()[name] for name in stored[key]} == stored[key]
    with pytest.raises(ValueError, match="held_out=4 asks for more"):
        evaluate_dataset(predict, Dataset(data), range(VIEWS), held_out=4)


def test_glass_only(data, tmp_path, no_pictures):
    predictions = perfect(tmp_path / "of", data)
    evaluated([data], tmp_path / "out", predictions=predictions, mask="glass")
    with (tmp_path / "out" / "scenes.csv").open() as file:
        pixels = [int(row["pixels"]) for row in csv.DictReader(file)]
    assert pixels == [int((scene.load().glass & scene.load().valid).sum()) for scene in Dataset(data)]


def test_stored_mask_only(data, tmp_path, no_pictures):
    copy = shutil.copytree(data, tmp_path / "dataset_00")
    left = np.arange(SIZE) < SIZE // 2
    for path in (copy / "scene_0001" / "arrays").iterdir():
        with np.load(path) as stored:
            arrays = dict(stored)
        np.savez_compressed(path, **arrays, mask=np.broadcast_to(left, arrays["valid"].shape))
    evaluated([copy], tmp_path / "out", predictions=perfect(tmp_path / "of", copy), mask="task")
    with (tmp_path / "out" / "scenes.csv").open() as file:
        pixels = [int(row["pixels"]) for row in csv.DictReader(file)]
    counted = [scene.load().valid & (left | (number != 1)) for number, scene in enumerate(Dataset(copy))]
    assert pixels == [int(count.sum()) for count in counted]


@pytest.mark.slow
def test_only_depth_without_poses(data, tmp_path):
    for name in ("a", "b"):
        write_capture(tmp_path / "faces" / name, 3, poses=False)
    convert("captures", "faces", "test", tmp_path / "faces", tmp_path / "real", SIZE, 3)
    faces = tmp_path / "real" / "dataset_00"
    for scene in Dataset(faces):
        views = scene.load()
        elsewhere = views.extrinsics + np.arange(12).reshape(3, 1, 4)  # the poses of a prediction must not matter
        path = prediction_file(tmp_path / "of", faces.name, scene.folder.name)
        save_prediction(path, Reconstruction(views.depths / 3, elsewhere, views.intrinsics), range(3))
    found = evaluated([faces], tmp_path / "out", predictions=tmp_path / "of", views="0,1,2", mask="task")
    assert found.results.without_poses == ["dataset_00"]
    assert list(found.mean) == ["abs_rel", "delta", "abs_rel_optimal", "delta_optimal"]
    printed = table(found.results)
    assert "Only depth was evaluated of dataset_00" in printed and "AbsRel" in printed and "Acc" not in printed
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["only_depth"] == ["dataset_00"]
    assert list(summary["mean"]) == ["abs_rel", "delta", "abs_rel_optimal", "delta_optimal"]
    assert summary["mean"]["abs_rel"] < 1e-5 and summary["mean"]["delta"] == 1
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Acc ↓" not in page and "AbsRel ↓" in page and page.count("data:image/png") == 2
    assert "normal_consistency" not in compare(tmp_path / "out", tmp_path / "out").differences

    both = [faces, data.rename(tmp_path / "dataset_01")]
    try:
        perfect(tmp_path / "of", both[1])
        evaluated(both, tmp_path / "both", predictions=tmp_path / "of", views="0,1,2")
    finally:
        both[1].rename(data)
    found = json.loads((tmp_path / "both" / "summary.json").read_text())
    assert "accuracy" not in found["mean"] and found["only_depth"] == ["dataset_00"]
    assert "accuracy" in found["by_dataset"]["dataset_01"] and "accuracy" not in found["by_dataset"]["dataset_00"]
    assert "–" in (tmp_path / "both" / "report.html").read_text()


def test_a_packed_data_set_has_the_same_figures_and_pictures(data, tmp_path):
    perfect(tmp_path / "predictions", data, noise=0.02)
    packed = pack(data, tmp_path / "packed" / data.name).folder
    found = [
        evaluated([each], tmp_path / f"of_{name}", predictions=tmp_path / "predictions")
        for name, each in (("folders", data), ("files", packed))
    ]
    assert found[0].mean == found[1].mean
    names = [{path.name for path in (each.folder / "pictures").iterdir()} for each in found]
    assert names[0] == names[1] and len(names[0]) == 3


def test_comparison(results):
    found = compare(results / "good", results / "worse" / "scenes.csv")
    assert found.scenes == 3 and found.differences["accuracy"].test.low > 0
    done = call("experiments.evaluate", f"--compare={results / 'good'},{results / 'worse'}")
    lines = done.stdout.splitlines()
    assert done.status == 0 and lines[0].startswith("3 scenes")
    for name in ("Acc ↓", "Comp ↓", "AbsRel ↓"):
        assert "first is better" in next(line for line in lines if line.startswith(name))


@pytest.mark.parametrize("change", [{"settings": {"mask": "task"}}, {"views": {"dataset_00": [0, 2]}}])
def test_results_of_other_pixels_or_views_are_not_compared(results, tmp_path, change):
    other = shutil.copytree(results / "good", tmp_path / "other")
    summary = json.loads((other / "summary.json").read_text())
    (other / "summary.json").write_text(json.dumps(summary | change))
    with pytest.raises(InputError, match=r"cannot be compared: their (masks|views) are .* and ") as error:
        compare(results / "good", other)
    assert error.value.argument == "compare" and "\n" not in str(error.value)
    assert compare(results / "good", other / "scenes.csv").scenes == 3  # a file by itself says neither


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--data is missing"),
        (["--data={tmp}/none", "--output={tmp}/out"], "there is no folder"),
        (["--data={tmp},{tmp}/../{tmp.name}"], "is named twice"),
        (["--compare=a,b", "--data=c", "--mask=valid"], "--data, --mask have no effect with --compare"),
        (["--data={data}", "--predictions=p", "--weights=nano"], "--weights has no effect with --predictions"),
        (["--compare={tmp}/a"], "two results"),
        (["--mask=sky"], "--mask must be"),
    ],
)
def test_bad_arguments_are_one_line_and_status_two(arguments, message, data, tmp_path):
    done = call("experiments.evaluate", *(argument.format(data=data, tmp=tmp_path) for argument in arguments))
    assert done.status == 2 and done.stdout == ""
    assert message in done.stderr and done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def refused(data, tmp_path, **settings):
    with pytest.raises((ValueError, OSError)) as error:
        evaluated([data], tmp_path / "results" / "out", **settings)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "results" / "out").exists() and not list(tmp_path.rglob("*.partial"))
    return str(error.value)


def test_what_is_refused(data, weights, adapter, tmp_path):
    assert "no list of views was made for scenes with 3" in refused(data, tmp_path, views=None)
    assert "held_out=4 asks for more" in refused(data, tmp_path, held_out=4)
    assert "missing" in refused(data, tmp_path, weights=str(tmp_path / "missing"))
    missing = tmp_path / "missing"
    assert refused(data, tmp_path, adapter=missing) == f"adapter: there is no {missing}"
    assert "an adapter does not go with them" in refused(data, tmp_path, predictions=tmp_path, adapter=adapter[0])
    other = tmp_path / "other.safetensors"
    save_adapter(other, Adapter({QKV: adapter[1]}, BaseModel("other", "0" * 16, tiny.CONFIG)))
    assert "other" in refused(data, tmp_path, weights=str(weights), adapter=other)
    model = Model(str(weights))
    with pytest.raises(ValueError, match="pictures of 18 pixels do not consist of tiny's patches of 4 pixels"):
        model.check(18)


VIEW = np.arange(VIEWS)[:, None, None]


def test_bad_predictions_are_named(data, tmp_path):
    predictions = perfect(tmp_path / "of", data)
    path = prediction_file(predictions, "dataset_00", "scene_0001")
    with np.load(path) as stored:
        arrays = dict(stored)
    assert "not [0, 2]" in refused(data, tmp_path, predictions=predictions, views="0,2")
    for changed, message in (
        ({"depths": arrays["depths"][:, 1:]}, "depths must have shape (3, 20, 20), got (3, 19, 20)"),
        (
            {"extrinsics": 2 * arrays["extrinsics"]},
            "extrinsics of predicted view 0 (in the order of views) hold no rotation",
        ),
        ({"depths": -arrays["depths"]}, "predicted depth(s) in the mask are no positive numbers, such as -"),
        ({"depths": arrays["depths"].astype(str)}, "depths cannot be read: it holds <U32, no numbers"),
        ({"depths": arrays["depths"] > 0}, "depths must be real numbers"),
        ({"intrinsics": -arrays["intrinsics"]}, "scene_0001.npz: intrinsics of view 0 have a focal length of 0"),
        ({"intrinsics": np.full_like(arrays["intrinsics"], np.inf)}, "intrinsics of view 0 hold NaN or infinity"),
        (
            {"extrinsics": np.where(VIEW == 1, np.nan, arrays["extrinsics"])},
            "extrinsics of view 1 hold NaN or infinity",
        ),
    ):
        np.savez(path, **{**arrays, **changed})
        assert message in refused(data, tmp_path, predictions=predictions)
    path.write_bytes(b"nothing")
    assert "no archive of arrays" in refused(data, tmp_path, predictions=predictions)
    path.unlink()
    assert "lacks 1 of 3 scenes, such as dataset_00/scene_0001.npz" in refused(data, tmp_path, predictions=predictions)
    assert "there is no folder" in refused(data, tmp_path, predictions=tmp_path / "nowhere")


def spoil(path, where, value):
    with np.load(path) as stored:
        arrays = dict(stored)
    np.savez(path, **{**arrays, "depths": np.where(where, value, arrays["depths"])})


def test_pixels_without_a_prediction_are_counted_and_left_out(data, tmp_path, no_pictures):
    predictions = perfect(tmp_path / "of", data)
    holes, missing = np.zeros((VIEWS, SIZE, SIZE), bool), {}
    holes[1, :, ::3] = True
    for value, scene in zip((np.nan, np.inf, 0), Dataset(data), strict=True):
        spoil(prediction_file(predictions, data.name, scene.folder.name), holes, value)
        missing[data.name, scene.folder.name] = int((holes & scene.load().valid).sum())
    found = evaluated([data], tmp_path / "out", predictions=predictions)
    assert {key: scene.missing for key, scene in found.results.scenes.items()} == missing
    for (_, name), scene in found.results.scenes.items():
        assert scene.pixels + scene.missing == Dataset(data)[int(name[-1])].load().valid.sum()
    assert found.mean["abs_rel"] < 1e-5
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["without_prediction"] == sum(missing.values())
    assert f"{sum(missing.values()):,} of" in table(found.results)

    spoil(prediction_file(predictions, data.name, "scene_0002"), np.ones_like(holes), np.nan)  # one scene without any
    found = evaluated([data], tmp_path / "fewer", predictions=predictions)
    assert list(found.results.scenes) == list(missing)[:2] and list(found.results.skipped) == list(missing)[2:]
    assert "scene_0002: only 0 pixels" in refused(data, tmp_path, predictions=predictions, held_out=1)


def test_results_that_cannot_be_compared(results, tmp_path):
    file = tmp_path / "scenes.csv"
    header, row, *_ = (results / "good" / "scenes.csv").read_text().splitlines()
    for content, message in (
        ("dataset,scene\na,b\n", "its first line lacks the column accuracy"),
        ("", "its first line lacks the column dataset"),
        ('{\n "scenes": 3\n}\n', "its first line lacks the column dataset"),
        (f"{header}\n{row.rpartition(',')[0]}\n", "its row has other columns"),
        (f"{header}\n{row}\n{row}\n", "is there twice"),
        (f"{header}\n", "has no scenes"),
    ):
        file.write_text(content)
        with pytest.raises(InputError, match=rf"scenes\.csv .*{message}"):
            compare(results / "good", file)
    with pytest.raises(OSError, match="missing"):
        compare(results / "good", tmp_path / "missing")


def test_results_of_earlier_versions_have_no_cameras(results, tmp_path):
    with (results / "worse" / "scenes.csv").open() as file:
        rows = list(csv.DictReader(file))
    kept = list(rows[0])[: list(rows[0]).index("icp_converged") + 1]
    with (tmp_path / "scenes.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, kept, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    found = compare(results / "good", tmp_path / "scenes.csv").differences
    assert list(found) == [metric.name for metric in METRICS]
    assert "auc_30" in compare(results / "good", results / "worse").differences


def test_results_are_found_by_what_they_were_made_from(data, tmp_path, no_pictures, capfd):
    predictions = perfect(tmp_path / "of", data)
    settings = Settings(data=(data,), predictions=predictions, views=ALL_VIEWS, store=tmp_path / "runs")
    first = evaluate(settings)
    assert first.folder.parent == tmp_path / "runs" / "evaluate" and first.folder.name.startswith("of-")
    assert evaluate(settings).folder == first.folder
    fewer = evaluate(replace(settings, held_out=2))
    perfect(predictions, data, noise=0.1)  # other predictions under the same names
    worse = evaluate(settings)
    assert len({first.folder, fewer.folder, worse.folder}) == 3
    assert worse.mean["abs_rel"] > first.mean["abs_rel"]
    assert capfd.readouterr() == ("", "")  # a notebook hears of nothing that it did not ask for


def test_other_results_are_replaced_only_if_asked_for(data, tmp_path, no_pictures):
    predictions = perfect(tmp_path / "of", data)
    evaluated([data], tmp_path / "out", predictions=predictions)
    before, made = (tmp_path / "out" / "scenes.csv").read_bytes(), hashes(tmp_path / "out")
    evaluated([data], tmp_path / "out", predictions=predictions)  # the same again
    assert hashes(tmp_path / "out") == made
    (tmp_path / "out" / "note.txt").touch()
    again = call(
        "experiments.evaluate",
        f"--data={data}",
        f"--predictions={predictions}",
        f"--views={ALL_VIEWS}",
        f"--output={tmp_path / 'out'}",
    )
    assert (again.status, again.stderr) == (0, "") and str(tmp_path / "out") in again.stdout
    (tmp_path / "out" / "note.txt").unlink()
    with pytest.raises(InputError, match="holds results of other settings") as error:
        evaluated([data], tmp_path / "out", predictions=predictions, mask="glass")
    assert error.value.argument == "overwrite" and (tmp_path / "out" / "scenes.csv").read_bytes() == before
    with pytest.raises(InputError, match="other settings"):  # before a model is looked for
        evaluated([data], tmp_path / "out", weights=str(tmp_path / "nowhere"), mask="glass")
    evaluated([data], tmp_path / "out", predictions=predictions, mask="glass", overwrite=True)
    assert (tmp_path / "out" / "scenes.csv").read_bytes() != before
    (tmp_path / "out" / "thesis.tex").touch()
    with pytest.raises(InputError, match=r"thesis\.tex"):
        evaluated([data], tmp_path / "out", predictions=predictions, overwrite=True)
