"""What a scene is, whoever makes it and whatever renders it.

- :mod:`~experiments.scenes.schema`: its complete description, one JSON file;
- :mod:`~experiments.scenes.streams`: which of its parts each attribute varies, and a random stream for each part;
- :mod:`~experiments.scenes.support`: how far points are from its objects;
- :mod:`~experiments.scenes.mesh_files`: textured meshes of other programs as parts of it.
"""
