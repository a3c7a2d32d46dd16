"""One of two processes of a job with 8 CPU devices: ``python -m tests.experiments.training.two_processes PORT ID FOLDER``."""

import sys

import jax

from experiments.process.reporting import Reporter
from experiments.training.sharding import Placement, make_mesh
from tests.experiments.training import short_run

if __name__ == "__main__":
    port, process, folder = sys.argv[1:]
    jax.distributed.initialize(f"localhost:{port}", num_processes=2, process_id=int(process))
    assert len(jax.devices()) == 8 and len(jax.local_devices()) == 4
    short_run.run(
        folder,
        placement=Placement(make_mesh(adapter=2, model=2)),
        validate=lambda state: {"seen": 1},
        reporter=Reporter(bars=True, delay=0),
    )
