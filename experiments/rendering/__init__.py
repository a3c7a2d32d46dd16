"""From descriptions of scenes to data sets: Blender in processes of its own, on the cores of this machine."""
