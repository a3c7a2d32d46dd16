"""The process of :mod:`~experiments.tasks.recordings.mat_files`; imports nothing of the project."""

import json
import resource
import sys

import numpy as np
from scipy.io import loadmat


def main(path: str) -> None:
    wanted = json.loads(sys.stdin.read())
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    most = wanted["memory"] if hard == resource.RLIM_INFINITY else min(wanted["memory"], hard)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    content = loadmat(path, variable_names=wanted["frames"], simplify_cells=True)
    answer = {}
    for frame in wanted["frames"]:
        if isinstance(found := content.get(frame), dict):
            answer[frame] = {
                field: np.asarray(found[field], np.float64).tolist() for field in wanted["fields"] if field in found
            }
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except Exception as error:  # SciPy raises many kinds
        sys.exit(" ".join(str(error).split()) or type(error).__name__)
