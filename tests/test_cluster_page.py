"""What the page "Many machines" gives to copy: a script for Slurm and a manifest for KubeRay."""

import os
import shlex
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "docs" / "cluster"
SCRIPT = FOLDER / "ray.sbatch"

# Each program notes its arguments; srun does what it is asked to; nobody waits for Ray.
STUB = """#!/bin/sh
echo "$(basename "$0") $*" >> "$LOG"
case "$(basename "$0")" in
    scontrol) printf 'node1\\nnode2\\nnode3\\n' ;;
    srun)
        for argument; do case "$argument" in --*) shift ;; *) break ;; esac; done
        exec "$@" ;;
    ray)
        case "$1" in
            start) exec sleep 60 ;;
        esac ;;
    attribute-subspaces) exit "${STATUS:-0}" ;;
esac
"""


@pytest.fixture
def slurm(tmp_path):
    """A call of the script in an allocation of some nodes: (status, what the programs were called with)."""
    for name in ("scontrol", "srun", "ray", "timeout", "attribute-subspaces"):
        (tmp_path / name).write_text(STUB)
        (tmp_path / name).chmod(0o755)

    def call(*arguments, nodes=3, **environment):
        log = tmp_path / "log"
        log.write_text("")
        given = {
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "LOG": str(log),
            "SLURM_JOB_NUM_NODES": str(nodes),
            "SLURM_JOB_NODELIST": "node[1-3]",
            "SLURM_JOB_ID": "1234567",
            "SLURM_CPUS_ON_NODE": "64",
            **environment,
        }
        done = subprocess.run([SCRIPT, *arguments], env=given, capture_output=True, text=True, timeout=60)
        return done.returncode, [shlex.split(line) for line in log.read_text().splitlines()]

    return call


def test_the_script_starts_ray_on_all_nodes_and_runs_the_command(slurm):
    status, called = slurm("generate", "--attribute=texture", "--store=/shared/a b")
    assert status == 0
    head, others = (
        [call for call in called if call[0] == "srun" and flag in call] for flag in ("--head", "--exclude=node1")
    )
    assert len(head) == len(others) == 1
    assert {"--nodelist=node1", "--nodes=1", "--port=34567", "--num-cpus=64", "--block"} <= set(head[0])
    assert {"--nodes=2", "--ntasks=2", "--address=node1:34567", "--num-cpus=64", "--block"} <= set(others[0])
    command = next(call for call in called if call[0] == "attribute-subspaces")
    assert command[1:3] == ["generate", "--attribute=texture"] and command[-1] == "--executor=ray:node1:34567"
    assert called.index(head[0]) < called.index(others[0]) < called.index(command)


def test_the_script_has_the_commands_status_and_refuses_to_run_nothing(slurm):
    assert slurm("generate", STATUS="2")[0] == 2
    status, called = slurm(nodes=1)
    assert (status, called) == (2, [])
    _, called = slurm("generate", nodes=1)
    assert not [call for call in called if "--address=node1:34567" in call and "start" in call]


def only(required=(), **properties):
    return {"type": "object", "additionalProperties": False, "required": list(required), "properties": properties}


TEXT, NUMBER, TEXTS = (
    {"type": "string"},
    {"type": "integer", "minimum": 0},
    {"additionalProperties": {"type": "string"}},
)
POD = only(
    ["spec"],
    spec=only(
        ["containers"],
        containers={
            "type": "array",
            "minItems": 1,
            "items": only(
                ["name", "image", "resources"],
                name=TEXT,
                image=TEXT,
                resources=only(limits=TEXTS, requests=TEXTS),
                volumeMounts={"items": only(["name", "mountPath"], name=TEXT, mountPath=TEXT)},
            ),
        },
        volumes={"items": only(["name"], name=TEXT, persistentVolumeClaim=only(["claimName"], claimName=TEXT))},
    ),
)
RAY_JOB = only(
    ["apiVersion", "kind", "metadata", "spec"],
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayJob"},
    metadata=only(["name"], name=TEXT),
    spec=only(
        ["entrypoint", "rayClusterSpec"],
        entrypoint=TEXT,
        submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
        shutdownAfterJobFinishes={"type": "boolean"},
        ttlSecondsAfterFinished=NUMBER,
        backoffLimit=NUMBER,
        rayClusterSpec=only(
            ["headGroupSpec"],
            rayVersion=TEXT,
            headGroupSpec=only(["template"], rayStartParams=TEXTS, template=POD),
            workerGroupSpecs={
                "type": "array",
                "items": only(
                    ["groupName", "minReplicas", "maxReplicas", "template"],
                    groupName=TEXT,
                    replicas=NUMBER,
                    minReplicas=NUMBER,
                    maxReplicas=NUMBER,
                    rayStartParams=TEXTS,
                    template=POD,
                ),
            },
        ),
    ),
)
"""The fields of a RayJob that the manifest may have, with their types and what is required: written by hand after the custom
resource definition ray.io_rayjobs of KubeRay (v1, August 2026), which is 1 MB of YAML with all of a pod's fields. The manifest
was held against that whole definition as well, once, by hand."""


def test_the_manifest_is_a_ray_job():
    jsonschema, yaml = pytest.importorskip("jsonschema"), pytest.importorskip("yaml")
    manifest = yaml.safe_load((FOLDER / "rayjob.yaml").read_text())
    jsonschema.validate(manifest, RAY_JOB)
    groups = manifest["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    for group in groups:
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    assert "blender" in groups[0]["rayStartParams"]["resources"]
    manifest["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["maxReplica"] = 1
    with pytest.raises(jsonschema.ValidationError, match="maxReplica"):
        jsonschema.validate(manifest, RAY_JOB)
