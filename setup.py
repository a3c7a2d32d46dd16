"""Installation: ``pip install -e .``; see README.md for the extras."""

from pathlib import Path

from setuptools import find_packages, setup

# jax, jaxlib and flax move together: flax 0.12.8 needs jax >= 0.10, and jax 0.11 breaks it.
JAX = ">=0.10.2,<0.11"
FLAX = ">=0.12.8,<0.13"

setup(
    name="attribute-subspaces",
    version="0.2.0",
    description="Mine, compare and fine-tune in the attribute subspaces of 3D foundation models, in JAX",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["subspace*", "vggt_jax*", "weights_convert*", "experiments*"]),
    package_data={"experiments": ["**/*.jinja", "**/*.json"], "vggt_jax": ["weights/*/*"]},
    entry_points={"console_scripts": ["attribute-subspaces = experiments.__main__:main"]},
    install_requires=[
        f"flax{FLAX}",
        f"jax{JAX}",
        f"jaxlib{JAX}",
        "absl-py>=2.1,<3",
        "einops>=0.8,<1",
        "grain>=0.2.18,<0.3",
        "huggingface_hub>=1,<3",
        "jaxtyping>=0.3.2,<0.4",
        "jinja2>=3.1,<4",
        "lazy_loader>=0.4",
        "matplotlib>=3.10,<4",
        "ml_dtypes>=0.5,<1",
        "msgspec>=0.20,<1",
        "numpy>=2.1,<3",
        "OpenEXR>=3.4,<4",
        "optax>=0.2.8,<0.3",
        "orbax-checkpoint>=0.12.8,<0.13",
        "pillow>=11,<14",
        "safetensors>=0.5,<1",
        "scipy>=1.15,<2",
        "threadpoolctl>=3.5,<4",
        "tqdm>=4.66,<5",
        "trimesh>=4.6,<6",
        "uv>=0.9,<1",
    ],
    extras_require={
        "cuda": [f"jax[cuda13]{JAX}"],
        "tpu": [f"jax[tpu]{JAX}"],
        "tensorboard": ["tensorboard>=2.19,<3", "tensorboardX>=2.6.4,<3"],
        "wandb": ["wandb>=0.19,<1"],
        "torch": ["peft==0.21.2", "torch==2.13.0"],
        "tasks": ["anny==0.6.2", "scikit-image>=0.26,<0.27", "torch==2.13.0"],
        "test": [
            "beartype>=0.20",
            "hypothesis>=6.130,<7",
            "pycolmap>=3.11,<5",
            "pytest>=8.3,<10",
            "pytest-xdist>=3.6,<4",
        ],
        "docs": ["mkdocs-jupyter>=0.26,<0.27", "mkdocs-material>=9.7,<10", "mkdocstrings[python]>=1,<2"],
        "dev": ["pre-commit>=4,<5", "pyright[nodejs]==1.1.414", "ruff==0.17.6"],
    },
)
