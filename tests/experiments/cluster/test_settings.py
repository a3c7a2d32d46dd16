"""Where tasks run, as it is written and as it is refused."""

import pytest
from absl import flags

from experiments.cluster.flags import DEFINE_executor, executor_of
from experiments.cluster.settings import Ray
from experiments.rendering import Settings
from experiments.storage.identity import identity
from subspace.errors import InputError


def given(*arguments):
    values = flags.FlagValues()
    DEFINE_executor(values)
    values(["command", *arguments])
    return executor_of(values)


def test_what_the_flags_mean():
    assert given() is None and given("--executor=local") is None
    assert given("--executor=ray") == Ray()
    assert given("--executor=ray:node0:6379", "--retries=0") == Ray("node0:6379", 0)


def test_ray_places_the_processes_of_a_job():
    of_a_job = {"coordinator": None, "processes": 2, "process": None}
    values = flags.FlagValues()
    DEFINE_executor(values)
    flags.DEFINE_string("coordinator", None, "", flag_values=values)
    flags.DEFINE_integer("processes", None, "", flag_values=values)
    flags.DEFINE_integer("process", None, "", flag_values=values)
    values(["command", "--executor=ray", *(f"--{name}={value}" for name, value in of_a_job.items() if value)])
    assert executor_of(values) == Ray(processes=2)
    values.unparse_flags()
    values(["command", "--executor=ray", "--coordinator=node0:1234"])
    with pytest.raises(InputError) as error:
        executor_of(values)
    assert error.value.argument == "coordinator"


@pytest.mark.parametrize(
    "text", ["slurm", "ray:", "raynode0:6379", "ray:node0", "ray:node0:port", "ray:ray://node0:10001"]
)
def test_what_is_no_executor_is_refused(text):
    with pytest.raises(InputError) as error:
        given(f"--executor={text}")
    assert error.value.argument == "executor"


def test_no_result_depends_on_it():
    assert identity(Settings.of("nano", executor=Ray("node0:6379"))) == identity(Settings.of("nano"))
