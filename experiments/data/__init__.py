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
        record.json          sha256 of the files above, how long they took, attempts that failed before, and what the
                             user's files were that the scene was made from: scans, recordings
    inputs.json              where scenes show the user's textures: what these were

:class:`~experiments.data.dataset.Dataset` reads it. Each view is a pair of files, so a few views of a long scene are read
alone. A scene's folder appears complete or not at all; the manifest is written last.

- :mod:`~experiments.data.manifest`, :mod:`~experiments.data.scene_folder`: the files of a data set, and of a scene;
- :mod:`~experiments.data.production`: data sets in the making, and what of them can be kept;
- :mod:`~experiments.data.inputs`: the user's files that scenes were made from, and whether they have changed;
- :mod:`~experiments.data.passes`, :mod:`~experiments.data.tone_mapping`: from the renderer's files to depth and pictures;
- :mod:`~experiments.data.recorded`, :mod:`~experiments.data.cropping`: from a camera's files to the same;
- :mod:`~experiments.data.observations`: views as training reads them;
- :mod:`~experiments.data.geometry`, :mod:`~experiments.data.agreement`: points of depth maps, and whether views agree on them;
- :mod:`~experiments.data.contact_sheet`: sheets of pictures.

Recorded scenes (:mod:`experiments.data.recorded`) are centred squares of their frames. Their normals are computed from depth
and 0 where that has gaps or edges. Where the manifest says ``"poses": false``, all cameras stand at the origin for want of
better knowledge, and each view's depth stands alone.
"""
