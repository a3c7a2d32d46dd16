"""Files of which nothing is believed: one reader for each format, which checks sizes before it takes memory.

* :mod:`vggt_jax.reading.regular`: that a file is one, and no pipe that would be waited for
* :mod:`vggt_jax.reading.json_text`: JSON
* :mod:`vggt_jax.reading.arrays`: NumPy's ``.npy`` and ``.npz``
* :mod:`vggt_jax.reading.safetensors_file`: safetensors, which it writes as well
* :mod:`vggt_jax.pictures` and :mod:`weights_convert.torch_file` are those of pictures and of PyTorch's files
"""
