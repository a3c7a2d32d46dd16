"""Within a data set only the attribute varies, between data sets the rest does, and a sceptic's check sees a breach."""

from __future__ import annotations

import msgspec
import pytest

from experiments.scenes.streams import PARTS, VARIED
from tests.experiments.synthetic import variation
from tests.experiments.synthetic.conftest import ATTRIBUTES, draw_datasets

SLIGHT = {"location", "rotation", "size", "bevel", "radius", "thickness", "points[]"}


def test_only_the_attribute_varies_within_and_the_rest_between(datasets):
    variation.check_control(datasets)
    origin = datasets[0][0].provenance
    fields = variation.varying_fields(datasets)
    within = {field.path for field in fields if field.within}
    slight = {path for path in within if path.startswith("objects") and path.rsplit(".", 1)[-1] in SLIGHT}
    if (origin.attribute, origin.setting) == ("texture", "object_centric"):
        assert {"objects[].location", "objects[].size", "objects[].rotation"} <= slight
        within -= slight
    varied = {path.split(".")[0].split("[")[0] for path in within}
    assert varied == set(VARIED[origin.attribute])
    between = {field.path.split(".")[0].split("[")[0] for field in fields if field.between}
    assert between == set(PARTS)
    if origin.attribute == "camera":
        assert within == {"cameras.views[].world_to_camera"}
    if origin.attribute == "geometry":
        assert {"objects[]", "objects[].shape.kind", "objects[].size", "objects[].material"} <= within


def _altered(scene, part):
    """One number of a part changed."""
    match part:
        case "objects":
            thing = scene.objects[3]
            things = (
                *scene.objects[:3],
                msgspec.structs.replace(thing, material=thing.material + 1),
                *scene.objects[4:],
            )
            return msgspec.structs.replace(scene, objects=things)
        case "materials":
            material = msgspec.structs.replace(scene.materials[7], coat=0.123)
            return msgspec.structs.replace(scene, materials=(*scene.materials[:7], material, *scene.materials[8:]))
        case "lighting":
            environment = msgspec.structs.replace(scene.lighting.environment, strength=0.777)
            return msgspec.structs.replace(
                scene, lighting=msgspec.structs.replace(scene.lighting, environment=environment)
            )
    view = msgspec.structs.replace(scene.cameras.views[1], fx=scene.cameras.views[1].fx + 1)
    views = (scene.cameras.views[0], view, *scene.cameras.views[2:])
    return msgspec.structs.replace(scene, cameras=msgspec.structs.replace(scene.cameras, views=views))


PATHS = {
    "objects": r"objects\[\]\.material",
    "materials": r"materials\[\]\.coat",
    "lighting": r"lighting\.environment\.strength",
    "cameras": r"cameras\.views\[\]\.fx",
}


@pytest.mark.parametrize("attribute", [a for a in ATTRIBUTES if a != "mixed"])
@pytest.mark.parametrize("part", PARTS)
def test_a_breach_is_named(attribute, part):
    first, (a, b, c) = draw_datasets(attribute, "object_centric" if attribute == "lighting" else "micro_baseline")
    broken = [first, [a, _altered(b, part), c]]
    if part in VARIED[attribute] and part != "cameras":
        variation.check_control(broken)
        return
    with pytest.raises(ValueError, match=f"data set 1, scenes 0 and 1: {PATHS[part]} varies"):
        variation.check_control(broken)


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_an_attribute_that_does_not_vary_is_named(attribute):
    (a, _, _), second = draw_datasets(attribute, "object_centric")
    with pytest.raises(ValueError, match=f"data set 0: {VARIED[attribute][0]} do not vary"):
        variation.check_control([[a, a], second])


def test_a_fixed_part_that_two_data_sets_share_is_named():
    first, second = draw_datasets("texture", "micro_baseline")
    copied = [msgspec.structs.replace(scene, lighting=first[0].lighting) for scene in second]
    with pytest.raises(ValueError, match="data sets 0 and 1: lighting are the same"):
        variation.check_control([first, copied])


def test_a_large_move_is_no_slight_variation():
    first, (a, b, c) = draw_datasets("texture", "object_centric")
    x, y, z = b.objects[2].location
    far = msgspec.structs.replace(b.objects[2], location=(x + 0.5, y, z))
    moved = msgspec.structs.replace(b, objects=(*b.objects[:2], far, *b.objects[3:]))
    with pytest.raises(ValueError, match=r"objects\[2\]\.location varies by 0\.\d+ m"):
        variation.check_control([first, [a, moved, c]])
    w, d, h = b.objects[2].size
    wide = msgspec.structs.replace(b.objects[2], size=(2 * w, d, h))
    big = msgspec.structs.replace(b, objects=(*b.objects[:2], wide, *b.objects[3:]))
    with pytest.raises(ValueError, match=r"objects\[2\]\.size varies"):
        variation.check_control([first, [a, big, c]])


def test_scenes_of_two_attributes_are_refused():
    with pytest.raises(ValueError, match="one attribute and setting"):
        variation.check_control(
            [draw_datasets("texture", "object_centric")[0], draw_datasets("camera", "object_centric")[1]]
        )
