"""Makers of scenes in NumPy (Section 4.1 of the paper): from what names a scene to its specification.

- :mod:`~experiments.synthetic.generator` puts a scene together from the random streams of its four parts;
- objects: :mod:`~experiments.synthetic.cluster` without a room, and in :mod:`~experiments.synthetic.rooms` an
  :mod:`~experiments.synthetic.interior` of :mod:`~experiments.synthetic.furniture` and :mod:`~experiments.synthetic.things` of
  random :mod:`~experiments.synthetic.shapes`, where :mod:`~experiments.synthetic.placement` finds room for them;
- materials: :mod:`~experiments.synthetic.materials` draws one for each slot from
  :mod:`~experiments.synthetic.material_families`, :mod:`~experiments.synthetic.palettes` and the user's
  :mod:`~experiments.synthetic.textures`;
- :mod:`~experiments.synthetic.lights`, :mod:`~experiments.synthetic.cameras`, and the distributions of
  :mod:`~experiments.synthetic.draws`.
"""
