"""Recorded data sets of other people, converted once to this project's format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from experiments.data.manifest import RecordedSettings, Split, Task
from experiments.data.production import dataset_name
from experiments.data.recorded import RecordedScene, write_recorded
from experiments.process.reporting import SILENT, Reporter
from experiments.storage.arguments import check_choice
from experiments.tasks.recordings import Layout
from experiments.tasks.recordings.captures import Capture, find_captures
from experiments.tasks.recordings.checking import TRIED_VIEWS, Check, check, likeliest, some_views
from experiments.tasks.recordings.clearpose import clearpose_scenes
from experiments.tasks.recordings.conventions import Conventions, shown
from subspace.errors import InputError
from vggt_jax.missing import no_folder

_TRIED = 3
"""Scenes whose views see little of each other that are tried with other conventions, which takes seconds for each."""


@dataclass(frozen=True)
class Converted:
    """A data set of recorded scenes that is finished."""

    folder: Path
    """Folder of the data set."""
    scenes: int
    """Number of scenes that there are."""
    written: int
    """Number of scenes that were converted now."""
    has_poses: bool
    """Whether it is known where the cameras stood."""
    checks: Mapping[str, Check] = field(default_factory=dict, compare=False)
    """What the scenes that were converted now say about their conventions, by name."""


def convert(
    layout: Layout,
    task: Task,
    split: Split,
    source: Path,
    output: Path,
    resolution: int,
    views: int,
    conventions: Conventions | None = None,
    *,
    accept: bool = False,
    overwrite: bool = False,
    reporter: Reporter = SILENT,
) -> Converted:
    """Write ``dataset_00`` of recorded scenes, or what an interrupted run left out.

    Args:
        layout: of the source.
        task: what the scenes are for; ClearPose is of glass.
        split: of ClearPose it chooses the scenes (:data:`experiments.tasks.recordings.clearpose.TRAINING`); captures are all of
            the split that is named.
        source: folder of the recorded scenes.
        output: folder to make or to complete.
        resolution: width and height, pixels.
        views: of each scene, evenly spread over its frames.
        conventions: what the numbers of captures mean; the usual ones by default. ClearPose's files say it themselves.
        accept: convert captures whose views disagree, too.
        overwrite: replace a data set of other settings, from another folder, or of more scenes.
        reporter: is told how far the views of each scene agree, what is damaged or has changed, and of progress.

    Raises:
        InputError: unusable settings, a source of another layout, or one that is damaged, with the file's name; captures whose
            views disagree; an output that holds something else. Scenes that are finished stay, and are not converted again.
        OSError: something cannot be read or written.
    """
    check_choice(layout, get_args(Layout), "layout")
    if not source.is_dir():
        raise InputError(no_folder(source), argument="source")
    conventions = Conventions() if conventions is None else conventions
    captures: list[Capture] = []
    if layout == "clearpose":
        if task != "glass":
            raise InputError(f"ClearPose shows transparent objects: its task is glass, not {task}")
        if conventions.unusual:
            raise InputError(f"{shown(conventions.unusual)}: ClearPose's files say what their numbers mean")
        scenes = clearpose_scenes(source, split, views)
    else:
        captures = find_captures(source, views)
        scenes = [capture.scene(conventions) for capture in captures]
    unusual: dict[str, Any] = conventions.unusual
    settings = RecordedSettings(
        task=task,
        split=split,
        layout=layout,
        source=source.resolve().name,
        views=views,
        resolution=resolution,
        scenes=tuple(scene.name for scene in scenes),
        poses=_have_poses(scenes, source),
        **unusual,
    )
    examination = _Examination(source, scenes, captures, conventions, resolution, accept, reporter)
    written = write_recorded(
        output, settings, source, scenes, check=examination, overwrite=overwrite, reporter=reporter
    )
    return Converted(output / dataset_name(0), len(scenes), written, settings.poses, examination.checks)


@dataclass(frozen=True)
class _Examination:
    """Looks at scenes before they are converted."""

    source: Path
    scenes: Sequence[RecordedScene]
    captures: Sequence[Capture]
    """The same scenes as they lie on disk; none if what their numbers mean is not in doubt."""
    conventions: Conventions
    resolution: int
    accept: bool
    reporter: Reporter
    checks: dict[str, Check] = field(default_factory=dict)
    """What was found, by scene."""

    def __call__(self, numbers: Sequence[int]) -> None:
        """InputError if one has no depth, or frames of several sizes, or is wrong and that is not accepted."""
        for number in numbers:
            scene = self.scenes[number]
            if self.captures and self.conventions.intrinsics_size is None:
                self.captures[number].check_sizes()
            found = check([scene.read(view) for view in some_views(scene.num_views)], self.resolution)
            if found.median_depth is None:
                raise InputError(f"{self.source / scene.name}: the depth of all its frames is unknown (0)")
            self.checks[scene.name] = found
            self.reporter.info(f"{scene.name}: {_described(found)}")
            if found.depth_is_strange and self.captures:
                self.reporter.warning(
                    f"{scene.name}: a median depth of {found.median_depth:.3g} m is unusual: is depth_scale right?"
                )
        if not self.captures:
            return
        wrong = [number for number in numbers if self._check(number).is_wrong]
        unsure = [number for number in numbers if self._check(number).says_little and number not in wrong]
        improvable = [
            number for number in numbers if number not in (*wrong, *unsure) and self._check(number).may_be_better
        ]
        for number in [
            *wrong[: 1 if self.accept else None],
            *unsure[:_TRIED],
            *improvable[: _TRIED if self.accept else None],
        ]:  # all are likely to be wrong in the same way
            self._judge(number)

    def _check(self, number: int) -> Check:
        return self.checks[self.scenes[number].name]

    def _judge(self, number: int) -> None:
        """InputError or a warning if a scene is wrong; a warning if there is too little to tell; nothing if it is right."""
        name, found, better = self.scenes[number].name, self._check(number), self._likeliest(number)
        if not found.is_wrong and not found.says_little and not (better and found.is_surpassed_by(better[1])):
            return
        if better is None and not found.is_wrong:
            self.reporter.warning(
                f"{name}: too few pixels are seen by two views to tell whether its conventions are right"
            )
            return
        remedy = better[0].differing(self.conventions) if better else {}
        words = f"{self.source / name}: {_complaint(found)}"
        words += f"; {_promise(remedy, better[1])}" if better else "; no usual mistake explains it"
        if not self.accept:
            raise InputError(
                f"{words}; set what is wrong, or set accept to convert it as it is",
                argument=next(iter(remedy), "accept"),
            )
        self.reporter.warning(words)

    def _likeliest(self, number: int) -> tuple[Conventions, Check] | None:
        """Conventions that would make a scene right, and the scene with them."""
        capture = self.captures[number]
        frames = [capture.read(view) for view in some_views(len(capture.chosen), TRIED_VIEWS)]
        height, width = frames[0].depth.shape
        other = likeliest(
            lambda other: [frame.view(other) for frame in frames],
            self.conventions,
            (width, height),
            self.resolution,
        )
        if other is None:
            return None
        scene = capture.scene(other)
        return other, check([scene.read(view) for view in some_views(scene.num_views)], self.resolution)


def _described(found: Check) -> str:
    depth = f"median depth {found.median_depth:.3g} m"
    if found.agreement is None:
        return depth
    seen = found.agreement
    if not seen.co_visible:
        return f"no pixel is seen by two views ({seen.pixels:,} were compared); {depth}"
    return (
        f"{seen.share:.1%} of the {seen.co_visible:,} pixels that two views see agree within 1%, {seen.rough_share:.1%} "
        f"within 5% ({seen.pixels:,} were compared); {depth}"
    )


def _complaint(found: Check) -> str:
    """What is wrong with a scene."""
    words, seen = [], found.agreement
    if seen is not None and found.disagrees:
        words.append(f"its views disagree ({seen.rough_share:.0%} of {seen.co_visible:,} pixels agree within 5%)")
    elif seen is not None and found.says_little:
        words.append(f"its views see little of each other ({seen.co_visible:,} of {seen.pixels:,} pixels)")
    elif seen is not None and found.is_centred:
        words.append(
            f"its views agree less than they can ({seen.rough_share:.0%} of {seen.co_visible:,} pixels within 5%)"
        )
    if not found.is_centred:
        x, y = found.principal_point
        words.append(f"its principal point lies at {x:.0%} of the width and {y:.0%} of the height")
    return " and ".join(words)


def _promise(remedy: Mapping[str, Any], found: Check) -> str:
    """What other conventions would bring."""
    if found.agreement is None:
        return f"{shown(remedy)} would bring it to the middle"
    return (
        f"with {shown(remedy)} {found.agreement.rough_share:.0%} of {found.agreement.co_visible:,} pixels would agree"
    )


def _have_poses(scenes: list[RecordedScene], source: Path) -> bool:
    known = [scene.name for scene in scenes if scene.has_poses]
    if known and len(known) < len(scenes):
        unknown = next(scene.name for scene in scenes if not scene.has_poses)
        raise InputError(f"{source}: {known[0]} has poses and {unknown} has none; convert them separately")
    return bool(known)
