"""Multi-view data sets on disk: how they are written, verified, read and looked at.

A data set is a folder of public formats::

    manifest.json            settings, counts, versions, timings, failed scenes, sha256 of every file
    contact_sheet.png        some views of some scenes
    scene_0000/
        spec.json            the complete description of the scene, see experiments.scenes.schema; not of recorded ones
        cameras.json         intrinsics and extrinsics of all views, with their conventions; names of recorded frames
        images/000000.png    8-bit sRGB
        arrays/000000.npz    depth (H, W) float32, z in metres, 0 where there is none
                             valid (H, W) bool, where there is a surface
                             normal (H, W, 3) float16, in the camera's frame (OpenCV), unit length, averaged over
                             the pixel and with the materials' relief, 0 where not valid
                             object_id (H, W) uint16, place in the spec's objects plus one, or a recording's label;
                             0 where not valid
                             glass (H, W) bool, where the first surface belongs to a transparent object
                             mask (H, W) bool, optional: valid pixels that count when the task is evaluated
        record.json          sha256 of the files above, how long they took, attempts that failed before

:class:`~experiments.data.dataset.Dataset` reads it. Each view is a pair of files, so a few views of a long scene are read
alone. A scene's folder appears complete or not at all; the manifest is written last.

Recorded scenes (:mod:`experiments.data.recorded`) are centred squares of their frames. Their normals are computed from depth
and 0 where that has gaps or edges. Where the manifest says ``"poses": false``, all cameras stand at the origin for want of
better knowledge, and each view's depth stands alone.
"""
