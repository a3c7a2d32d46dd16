"""Every public function gives under ``jit``, and layer by layer under ``vmap``, what it gives as it stands."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import subspace
from subspace import LowRank
from tests.subspace.oracle import random_adapters

LAYERS = 3


def _stack(seed, layers=(LAYERS,)):
    A, B = random_adapters(seed, *layers[:1], 12, 9, 3, layers=layers[1:])
    return LowRank(jnp.asarray(A), jnp.asarray(B))


X, Y, ADAPTERS = _stack(0), _stack(1), _stack(2, (4, LAYERS))
BASIS = subspace.merge_subspaces({"a": X, "b": Y})
SPECTRA = jnp.asarray(np.sort(np.random.default_rng(0).random((LAYERS, 30)))[:, ::-1].copy())
OPTIONS = {"max_iterations": 5, "tolerance": 0.0}


def _gram(x):
    return x.A.mT @ x.A


FUNCTIONS = {
    "inner_product": (subspace.inner_product, (X, Y)),
    "frobenius_norm": (subspace.frobenius_norm, (X,)),
    "singular_values": (subspace.singular_values, (X,)),
    "canonicalize": (lambda x: subspace.canonicalize(x).to_dense(), (X,)),
    "effective_rank": (subspace.effective_rank, (X,)),
    "spectral_pattern": (lambda s: subspace.spectral_pattern(s, 4), (SPECTRA,)),
    "generalized_eigh": (lambda x, y: subspace.generalized_eigh(_gram(x), _gram(y))[0], (X, Y)),
    "generalized_eigenvalues": (subspace.generalized_eigenvalues, (X, Y)),
    "principal_angles": (lambda x, y: subspace.principal_angles(x, y, side="input"), (X, Y)),
    "pairwise_eigenvalues": (lambda x, y: subspace.pairwise_eigenvalues({"a": x, "b": y})["a", "b"], (X, Y)),
    "angles_of_eigenvalues": (subspace.angles_of_eigenvalues, (SPECTRA,)),
    "null_p_value": (lambda s: subspace.null_p_value(s, SPECTRA[:2]), (SPECTRA,)),
    "null_percentile": (lambda s: subspace.null_percentile(s, SPECTRA[:2]), (SPECTRA,)),
    "merge_subspaces": (lambda x, y: subspace.merge_subspaces({"a": x, "b": y}).output_spectrum, (X, Y)),
    "project": (subspace.project, (X, BASIS)),
    "captured_energy": (subspace.captured_energy, (X, BASIS)),
    "allocate_uniform": (lambda r: subspace.allocate_uniform(r, 4), (SPECTRA,)),
    "allocate_importance": (lambda r: subspace.allocate_importance(r, 4), (SPECTRA,)),
    "allocate_proportional": (lambda r: subspace.allocate_proportional(r, 4), (SPECTRA,)),
    "shared_subspace": (lambda x: subspace.shared_subspace(x, 2, **OPTIONS).factors.to_dense(), (ADAPTERS,)),
    "shared_subspaces": (lambda x: subspace.shared_subspaces({"q": x}, 2, **OPTIONS)["q"].residuals, (ADAPTERS,)),
    "examine_subspaces": (lambda x: subspace.examine_subspaces({"q": x}, 2, **OPTIONS)["q"].captured, (ADAPTERS,)),
    "subspace_stability": (lambda x: subspace.subspace_stability(x, 2, **OPTIONS).held_out_energy, (ADAPTERS,)),
    "subspace_stabilities": (
        lambda x: subspace.subspace_stabilities({"q": x}, 2, **OPTIONS)["q"].output_angles,
        (ADAPTERS,),
    ),
    "null_eigenvalues": (lambda seed: subspace.null_eigenvalues(9, 2, 3, 4, jax.random.key(seed)), (jnp.arange(3),)),
}
WITHOUT_JIT = {"pairwise_eigenvalues_by_path", "merge_subspaces_by_path"}
"""Functions that look at numbers to choose shapes."""
ONE_LAYER_ONLY = {"allocate_uniform", "allocate_importance", "allocate_proportional", "null_eigenvalues"}
"""Functions of all layers at once (or of none), called on one example at a time."""


def test_the_table_is_complete():
    functions = {name for name in subspace.__all__ if inspect.isfunction(inspect.unwrap(getattr(subspace, name)))}
    assert functions == set(FUNCTIONS) | WITHOUT_JIT


LONG_TO_COMPILE = {
    "shared_subspaces", "examine_subspaces", "subspace_stability", "subspace_stabilities", "null_eigenvalues"
}  # fmt: skip


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in LONG_TO_COMPILE else ()) for name in FUNCTIONS]
)
def test_jit_and_vmap_change_nothing(name):
    function, arguments = FUNCTIONS[name]

    # a stack of adapters has its layers on the second axis
    examples = [jax.tree.map(lambda x, i=i: x[:, i] if x.ndim == 4 else x[i], arguments) for i in range(LAYERS)]
    mapped = jax.tree.map(lambda x: jnp.moveaxis(x, 1, 0) if x.ndim == 4 else x, arguments)
    one_by_one = [function(*example) for example in examples]
    if name not in ONE_LAYER_ONLY:
        _assert_equal(jax.jit(function)(*arguments), function(*arguments))
    _assert_equal(jax.jit(function)(*examples[0]), one_by_one[0])
    _assert_equal(jax.vmap(function)(*mapped), jax.tree.map(lambda *x: jnp.stack(x), *one_by_one))


def _assert_equal(found, expected):
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-5)
