"""NumPy's files, read by several threads."""

import gc
import threading
import time

import numpy as np

from vggt_jax.reading.arrays import read_array


def test_threads_may_read_headers_while_garbage_is_collected(tmp_path):
    """Python's parser counts its depth for all threads together; garbage is sought in it, and callbacks let others go on."""
    np.save(tmp_path / "six.npy", np.arange(6).reshape(2, 3))
    wrong = []

    def read(frames):
        if frames:
            return read(frames - 1)
        for _ in range(60):
            try:
                assert read_array(tmp_path / "six.npy").shape == (2, 3)
            except Exception as error:
                wrong.append(error)

    def let_others_go_on(*_):  # as JAX's does
        time.sleep(1e-5)

    usual = gc.get_threshold()
    threads = [threading.Thread(target=read, args=(frames,)) for frames in range(6)]
    gc.callbacks.append(let_others_go_on)
    try:
        gc.set_threshold(3)
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        gc.set_threshold(*usual)
        gc.callbacks.remove(let_others_go_on)
    assert not wrong
