"""From photos to a point cloud, cameras and depth maps in public formats::

from experiments.reconstruction import Settings, reconstruct

found = reconstruct(Settings("photos", weights="hf:facebook/VGGT-1B"))
found.cloud.positions, found.scene.extrinsics, found.folder
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from experiments.reconstruction.pipeline import ReconstructionResult as ReconstructionResult
    from experiments.reconstruction.pipeline import reconstruct as reconstruct
    from experiments.reconstruction.settings import Settings as Settings

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submod_attrs={"pipeline": ["ReconstructionResult", "reconstruct"], "settings": ["Settings"]}
)
