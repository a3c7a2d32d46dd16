"""Speaks the Blender worker's protocol and renders a ball on a floor by exact ray casting, without Blender.

The environment variable STAND_IN holds JSON: ``faults`` by "dataset/scene/attempt", ``seconds`` that a scene takes, a ``log``
to which a line is added for each scene, and whether it is ``broken`` from the start.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

FLOOR, BALL = 1, 2
RADIUS = 0.6


def trace(view, width, height):
    """Depth, world normal and object id of every pixel of a schema's view."""
    import numpy as np

    rotation, translation = np.split(np.reshape(view["world_to_camera"], (3, 4)), [3], axis=1)
    column, row = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    rays = np.stack([(column - view["cx"]) / view["fx"], (row - view["cy"]) / view["fy"], np.ones_like(row)], axis=-1)
    direction, origin = rays @ rotation, -(rotation.T @ translation)[:, 0]  # z = 1 in the camera: distance is depth
    with np.errstate(divide="ignore", invalid="ignore"):
        floor = -(origin[2] + RADIUS) / direction[..., 2]
        a, b, c = (direction**2).sum(-1), direction @ origin, origin @ origin - RADIUS**2
        ball = (-b - np.sqrt(b * b - a * c)) / a
    floor, ball = (np.where(depth > 1e-3, depth, np.inf) for depth in (floor, ball))
    depth = np.minimum(np.where(floor < 10, floor, np.inf), ball)
    seen = np.isfinite(depth)
    point = origin + np.where(seen, depth, 0)[..., None] * direction
    is_ball = ball <= depth
    normal = np.where((is_ball & seen)[..., None], point / RADIUS, [0.0, 0.0, 1.0]) * seen[..., None]
    return np.where(seen, depth, 1e10), normal, np.where(seen, np.where(is_ball, BALL, FLOOR), 0), point


def render(spec, output):
    import numpy as np
    import OpenEXR

    cameras = spec["cameras"]
    for i, view in enumerate(cameras["views"]):
        depth, normal, ids, point = trace(view, cameras["width"], cameras["height"])
        wave = 0.5 + 0.4 * np.sin(5 * point + spec["provenance"]["scene"] + [0, 1, 2])
        layers = {f"Combined.{c}": wave[..., k] * (ids > 0) * 3 for k, c in enumerate("RGB")}
        layers |= {f"Normal.{c}": normal[..., k] for k, c in enumerate("XYZ")}
        layers |= {"Depth.Z": depth, "IndexOB.X": ids}
        channels = {f"ViewLayer.{name}": np.ascontiguousarray(v, np.float32) for name, v in layers.items()}
        header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
        OpenEXR.File(header, channels).write(str(output / f"{i:06d}.exr"))


def misbehave(fault, output):
    if fault == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if fault == "parent":  # the process that began this one
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)
    if fault == "exit":
        sys.exit("Blender ran out of something")
    if fault == "hang":
        time.sleep(3600)
    if fault == "garbage":
        return "Fra:1 Mem:20M | not JSON"
    if fault == "nonsense":
        return '{"ok": true, "seconds": "many"}'
    if fault == "error":
        return '{"ok": false, "error": "the mesh is\\n not closed"}'
    if fault == "corrupt":
        (output / "000001.exr").write_bytes(b"not an image")
    return None


def main():
    told = json.loads(os.environ.get("STAND_IN", "{}"))
    if "--version" in sys.argv:
        print("Python 3.11.0")
        return
    import numpy  # noqa: F401 — before it says that it is ready
    import OpenEXR  # noqa: F401

    if "banner" in told:
        print(told["banner"], flush=True)
    if "broken" in told:
        print(json.dumps({"ready": False, "error": told["broken"]}), flush=True)
        sys.exit(2)
    print(json.dumps({"ready": True, "blender": told.get("version", "0.0 (stand-in)")}), flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        start = time.perf_counter()
        spec = json.loads(Path(job["spec"]).read_bytes())
        provenance = spec["provenance"]
        name = f"{provenance['dataset']}/{provenance['scene']}/{provenance['attempt']}"
        if "log" in told:
            with open(told["log"], "a") as log:
                log.write(f"{name} {os.getpid()} {sorted(os.sched_getaffinity(0))}\n")
        fault = told.get("faults", {}).get(name)
        if fault == "once" and not Path(told["log"] + ".once").exists():
            Path(told["log"] + ".once").touch()
            fault = "crash"
        output = Path(job["output"])
        render(spec, output)
        time.sleep(told.get("seconds", 0))
        answer = misbehave(fault, output)
        seconds = time.perf_counter() - start
        usual = {"ok": True, "seconds": seconds, "build_seconds": 0.0, "peak_memory_gb": 0.1}
        print(answer or json.dumps(usual), flush=True)


if __name__ == "__main__":
    main()
