"""What runs inside Blender: imports nothing of the project, only NumPy (1.26 or 2), bpy and its own siblings.

:mod:`.meshes` and :mod:`.surfaces` need NumPy alone and are used by the project as well.
"""
