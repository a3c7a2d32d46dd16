import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from subspace import LowRank, shared_subspace, shared_subspaces, validation
from tests.subspace import oracle

ITERATIONS = 12


def _adapters(case, dtype):
    A, B, dim = oracle.CASES[case]
    return LowRank(jnp.asarray(A, dtype), jnp.asarray(B, dtype)), dim


def _close(actual, expected, tolerance, scale=None):
    scale = np.max(np.abs(expected)) if scale is None else scale
    assert np.max(np.abs(np.asarray(actual, np.float64) - expected)) <= tolerance * max(scale, 1e-300)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 1.5, 2.0])
@pytest.mark.parametrize("case", oracle.CASES)
def test_equals_dense_oracle(case, alpha, dtype, tolerance):
    adapters, dim = _adapters(case, dtype)
    result = shared_subspace(adapters, dim, alpha=alpha, max_iterations=ITERATIONS, tolerance=0.0)
    W = oracle.dense(adapters)
    used = int(result.iterations)  # fewer only if the weights stood still to the last bit
    expected = oracle.shared_subspace(W, dim, alpha, 1e-3, used)
    _close(oracle.dense(result.factors), expected.S, tolerance)
    _close(result.weights, expected.weights, tolerance)
    p = result.singular_values.shape[-1]
    _close(result.singular_values, expected.singular_values[:p], tolerance)
    _close(result.initial_singular_values, expected.initial_singular_values[:p], tolerance)
    _close(result.residuals, expected.residuals, tolerance)
    _close(result.objective[:used], np.array(expected.objective), tolerance)
    assert np.all(np.isnan(result.objective[used:]))
    assert all(leaf.dtype == dtype for leaf in (result.factors.A, result.factors.B, result.weights, result.objective))


def test_factors_are_canonical(dtype, tolerance):
    adapters, dim = _adapters("planted", dtype)
    result = shared_subspace(adapters, dim)
    sigma = np.diag(np.asarray(result.singular_values[:dim]))
    _close(result.factors.A.T @ result.factors.A, sigma, tolerance)
    _close(result.factors.B.T @ result.factors.B, sigma, tolerance)


def test_least_squares_takes_one_iteration(dtype):
    adapters, dim = _adapters("random", dtype)
    result = shared_subspace(adapters, dim, alpha=2.0)
    assert int(result.iterations) == 1 and bool(result.converged)
    np.testing.assert_allclose(result.weights, 1 / 5, rtol=1e-6)


@pytest.mark.parametrize("case", oracle.CASES)
@pytest.mark.parametrize("alpha", [0.3, 1.0])
def test_objective_never_increases(case, alpha):
    adapters, dim = _adapters(case, "float64")
    objective = np.asarray(shared_subspace(adapters, dim, alpha=alpha).objective)
    objective = objective[~np.isnan(objective)]
    assert np.all(np.diff(objective) <= 1e-12 * objective[0])


def test_converges_to_a_fixed_point():
    adapters, dim = _adapters("random", "float64")
    result = shared_subspace(adapters, dim, tolerance=1e-12, max_iterations=500)
    assert bool(result.converged)
    W = oracle.dense(adapters)
    expected = oracle.shared_subspace(W, dim, 1.0, 1e-3, 1000)
    np.testing.assert_allclose(oracle.dense(result.factors), expected.S, atol=1e-10 * np.abs(expected.S).max())


def test_reports_that_it_did_not_converge():
    adapters, dim = _adapters("random", "float64")
    result = shared_subspace(adapters, dim, max_iterations=2, tolerance=1e-12)
    assert not bool(result.converged) and int(result.iterations) == 2


@pytest.mark.parametrize("dtype", ["float32"])
def test_l1_survives_outliers_and_least_squares_does_not(dtype):
    """10 adapters, a shared rank-16 part, private parts, 3 gross outliers: the reason for alpha < 2."""
    A, B, U, V = oracle.planted_adapters(0, 10, 256, 192, 16, outliers=3, outlier_scale=30.0)
    adapters = LowRank(jnp.asarray(A, dtype), jnp.asarray(B, dtype))
    robust, plain = (shared_subspace(adapters, 16, alpha=alpha) for alpha in (1.0, 2.0))
    robust_angle = max(oracle.angles_to(robust.factors.A, U)[0], oracle.angles_to(robust.factors.B, V)[0])
    plain_angle = min(oracle.angles_to(plain.factors.A, U)[0], oracle.angles_to(plain.factors.B, V)[0])
    assert robust_angle < 10 and plain_angle > 60
    assert np.max(robust.weights[:3]) < 0.1 * np.min(robust.weights[3:])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(-3, 3), st.permutations(range(5)))
def test_invariances(seed, log_scale, order):
    """Scaling all adapters, A X, B X^-T, rotating both spaces, and the adapters' order change nothing but themselves."""
    rng = np.random.default_rng(seed)
    A, B, *_ = oracle.planted_adapters(seed, 5, 24, 18, 3)
    rotate_n, rotate_m = (np.linalg.qr(rng.standard_normal((size, size)))[0] for size in (24, 18))
    X = rng.standard_normal((5, 6, 6)) + 3 * np.eye(6)
    scale = 10**log_scale
    mixed_A = scale * rotate_n @ A @ X
    mixed_B = rotate_m @ B @ np.linalg.inv(X).swapaxes(1, 2)
    order = np.array(order)
    with jax.enable_x64(True):
        plain = shared_subspace(LowRank(jnp.asarray(A), jnp.asarray(B)), 3, max_iterations=10, tolerance=0.0)
        mixed = shared_subspace(
            LowRank(jnp.asarray(mixed_A[order]), jnp.asarray(mixed_B[order])), 3, max_iterations=10, tolerance=0.0
        )
        expected = scale * rotate_n @ oracle.dense(plain.factors) @ rotate_m.T
        np.testing.assert_allclose(oracle.dense(mixed.factors), expected, atol=1e-9 * np.abs(expected).max())
        np.testing.assert_allclose(mixed.weights, np.asarray(plain.weights)[order], atol=1e-9)
        np.testing.assert_allclose(mixed.residuals, scale * np.asarray(plain.residuals)[order], rtol=1e-8)


def test_layers_are_solved_each_by_itself(dtype, tolerance):
    """``jit`` and ``vmap`` are those of test_transformations.py."""
    A, B = oracle.random_adapters(0, 4, 20, 30, 3, layers=(2, 3))
    adapters = LowRank(jnp.asarray(A, dtype), jnp.asarray(B, dtype))
    options = {"max_iterations": 8, "tolerance": 0.0}
    stacked = shared_subspace(adapters, 3, **options)
    assert stacked.weights.shape == (2, 3, 4) and stacked.factors.A.shape == (2, 3, 20, 3)
    for i in np.ndindex(2, 3):
        alone = shared_subspace(adapters[(slice(None), *i)], 3, **options)
        _close(oracle.dense(stacked.factors[i]), oracle.dense(alone.factors), tolerance)
        _close(stacked.weights[i], np.asarray(alone.weights), tolerance)


@pytest.mark.slow
def test_two_layer_axes_jit_and_nested_vmap_agree(dtype, tolerance):
    A, B = oracle.random_adapters(0, 4, 20, 30, 3, layers=(2, 3))
    adapters = LowRank(jnp.asarray(A, dtype), jnp.asarray(B, dtype))
    options = {"max_iterations": 8, "tolerance": 0.0}
    stacked = shared_subspace(adapters, 3, **options)
    jitted = jax.jit(lambda x: shared_subspace(x, 3, **options))(adapters)
    mapped = jax.vmap(jax.vmap(lambda x: shared_subspace(x, 3, **options), in_axes=1), in_axes=1)(adapters)
    for i in np.ndindex(2, 3):
        alone = shared_subspace(adapters[(slice(None), *i)], 3, **options)
        for other in (stacked, jitted, mapped):
            _close(oracle.dense(other.factors[i]), oracle.dense(alone.factors), tolerance)
            _close(other.weights[i], np.asarray(alone.weights), tolerance)


def test_tree_of_matrices_equals_single_calls():
    def adapters(seed, n, m, layers):
        return LowRank(*map(jnp.asarray, oracle.random_adapters(seed, 4, n, m, 3, layers)))

    tree = {
        "frame.qkv": adapters(0, 30, 20, (3,)),
        "global.qkv": adapters(1, 30, 20, (2,)),
        "head": adapters(2, 9, 20, ()),
    }
    dims = {"frame.qkv": 4, "global.qkv": 4, "head": 3}
    results = shared_subspaces(tree, dims, max_iterations=6, tolerance=0.0)
    assert list(results) == list(tree)
    for path, x in tree.items():
        alone = shared_subspace(x, dims[path], max_iterations=6, tolerance=0.0)
        assert [x.shape for x in jax.tree.leaves(alone)] == [x.shape for x in jax.tree.leaves(results[path])]
        np.testing.assert_allclose(oracle.dense(results[path].factors), oracle.dense(alone.factors), atol=1e-10)
        np.testing.assert_allclose(results[path].objective, alone.objective, rtol=1e-10)


def test_never_forms_a_dense_matrix():
    """No array of n·m elements appears in the program, at the real size of one VGGT-1B matrix."""
    n, m = 4096, 1024
    adapters = LowRank(jnp.zeros((10, n, 16)), jnp.zeros((10, m, 16)))
    program = str(jax.make_jaxpr(lambda x: shared_subspace(x, 16))(adapters))
    assert f"{n},{m}]" not in program and f"{m},{n}]" not in program
    assert f"{n},{m}]" in str(jax.make_jaxpr(LowRank.to_dense)(adapters))  # so the search would have found one


def test_half_precision_is_computed_in_float32():
    A, B = oracle.random_adapters(0, 3, 20, 20, 2)
    adapters = LowRank(jnp.asarray(A, jnp.bfloat16), jnp.asarray(B, jnp.bfloat16))
    result = shared_subspace(adapters, 2)
    assert result.factors.A.dtype == jnp.float32 and bool(jnp.all(jnp.isfinite(result.factors.A)))


GOOD = LowRank(np.ones((3, 2, 8, 2)), np.ones((3, 2, 6, 2)))


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((GOOD, 7), r"dim=7 is larger than the rank available in adapters: min\(k·r, n, m\) = min\(3·2, 8, 6\) = 6"),
        ((GOOD, 0), "dim must be a positive integer, got 0"),
        ((GOOD, 2.5), "dim must be a positive integer, got 2.5"),
        ((LowRank(np.ones((8, 2)), np.ones((6, 2))), 1), "adapter axis first"),
        ((LowRank(np.ones((0, 8, 2)), np.ones((0, 6, 2))), 1), "adapters is empty"),
        ((np.ones((3, 8, 2)), 1), "adapters must be a LowRank .* got ndarray"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        shared_subspace(*arguments)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 0.0}, r"alpha must lie in \(0, 2\], got 0.0"),
        ({"alpha": 2.1}, r"alpha must lie in \(0, 2\]"),
        ({"epsilon": 0.0}, "epsilon must be positive"),
        ({"max_iterations": 0}, "max_iterations must be at least 1"),
        ({"tolerance": -1.0}, "tolerance must not be negative"),
        ({"tolerance": float("nan")}, "tolerance must not be negative"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        shared_subspace(GOOD, 2, **options)
    with pytest.raises(ValueError, match=message):
        shared_subspaces({"qkv": GOOD}, 2, **options)


@pytest.mark.parametrize("place", ["numpy", "cpu", "accelerator"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("factor", ["A", "B"])
def test_non_finite_adapter_is_named(value, factor, place, monkeypatch):
    A, B = np.ones((3, 2, 8, 2)), np.ones((3, 2, 6, 2))
    {"A": A, "B": B}[factor][1, 0, 3, 1] = value
    if place != "numpy":
        A, B = jnp.asarray(A), jnp.asarray(B)
    if place == "accelerator":
        monkeypatch.setattr(validation, "_at_hand", lambda _: False)
    with pytest.raises(ValueError, match=f"adapters: {factor} has NaN or infinity in adapter 1, layer 0"):
        shared_subspace(LowRank(A, B), 2)
    with pytest.raises(ValueError, match=rf"qkv: {factor} has NaN or infinity in adapter 1, layer 0"):
        shared_subspaces({"qkv": LowRank(A, B)}, 2)


def test_tree_errors_name_the_path():
    with pytest.raises(ValueError, match=r"dim=7 is larger than the rank available in head\.fc2"):
        shared_subspaces({"head.fc2": GOOD}, 7)
    with pytest.raises(ValueError, match="dim names no dimension for 'head'"):
        shared_subspaces({"head": GOOD}, {"body": 2})
    with pytest.raises(ValueError, match="adapters is empty"):
        shared_subspaces({}, 2)
