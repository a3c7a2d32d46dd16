import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import pytest

from experiments.storage.identity import NO_EFFECT, NO_EFFECT_BY_DEFAULT, digest, identity, stage_folder


def test_a_stage_is_named_by_what_it_depends_on():
    store = Path("runs")
    one = stage_folder(store, "adapters", "geometry", {"rank": 8, "data": {"seed": 0, "views": 8}})
    same = stage_folder(store, "adapters", "geometry", {"data": {"views": 8, "seed": 0}, "rank": 8})
    other = stage_folder(store, "adapters", "geometry", {"rank": 8, "data": {"seed": 1, "views": 8}})
    assert one == same != other and one.parent == store / "adapters"


@dataclass(frozen=True)
class _Optimizer:
    rate: float
    betas: tuple[float, float] = (0.9, 0.99)


@dataclass(frozen=True)
class _Settings:
    alpha: float
    optimizer: _Optimizer
    method: Literal["lora", "full"] = "lora"
    data: tuple[Path, ...] = ()
    dim: int | None = None
    workers: int = field(default=1, metadata=NO_EFFECT)


_PLAIN = _Settings(8.0, _Optimizer(1e-3))


def test_a_field_that_came_later_counts_where_it_is_not_its_default():
    @dataclass(frozen=True)
    class Later:
        alpha: float
        heads: str = field(default="float32", metadata=NO_EFFECT_BY_DEFAULT)

    assert identity(Later(1.0)) == identity(Later(1.0, "float32")) == {"alpha": 1.0}
    assert identity(Later(1.0, "bfloat16")) == {"alpha": 1.0, "heads": "bfloat16"}


def test_equal_settings_have_one_identity():
    integers = _Settings(8, _Optimizer(1e-3, (0.9, 0.99)))  # a float field may hold an int
    assert integers == _PLAIN and json.dumps(identity(integers)) == json.dumps(identity(_PLAIN))
    one = replace(_PLAIN, optimizer=_Optimizer(1))
    assert digest(identity(one)) == digest(identity(replace(_PLAIN, optimizer=_Optimizer(1.0))))


@pytest.mark.parametrize(
    "change",
    [
        {"alpha": 4.0},
        {"optimizer": _Optimizer(1e-2)},
        {"optimizer": _Optimizer(1e-3, (0.9, 0.999))},
        {"method": "full"},
        {"data": (Path("scenes"),)},
        {"dim": 4},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_field_counts(change):
    assert digest(identity(replace(_PLAIN, **change))) != digest(identity(_PLAIN))


def test_what_has_no_effect_does_not_count():
    assert identity(replace(_PLAIN, workers=7)) == identity(_PLAIN) and "workers" not in identity(_PLAIN)


def test_a_value_of_another_type_is_a_fault():
    with pytest.raises(TypeError, match=r"alpha"):
        identity(replace(_PLAIN, alpha="8"))


@dataclass(frozen=True)
class _Method:
    rank: int


@dataclass(frozen=True)
class _Lora(_Method):
    scale: float = 1.0


@dataclass(frozen=True)
class _Dora(_Lora):
    pass


@dataclass(frozen=True)
class _Run:
    method: _Method
    other: _Method | None = None


def test_an_instance_of_a_subclass_counts_with_all_its_fields_and_its_class():
    found = [digest(identity(_Run(method))) for method in (_Method(2), _Lora(2), _Lora(2, 0.5), _Dora(2))]
    assert len(set(found)) == 4
    assert identity(_Run(_Lora(2, 1)))["method"] == {"type": "_Lora", "rank": 2, "scale": 1.0}
    assert identity(_Run(_Method(2), _Method(3))) == {"method": {"rank": 2}, "other": {"rank": 3}}
