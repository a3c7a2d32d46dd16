"""From photos to point cloud, cameras and depth maps in public formats; the parts of ``experiments.reconstruct``."""
