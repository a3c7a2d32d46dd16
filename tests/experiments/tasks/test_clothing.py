"""Bodies' textures: which place a texel has, and what is painted there."""

import numpy as np

from experiments.tasks import clothing
from experiments.tasks.unwrapped import Unwrapped, unwrap


def test_texels_have_the_places_of_their_surface():
    """A square of 2 m x 1 m fills the right half of the texture; the left half repeats its border."""
    vertices = np.array([[0, 0, 0], [2, 0, 0], [2, 0, 1], [0, 0, 1]], float)
    uv = np.array([[0.5, 0], [1, 0], [1, 1], [0.5, 1]])
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    made = unwrap(vertices, np.eye(4), faces, uv[faces], 64)
    column, row = np.meshgrid((np.arange(32) + 0.5) / 32 * 2, 1 - (np.arange(64) + 0.5) / 64)
    np.testing.assert_allclose(made.places[:, 32:, 0], column, atol=0.04)  # half a texel
    np.testing.assert_allclose(made.places[:, 32:, 2], row, atol=0.02)
    np.testing.assert_allclose(made.weights.sum(axis=-1), 1)
    assert made.weights[2, 34].argmax() == 3  # above on the left: the fourth vertex
    np.testing.assert_allclose(made.places[:, :30, 0], 0, atol=0.1)


MARKS = clothing.Landmarks(np.array([[0.03, -0.1, 1.6], [-0.03, -0.1, 1.6]]), np.array([0.0, -0.12, 1.53]), -0.14)


def painted(part, places, seed=0, **options):
    """A texture whose texels all belong to one part."""
    weights = np.zeros((*places.shape[:2], len(clothing.PARTS)))
    weights[..., part] = 1
    return clothing.paint(np.random.default_rng(seed), Unwrapped(places, weights), MARKS, **options).astype(int)


def face():
    x, z = np.meshgrid(np.linspace(-0.07, 0.07, 71), np.linspace(0.1, -0.12, 111) + MARKS.eyes[0, 2])
    return np.stack([x, np.full_like(x, MARKS.face + 0.02), z], axis=-1)


def test_a_face_has_hair_above_lips_below_and_skin_between():
    for seed in range(5):
        picture = painted(clothing.HEAD, face(), seed)
        z = face()[:, 0, 2]
        skin = picture[np.abs(z - 1.57).argmin(), 35]
        hair = picture[np.abs(z - 1.69).argmin(), 35]
        lips = picture[np.abs(z - 1.53).argmin(), 35]
        assert np.abs(hair - skin).max() > 25
        assert lips[0] / lips[1] > 1.1 * skin[0] / skin[1]  # redder


def test_eyes_look_ahead():
    x, z = np.meshgrid(np.linspace(-0.012, 0.012, 49) + 0.03, np.linspace(-0.012, 0.012, 49) + 1.6)
    front, back = (painted(clothing.EYE, np.stack([x, np.full_like(x, -0.1 + dy), z], axis=-1)) for dy in (-0.01, 0.01))
    assert front[24, 24].max() < 40  # the pupil
    assert front[0, 0].min() > 200 and back[24, 24].min() > 200  # the white


def test_clothes_differ_and_are_the_same_for_the_same_seed():
    rng = np.random.default_rng(1)
    places = rng.uniform((-0.2, -0.1, 1.0), (0.2, 0.1, 1.4), (40, 40, 3))
    pictures = [painted(clothing.TORSO, places, seed) for seed in range(4)]
    np.testing.assert_array_equal(pictures[2], painted(clothing.TORSO, places, 2))
    assert len({picture.mean().round(3) for picture in pictures}) == 4
