"""What all methods have in common: one file each, exact counts, flags that say what they mean."""

import sys
from dataclasses import fields, replace
from fnmatch import fnmatch

import jax
import pytest

from experiments.finetune import _options
from experiments.finetuning import METHODS, methods
from experiments.finetuning.method import Method
from experiments.finetuning.methods import gradient
from subspace.errors import InputError
from tests.experiments.finetuning import small
from vggt_jax.deltas import low_rank_only

MATRICES = ("aggregator.frame_blocks.attn.qkv", "camera_head.pose_branch.fc2", "depth_head.projects.0")
PLAIN = ("camera_head.pose_branch.*",)


@pytest.fixture(scope="module")
def base():
    return small.base()


@pytest.fixture(autouse=True)
def no_gradient(monkeypatch):
    """Directions of the weights stand for those of a gradient, which takes long to compile."""
    monkeypatch.setattr(gradient, "mean_gradient", lambda base, *_: base.parameters)


@pytest.fixture(scope="module")
def settings(base, tmp_path_factory):
    """``settings(method, **options)`` on few matrices of the tiny model, two attributes with two directions each."""
    folder = tmp_path_factory.mktemp("subspaces")
    subspaces = tuple(
        small.subspace_folder(folder / name, name, i, base=base, adapters=True)
        for i, name in enumerate(("texture", "camera"))
    )

    def make(method, **options):
        own = {"subspaces": subspaces} if "subspaces" in METHODS[method].options else {}
        own |= {"plain": PLAIN} if "plain" in METHODS[method].options else {}
        return small.settings(method, folder, **({"matrices": MATRICES} | own | options))

    return make


@pytest.mark.parametrize("method", METHODS)
def test_counts_are_exact_before_and_after_anything_is_made(method, settings, base):
    wanted = settings(method)
    found = wanted.method.trainable(base, wanted)
    assert found.count == wanted.method.count(base.config)
    assert sum(leaf.size for leaf in jax.tree.leaves(found.params)) == found.count.total
    assert all(len(leaf) == 1 for leaf in jax.tree.leaves(found.params))


@pytest.mark.parametrize("method", [name for name, method in METHODS.items() if not method.reads_weights])
def test_methods_that_do_not_read_weights_do_without_them(method, settings, base):
    wanted = settings(method)
    found = wanted.method.trainable(replace(base, parameters=None), wanted)
    params = jax.tree.map(lambda leaf: leaf[0], found.params)
    assert low_rank_only(found.frozen.maker.deltas(params))  # lengths of rows would ask for the weights


def test_which_matrices_get_an_m_and_which_a_plain_lora_is_a_setting(base, settings):
    blocks = {"aggregator.frame_blocks", "aggregator.global_blocks"}
    wanted = settings("subspace", matrices=("aggregator.*.attn.proj",), plain=("camera_head.pose_branch.*",), rank=3)
    found = wanted.method.trainable(base, wanted).count
    assert found.parts.keys() == blocks | {"camera_head"}
    fc1, fc2 = (small.matrices()[f"camera_head.pose_branch.fc{i}"] for i in (1, 2))
    assert found.parts["camera_head"] == 3 * (fc1.n + fc1.m + fc2.n + fc2.m)
    without = replace(wanted, method=replace(wanted.method, plain=None))
    assert without.method.trainable(base, without).count.parts.keys() == blocks
    wrong = settings("subspace", plain=("point_head.*",))
    with pytest.raises(InputError, match=r"no adaptable matrix matches point_head\.\*; names are like aggregator\."):
        wrong.method.trainable(base, wrong)


@pytest.mark.parametrize("method", [name for name in METHODS if name != "full"])
def test_sizes_that_no_matrix_has_are_refused_before_anything_is_made(method, settings, base):
    for argument in {"rank", "dim"} & METHODS[method].options.keys():
        if argument == "dim" and "subspaces" in METHODS[method].options:
            continue  # d has room where the attributes leave some, see test_subspace
        chosen = PLAIN if "plain" in METHODS[method].options and argument == "rank" else MATRICES
        most = max(min(matrix.n, matrix.m) for path, matrix in small.matrices().items() if _matches(path, chosen))
        assert settings(method, **{argument: most}).method.count(base.config).total
        with pytest.raises(InputError, match=f"{argument}={most + 1} is more than a matrix can have") as error:
            settings(method, **{argument: most + 1}).method.count(base.config)
        assert error.value.argument == argument


@pytest.mark.parametrize("method", METHODS)
def test_no_matrices_are_refused(method, settings, base):
    with pytest.raises(InputError, match="matrices: name at least one pattern"):
        settings(method, matrices=()).method.count(base.config)


def _matches(path, patterns):
    return any(fnmatch(path, pattern) for pattern in patterns)


@pytest.mark.parametrize("method", METHODS.values(), ids=list(METHODS))
def test_a_method_says_all_that_tables_and_commands_need(method):
    assert method.__module__ == f"experiments.finetuning.methods.{method.name}" and method.label
    assert method.size is None or method.size in method.options
    assert bool(method.symbol) == (method.size is not None)
    assert all(option.help for option in method.options.values())
    names = {field.name for field in fields(method)}
    assert method.options.keys() <= names | {"rank"}  # psv and subspace have that of their plain LoRA


def test_methods_are_told_apart_by_name_and_label():
    assert len({method.label for method in METHODS.values()}) == len(METHODS)
    assert len({method.summary for method in METHODS.values()}) == len(METHODS)
    kinds = {flag: {option.kind for option in by_method.values()} for flag, by_method in _options().items()}
    assert all(len(kind) == 1 for kind in kinds.values()), "one flag, one kind of value"


NEW = """
from dataclasses import dataclass
from experiments.finetuning.method import Method, Option
from experiments.finetuning.methods.lora import LoRA


@dataclass(frozen=True, kw_only=True)
class Newest(LoRA):
    name, label = "newest", "Newest"
"""


def test_one_file_is_a_method(tmp_path, monkeypatch):
    (tmp_path / "newest.py").write_text(NEW)
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(tmp_path)])
    try:
        found = methods._methods()
    finally:
        sys.modules.pop("experiments.finetuning.methods.newest", None)
    assert found.keys() - METHODS.keys() == {"newest"} and issubclass(found["newest"], Method)
    assert found["newest"](rank=2).count(small.tiny.CONFIG) == METHODS["lora"](rank=2).count(small.tiny.CONFIG)
