"""What the analysis reads, and what it refuses."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from experiments.mining.folder import SUBSPACE, check_base, read_folder, read_inputs
from subspace import LowRank
from subspace.errors import InputError
from tests.experiments.analysis.planted import BASE, SHAPES, draw_adapters, draw_subspaces, write_subspace
from vggt_jax import VGGTConfig
from vggt_jax.adapters import Adapter, BaseModel, save_adapter


def _plain(seed, dim=4, shapes=SHAPES):
    return {
        path: LowRank(U.astype(np.float32), V.astype(np.float32))
        for path, (U, V) in draw_subspaces(seed, dim, shapes).items()
    }


def _write_with_adapters(folder, attribute, adapters, base=BASE):
    """A folder of adapters that nothing was mined from: reading cannot tell, and mining takes longer than all tests here."""
    write_subspace(folder, attribute, _plain(0), k=len(adapters), base=base)
    (folder / "adapters").mkdir()
    for i, adapter in enumerate(adapters):
        save_adapter(folder / "adapters" / f"{attribute}_{i:02d}.safetensors", Adapter(adapter, base))
    return folder


@pytest.fixture
def two(tmp_path):
    return [write_subspace(tmp_path / name, name, _plain(i)) for i, name in enumerate(("geometry", "camera"))]


def test_reads_factors_ranks_and_facts_in_the_models_order(two, tmp_path):
    inputs = read_inputs(two)
    assert inputs.names == ["geometry", "camera"] and inputs.paths == list(SHAPES) and not inputs.has_adapters
    for path, expected in _plain(1).items():
        np.testing.assert_array_equal(inputs.attributes["camera"].factors[path].A, expected.A)
    assert set(inputs.first.ranks.values()) == {4} and inputs.first.statistics[inputs.paths[0]]["weights"].shape == (
        3,
        3,
    )
    known = write_subspace(tmp_path / "x", "texture", _plain(2), init="shared")
    assert (read_folder(str(known)).origin.init, inputs.first.origin.init) == ("shared", None)


def test_the_same_subspaces_are_the_same_bytes(two, tmp_path):
    written = {(write_subspace(tmp_path / str(i), "camera", _plain(1)) / SUBSPACE).read_bytes() for i in range(6)}
    assert written == {(two[1] / SUBSPACE).read_bytes()}


def test_reads_adapters(tmp_path):
    adapters = draw_adapters(0, draw_subspaces(0))
    mined = read_folder(_write_with_adapters(tmp_path / "geometry", "geometry", adapters))
    assert [file.stem for file in mined.adapter_files] == list(mined.origin.adapters)
    for i, adapter in enumerate(adapters):
        found = mined.read_adapter(i)
        assert list(found) == list(SHAPES)
        for path in SHAPES:
            np.testing.assert_array_equal(found[path].A, adapter[path].A)
            np.testing.assert_array_equal(found[path].B, adapter[path].B)


def _without(path):
    return {name: shape for name, shape in SHAPES.items() if name != path}


OTHER = BaseModel("other", "f" * 16, VGGTConfig.nano())
FC2 = "camera_head.pose_branch.fc2"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda f: write_subspace(f, "geometry", _plain(1)), "both hold the attribute geometry"),
        (
            lambda f: write_subspace(f, "texture", _plain(1), base=OTHER),
            r"the base model of .*other is other \(f{16}\), that of .*geometry is small",
        ),
        (
            lambda f: write_subspace(f, "texture", _plain(1, shapes=_without(FC2))),
            f"adapt different matrices: only .*geometry has {FC2}",
        ),
        (
            lambda f: write_subspace(f, "texture", _plain(1, shapes={**SHAPES, FC2: ((), 24, 47)})),
            rf"other: {FC2} is \(24, 47\), in .*geometry it is \(24, 48\): other layers or sizes",
        ),
        (
            lambda f: write_subspace(f, "texture", _plain(1, shapes={**SHAPES, FC2: ((2,), 24, 48)})),
            rf"{FC2} is \(2, 24, 48\)",
        ),
        (
            lambda f: write_subspace(f, "texture", _plain(1, dim=3)),
            "qkv has d'=3, in .*geometry d'=4; mine them with one",
        ),
        (lambda f: f, "there is no folder .*other"),
    ],
)
def test_folders_that_do_not_belong_together(make, message, two, tmp_path):
    with pytest.raises(ValueError, match=message) as error:
        read_inputs([two[0], make(tmp_path / "other")])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("count", "message"), [(0, "got nothing"), (1, "got only .*geometry")])
def test_one_attribute_is_not_enough(count, message, two):
    with pytest.raises(ValueError, match=f"at least two attributes are needed, {message}"):
        read_inputs(two[:count])


def _cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def _edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        ("subspace.safetensors", lambda p: p.unlink(), "has no subspace.safetensors, so it holds no mined subspace"),
        ("summary.json", lambda p: p.unlink(), "has no summary.json"),
        ("subspace.safetensors", _cut, "subspace.safetensors: is cut off"),
        ("summary.json", lambda p: p.write_text("{"), "summary.json is damaged"),
        ("summary.json", lambda p: p.write_text("{}"), "no summary of experiments.extract: .*`matrices`"),
        (
            "summary.json",
            lambda p: _edit(p, lambda s: s["matrices"].pop()),
            "do not belong together: only one of them has",
        ),
        ("adapters/geometry_01.safetensors", lambda p: p.unlink(), "geometry_01.safetensors is missing"),
        ("adapters/geometry_01.safetensors", _cut, "geometry_01.safetensors: is cut off"),
    ],
)
def test_damaged_folders(file, damage, message, tmp_path):
    folder = _write_with_adapters(tmp_path / "geometry", "geometry", draw_adapters(0, {}))
    damage(folder / file)
    with pytest.raises(ValueError, match=message) as error:
        read_folder(folder)
    assert "\n" not in str(error.value)


def test_numbers_that_are_none(tmp_path):
    folder = write_subspace(tmp_path / "geometry", "geometry", _plain(0))
    with safe_open(folder / SUBSPACE, "numpy") as file:
        metadata = file.metadata()
    tensors = load_file(folder / SUBSPACE)
    tensors[f"{FC2}.A"][3, 1] = np.nan
    save_file(tensors, folder / SUBSPACE, metadata)
    with pytest.raises(ValueError, match=f"subspace.safetensors: {FC2}.A has NaN or infinity"):
        read_folder(folder)


def test_adapters_of_another_size(tmp_path):
    folder = _write_with_adapters(tmp_path / "geometry", "geometry", draw_adapters(0, {}))
    file = folder / "adapters" / "geometry_02.safetensors"
    tensors = load_file(file)
    tensors[f"{FC2}.B"] = tensors[f"{FC2}.B"][:-1]
    save_file(tensors, file)
    with pytest.raises(ValueError, match=rf"geometry_02.safetensors: {FC2}.B is \(47, 4\).*must be \(48, 4\)"):
        read_folder(folder)


def test_another_base_model(tmp_path):
    folders = [
        _write_with_adapters(tmp_path / "geometry", "geometry", draw_adapters(0, {})),
        _write_with_adapters(tmp_path / "camera", "camera", draw_adapters(1, {}), base=OTHER),
    ]
    with pytest.raises(ValueError, match=r"the base model of .*camera is other \(f{16}\)"):
        read_inputs(folders)


def test_base_models_that_are_not_recorded_may_be_one(tmp_path):
    """Whatever earlier versions wrote where they did not know it."""
    texts = ("not recorded", "of imported adapters, not recorded")
    folders = [
        write_subspace(tmp_path / name, name, _plain(i), base=SimpleNamespace(name=text, fingerprint=None))
        for i, (name, text) in enumerate(zip(("mine", "extract"), texts, strict=True))
    ]
    inputs = read_inputs(folders)
    assert {mined.origin.base_label for mined in inputs.attributes.values()} == {"not recorded"}
    known = write_subspace(tmp_path / "known", "known", _plain(2))
    with pytest.raises(InputError, match=r"^the base model of .*known is small .*, that of .*extract is not recorded$"):
        read_inputs([folders[1], known])
    with pytest.raises(
        InputError, match=r"^the base model of .*mine is not recorded, the weights are small \(.* records"
    ):
        check_base(inputs.first, BASE)
