"""Captures with a wrong convention: their views disagree, the mistake is named, and its remedy gives the truth."""

import json

import numpy as np
import pytest
from PIL import Image

from experiments.data.agreement import Agreement
from experiments.data.dataset import Dataset
from experiments.data.manifest import RecordedSettings
from experiments.data.poses import relative_pose
from experiments.process.reporting import Reporter
from experiments.tasks import Recording, prepare
from experiments.tasks.recordings.checking import Check
from experiments.tasks.recordings.conventions import Conventions
from subspace.errors import InputError
from tests.experiments.tasks.recordings.written import (
    HEIGHT,
    WIDTH,
    camera_to_world,
    cameras,
    centred,
    distance_to_surface,
    measure,
    write_capture,
)

FRAMES = 4
FARTHEST = 13.0
"""Metres that fit into 16 bits of a fifth of a millimetre."""
TURNED = np.diag([1.0, -1, -1, 1])


def homogeneous(camera):
    return np.vstack([camera_to_world(camera), [0, 0, 0, 1]])


def rewrite_depths(scene, stored, suffix=".png"):
    for camera, path in zip(cameras(FRAMES), sorted((scene / "depth").iterdir()), strict=True):
        path.unlink()
        values = stored(measure(*camera)[1])
        if suffix == ".png":
            Image.fromarray(np.rint(values).astype(np.uint16)).save(path)
        else:
            np.save(path.with_suffix(suffix), values)


def rewrite_poses(scene, stored):
    for camera, path in zip(cameras(FRAMES), sorted((scene / "poses").iterdir()), strict=True):
        np.savetxt(path, stored(homogeneous(camera)))


def rewrite_intrinsics(scene, factor, corner=0.5):
    path = scene / "intrinsics.json"
    stored = json.loads(path.read_text())
    shifted = {name: factor * (stored[name] + 0.5) - corner for name in ("cx", "cy")}
    if factor == 0:  # normalised
        shifted = {"cx": (stored["cx"] + 0.5) / WIDTH, "cy": (stored["cy"] + 0.5) / HEIGHT}
        path.write_text(json.dumps({"fx": stored["fx"] / WIDTH, "fy": stored["fy"] / HEIGHT, **shifted}))
    else:
        path.write_text(json.dumps({"fx": factor * stored["fx"], "fy": factor * stored["fy"], **shifted}))


def in_fifths(depth):
    """Of a millimetre; the far end of the floor does not fit into 16 bits."""
    return np.where(depth < FARTHEST, 5000 * depth, 0)


def in_millimetres(pose):
    return np.vstack([pose[:3] * [1, 1, 1, 1000], pose[3]])


MISTAKES = {
    "5000 a metre": (lambda s: rewrite_depths(s, in_fifths), {"depth_scale": 5000.0}),
    "float millimetres": (lambda s: rewrite_depths(s, lambda d: 1000 * d, ".npy"), {"depth_scale": 1000.0}),
    "world to camera": (lambda s: rewrite_poses(s, np.linalg.inv), {"pose": "world_to_camera"}),
    "OpenGL": (lambda s: rewrite_poses(s, lambda pose: pose @ TURNED), {"axes": "opengl"}),
    "OpenGL's world to camera": (
        lambda s: rewrite_poses(s, lambda pose: np.linalg.inv(pose @ TURNED)),
        {"pose": "world_to_camera", "axes": "opengl"},
    ),
    "poses in millimetres": (lambda s: rewrite_poses(s, in_millimetres), {"pose_scale": 1000.0}),
    "twice the size": (lambda s: rewrite_intrinsics(s, 2), {"intrinsics_size": (2 * WIDTH, 2 * HEIGHT)}),
    "a quarter of the size": (lambda s: rewrite_intrinsics(s, 1 / 4), {"intrinsics_size": (WIDTH // 4, HEIGHT // 4)}),
    "normalised": (lambda s: rewrite_intrinsics(s, 0), {"intrinsics_size": (1, 1)}),
    "two mistakes": (
        lambda s: (rewrite_depths(s, in_fifths), rewrite_poses(s, np.linalg.inv)),
        {"depth_scale": 5000.0, "pose": "world_to_camera"},
    ),
}


class Lines(Reporter):
    def __init__(self):
        super().__init__()
        self.lines = []

    def info(self, line):
        self.lines.append(line)

    warning = info


def convert(folder, reporter=None, poses=True, **changes):
    numbers = {"views": FRAMES, "resolution": HEIGHT, **changes}
    settings = Recording.of("nano", "captures", folder / "faces", "faces", "test", output=folder / "out", **numbers)
    return prepare(settings, reporter or Lines())


def check_truth(made):
    views = Dataset(made.folder)[0].load()
    for place, camera in enumerate(cameras(FRAMES)):
        depth = measure(camera.extrinsics, centred(camera), HEIGHT, HEIGHT)[1]
        near = depth < FARTHEST
        np.testing.assert_allclose(views.depths[place][near], depth[near], atol=0.00051)
        np.testing.assert_allclose(views.intrinsics[place], centred(camera), rtol=1e-5)
        np.testing.assert_allclose(views.extrinsics[place], camera.extrinsics, atol=1e-5)
    assert distance_to_surface(views.world_points[views.valid]).max() < 0.002


def test_right_captures_agree_and_say_so(tmp_path):
    for name in "ab":
        write_capture(tmp_path / "faces" / name, FRAMES)
    reporter = Lines()
    made = convert(tmp_path, reporter)
    check_truth(made)
    assert list(made.checks) == ["a", "b"]
    seen = made.checks["a"].agreement
    assert seen is not None and seen.share > 0.93 and seen.co_visible > 0.1 * seen.pixels
    assert [line.split(":")[0] for line in reporter.lines] == ["a", "b"]
    assert convert(tmp_path).checks == {}  # nothing to do


def test_right_captures_of_a_phone_are_converted(tmp_path):
    """Depth is off by 1.5 % in patches, places by a centimetre."""
    rng = np.random.default_rng(0)
    write_capture(tmp_path / "faces" / "scene", FRAMES)

    def measured(depth):
        patches = np.kron(rng.normal(size=(HEIGHT // 8, WIDTH // 8)), np.ones((8, 8)))
        return 1000 * depth * (1 + 0.015 * patches)

    rewrite_depths(tmp_path / "faces" / "scene", measured)
    rewrite_poses(
        tmp_path / "faces" / "scene", lambda pose: pose + 0.01 * np.pad(rng.normal(size=(3, 1)), ((0, 1), (3, 0)))
    )
    seen = convert(tmp_path).checks["scene"].agreement
    assert seen is not None and seen.share < 0.55 and seen.rough_share > 0.8


@pytest.mark.parametrize("decimals", [6, 17])
def test_coordinates_of_a_map_agree_whatever_the_decimals_of_their_rotations(decimals, tmp_path):
    """The transpose of a rotation of six decimals moves a camera 5,400 km from the origin by metres."""
    write_capture(tmp_path / "faces" / "near", FRAMES)
    expected = convert(tmp_path).checks["near"].agreement
    scene = (tmp_path / "faces" / "near").rename(tmp_path / "faces" / "far")
    for camera, path in zip(cameras(FRAMES), sorted((scene / "poses").iterdir()), strict=True):
        far = homogeneous(camera) + np.pad([[500_000], [5_400_000], [300]], ((0, 1), (3, 0)))
        np.savetxt(path, far, fmt=f"%.{decimals}f")
    made = convert(tmp_path, overwrite=True)
    seen = made.checks["far"].agreement
    assert seen is not None and expected is not None and seen.share > 0.93
    assert abs(seen.co_visible - expected.co_visible) < 0.01 * expected.co_visible
    views, near = Dataset(made.folder)[0].load().extrinsics, [camera.extrinsics for camera in cameras(FRAMES)]
    np.testing.assert_allclose(views[0, :, 3], 0, atol=1e-6)
    for pose, known in zip(views[1:], near[1:], strict=True):
        np.testing.assert_allclose(relative_pose(views[0], pose), relative_pose(near[0], known), atol=1e-5)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_wrong_convention_is_refused_and_named_and_its_remedy_gives_the_truth(mistake, tmp_path):
    spoil, remedy = MISTAKES[mistake]
    write_capture(tmp_path / "faces" / "scene", FRAMES)
    spoil(tmp_path / "faces" / "scene")
    with pytest.raises(InputError) as error:
        convert(tmp_path)
    assert error.value.argument == next(iter(remedy)) and "\n" not in str(error.value)
    for name, value in remedy.items():
        assert f"{name}={'x'.join(map(str, value)) if isinstance(value, tuple) else value}".removesuffix(".0") in str(
            error.value
        )
    assert not (tmp_path / "out").exists()  # nothing refuses other settings
    conventions = Conventions(**remedy)
    made = convert(tmp_path, conventions=conventions)
    check_truth(made)
    settings = Dataset(made.folder).manifest.settings
    assert isinstance(settings, RecordedSettings) and all(
        getattr(settings, name) == value for name, value in remedy.items()
    )
    assert convert(tmp_path, conventions=conventions).written == 0
    with pytest.raises(InputError, match="was made with"):
        convert(tmp_path)


@pytest.mark.parametrize("mistake", ["5000 a metre", "world to camera", "twice the size"])
def test_the_shares_of_wrong_conventions_are_low_and_what_is_accepted_is_converted(mistake, tmp_path):
    write_capture(tmp_path / "faces" / "scene", FRAMES)
    MISTAKES[mistake][0](tmp_path / "faces" / "scene")
    reporter = Lines()
    made = convert(tmp_path, reporter, accept=True)
    seen = made.checks["scene"].agreement
    assert made.written == 1 and seen is not None
    assert seen.co_visible < 0.05 * seen.pixels or seen.share < 0.55
    assert any(next(iter(MISTAKES[mistake][1])) in line for line in reporter.lines)


def check_of(agreeing, roughly, co_visible=20_000, spread=1.0, median_depth=2.0):
    """What is known of a scene, by shares of its co-visible pixels."""
    seen = Agreement(100_000, co_visible, round(agreeing * co_visible), round(roughly * co_visible))
    return Check(seen, median_depth, (0.5, 0.5), spread)


@pytest.mark.parametrize(
    ("given", "other", "surpassed"),
    [
        (check_of(0.31, 0.79), check_of(0.99, 0.99), True),  # exact, read wrongly
        (check_of(0.20, 0.91), check_of(0.98, 0.98), True),  # planes far away: only the closer agreement tells
        (check_of(0.20, 0.70), check_of(0.40, 0.90), True),  # a phone's, read wrongly
        (check_of(0.40, 0.84), check_of(0.45, 0.92), False),  # a phone's: not clearly better
        (check_of(0.40, 0.70), check_of(0.90, 0.95, co_visible=10_000), False),  # fewer pixels that two views see
        (check_of(0.40, 0.70), check_of(0.90, 0.95, spread=0.01), False),  # cameras that stand together always agree
        (check_of(0.40, 0.70), check_of(0.90, 0.95, median_depth=2000.0), False),
        (check_of(0.95, 0.96), check_of(1.0, 1.0), False),
    ],
)
def test_other_conventions_must_be_clearly_better(given, other, surpassed):
    assert given.is_surpassed_by(other) == surpassed and not other.is_surpassed_by(given)


def write_plane_and_sphere(scene):
    """Seen on a short arc: most pixels show planes that agree with wrong conventions too."""
    size, focal = (160, 120), 140.0
    for name in ("rgb", "depth", "poses"):
        (scene / name).mkdir(parents=True)
    (scene / "intrinsics.txt").write_text(f"{focal} {focal} {(size[0] - 1) / 2} {(size[1] - 1) / 2}")
    columns, rows = np.meshgrid(*(np.arange(each) - (each - 1) / 2 for each in size))
    rays = np.stack([columns / focal, rows / focal, np.ones_like(rows)], axis=-1)
    for number, angle in enumerate(np.linspace(-0.45, 0.45, 6)):
        place = np.array([1.4 * np.sin(angle), -0.3, 1.5 - 1.9 * np.cos(angle)])
        forward = np.array([0, 0.2, 1.6]) - place
        forward /= np.linalg.norm(forward)
        right = np.cross([0, 1, 0], forward)
        right /= np.linalg.norm(right)
        turn = np.stack([right, np.cross(forward, right), forward], axis=1)
        ray, from_ball = rays @ turn.T, place - np.array([0, 0.2, 1.5])
        with np.errstate(divide="ignore", invalid="ignore"):
            planes = np.stack([(3 - place[2]) / ray[..., 2], (0.8 - place[1]) / ray[..., 1]])
            squared, half = (ray**2).sum(-1), ray @ from_ball
            ball = (-half - np.sqrt(half**2 - squared * (from_ball @ from_ball - 0.25))) / squared
        found = np.stack([*planes, ball])
        depth = np.where(found > 0, found, np.inf).min(axis=0)
        Image.fromarray(np.full((*size[::-1], 3), 90, np.uint8)).save(scene / "rgb" / f"{number}.png")
        np.save(scene / "depth" / f"{number}.npy", depth)
        np.savetxt(scene / "poses" / f"{number}.txt", np.column_stack([turn, place]))


READ_WRONGLY = {
    "5000 a metre": (lambda depth: 5 * depth, lambda pose: pose, "depth_scale"),
    "OpenGL": (lambda depth: depth, lambda pose: pose * [1, -1, -1, 1], "axes"),
}


@pytest.mark.parametrize("mistake", READ_WRONGLY)
def test_wrong_conventions_with_which_most_pixels_agree_are_refused_too(mistake, tmp_path):
    scene = tmp_path / "faces" / "scene"
    write_plane_and_sphere(scene)
    right = convert(tmp_path, views=6, resolution=96).checks["scene"].agreement
    assert right is not None and right.share > 0.97
    depth, pose, argument = READ_WRONGLY[mistake]
    for path in (scene / "depth").iterdir():
        np.save(path, np.rint(1000 * depth(np.load(path))).astype(np.uint16))
    for path in (scene / "poses").iterdir():
        np.savetxt(path, pose(np.loadtxt(path)))
    with pytest.raises(InputError, match=f"scene: its views .*with {argument}=.* would agree") as error:
        convert(tmp_path, views=6, resolution=96, overwrite=True)
    assert error.value.argument == argument
    reporter = Lines()
    made = convert(tmp_path, reporter, views=6, resolution=96, overwrite=True, accept=True)
    seen = made.checks["scene"].agreement
    assert seen is not None and seen.rough_share > 0.6
    assert any(f"with {argument}=" in line for line in reporter.lines)


@pytest.mark.parametrize(("scale", "warned"), [(1.0, False), (1000.0, True), (0.001, True)])
def test_a_strange_median_depth_is_said_even_without_poses(scale, warned, tmp_path):
    write_capture(tmp_path / "faces" / "scene", FRAMES, poses=False, suffix=".npy")
    for path in (tmp_path / "faces" / "scene" / "depth").iterdir():
        np.save(path, scale * np.load(path))
    reporter = Lines()
    convert(tmp_path, reporter)
    assert any("median depth" in line and "depth_scale" in line for line in reporter.lines) == warned


def test_the_largest_number_of_16_bits_is_no_depth(tmp_path):
    write_capture(tmp_path / "faces" / "scene", FRAMES)
    rewrite_depths(tmp_path / "faces" / "scene", lambda d: np.where(d > 0, 1000 * d, 65535))
    check_truth(convert(tmp_path))


def test_without_poses_the_principal_point_tells(tmp_path):
    write_capture(tmp_path / "faces" / "scene", FRAMES, poses=False)
    rewrite_intrinsics(tmp_path / "faces" / "scene", 2)
    with pytest.raises(InputError, match=f"intrinsics_size={2 * WIDTH}x{2 * HEIGHT}") as error:
        convert(tmp_path)
    assert error.value.argument == "intrinsics_size"
    made = convert(tmp_path, conventions=Conventions(intrinsics_size=(2 * WIDTH, 2 * HEIGHT)))
    np.testing.assert_allclose(Dataset(made.folder)[0].load().intrinsics[0], centred(cameras(FRAMES)[0]), rtol=1e-5)


def test_disagreement_that_nothing_explains_is_refused_too(tmp_path):
    write_capture(tmp_path / "faces" / "scene", FRAMES)
    poses = [homogeneous(camera) for camera in cameras(FRAMES)]
    for pose, path in zip(poses[::-1], sorted((tmp_path / "faces" / "scene" / "poses").iterdir()), strict=True):
        np.savetxt(path, pose)  # those of other frames
    with pytest.raises(InputError, match="no usual mistake explains it; set what is wrong, or set accept to") as error:
        convert(tmp_path)
    assert error.value.argument == "accept"


@pytest.mark.parametrize("accept", [False, True])
def test_a_scene_without_any_depth_is_refused(tmp_path, accept):
    for name in "ab":
        write_capture(tmp_path / "faces" / name, FRAMES)
    rewrite_depths(tmp_path / "faces" / "b", lambda depth: 0 * depth)
    with pytest.raises(InputError, match=r"faces/b: the depth of all its frames is unknown"):
        convert(tmp_path, accept=accept)
    assert not (tmp_path / "out").exists()


def test_views_that_see_nothing_in_common_are_converted_with_a_warning(tmp_path):
    write_capture(tmp_path / "faces" / "scene", 2)
    (tmp_path / "faces" / "scene" / "poses" / "frame_001.txt").write_text("1 0 0 50 0 1 0 50 0 0 1 50")
    reporter = Lines()
    assert convert(tmp_path, reporter, views=2).written == 1
    assert any("too few pixels" in line for line in reporter.lines)
    assert any("no pixel is seen by two views" in line for line in reporter.lines)
    assert not any("nan" in line for line in reporter.lines)


def test_a_recording_that_was_never_finished_refuses_no_other_settings(tmp_path):
    for name in "ab":
        write_capture(tmp_path / "faces" / name, FRAMES)
    picture = tmp_path / "faces" / "b" / "rgb" / "frame_001.png"
    content = picture.read_bytes()
    picture.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"b/rgb/frame_001\.png"):
        convert(tmp_path)
    assert (tmp_path / "out" / "test" / "dataset_00" / "scene_0000").is_dir()
    picture.write_bytes(content)
    assert convert(tmp_path, resolution=24).written == 2
    with pytest.raises(InputError, match="was made with resolution=24"):
        convert(tmp_path)


@pytest.mark.parametrize(
    ("fields", "argument"),
    [
        ({"depth_scale": 0.0}, "depth_scale"),
        ({"depth_scale": float("nan")}, "depth_scale"),
        ({"pose_scale": -1.0}, "pose_scale"),
        ({"intrinsics_size": (0, 4)}, "intrinsics_size"),
    ],
)
def test_numbers_that_mean_nothing(fields, argument):
    with pytest.raises(InputError) as error:
        Conventions(**fields)
    assert error.value.argument == argument
