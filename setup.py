"""Installation: ``pip install -e .``; see README.md for the extras."""

from pathlib import Path

from setuptools import find_packages, setup

# jax, jaxlib and flax move together, and pip finds pairs that fit: jax 0.10.2 with flax 0.12.8 (Python 3.11, which newer
# ones no longer support) to jax 0.12 with flax 0.12.12. Nothing here has an upper bound but what is known to break.
JAX = ">=0.10.2"
FLAX = ">=0.12.8"

setup(
    name="attribute-subspaces",
    version="0.2.0",
    description="Mine, compare and fine-tune in the attribute subspaces of 3D foundation models, in JAX",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["subspace*", "vggt_jax*", "weights_convert*", "experiments*"]),
    package_data={
        "subspace": ["py.typed"],
        "vggt_jax": ["py.typed", "weights/*/*"],
        "weights_convert": ["py.typed"],
        "experiments": ["py.typed", "**/*.jinja", "**/*.json", "**/requirements.txt"],
    },
    entry_points={"console_scripts": ["attribute-subspaces = experiments.__main__:main"]},
    install_requires=[
        f"flax{FLAX}",
        f"jax{JAX}",
        f"jaxlib{JAX}",
        "absl-py>=2.1",
        "einops>=0.8",
        "filelock>=3.30",
        "grain>=0.2.18",
        "huggingface_hub>=1",
        "jaxtyping>=0.3.2",
        "jinja2>=3.1",
        "lazy_loader>=0.4",
        "matplotlib>=3.10",
        "ml_dtypes>=0.5",
        "msgspec>=0.20",
        "numpy>=2.1",
        "OpenEXR>=3.4",
        "optax>=0.2.8",
        "orbax-checkpoint>=0.12.8",
        "pillow>=11",
        "safetensors>=0.5",
        "scipy>=1.15",
        "tensorstore>=0.1.84",
        "threadpoolctl>=3.5",
        "tqdm>=4.66",
        "trimesh>=4.6",
        "uv>=0.9",
    ],
    extras_require={
        "cuda": [f"jax[cuda13]{JAX}"],
        "tpu": [f"jax[tpu]{JAX}"],
        # compiles for accelerators that are not there: JAX's plugins, without the libraries that run programs
        "plan": [f"jax[cuda13-local,tpu]{JAX}"],
        "tensorboard": ["tensorboard>=2.19,<3", "tensorboardX>=2.6.4,<3"],
        "wandb": ["wandb>=0.19,<1"],
        # many machines
        "ray": ["ray>=2.49,<3"],
        "heic": ["pillow-heif>=0.21"],
        "store": ["aiobotocore>=3.1", "fsspec>=2025.3", "s3fs>=2025.3"],
        # oracles of tests, which pin what they are compared with
        "torch": ["peft==0.21.2", "torch==2.13.0"],
        "tasks": ["anny==0.6.2", "scikit-image>=0.26,<0.27", "torch==2.13.0"],
        "test": [
            "aiobotocore>=3.1",
            "beartype>=0.20",
            "flask>=3",
            "flask-cors>=5",
            "gcsfs>=2025.3",
            "hypothesis>=6.130",
            "moto[s3]>=5.1",
            "pillow-heif>=0.21",
            "pycolmap>=3.11",
            "pytest>=8.3",
            "pytest-timeout>=2.3",
            "pytest-xdist>=3.6",
            "s3fs>=2025.3",
        ],
        "docs": ["mkdocs-jupyter>=0.26,<0.27", "mkdocs-material>=9.7,<10", "mkdocstrings[python]>=1,<2"],
        "dev": ["evo==1.38.1", "pre-commit>=4,<5", "pyright[nodejs]==1.1.414", "ruff==0.17.6"],
    },
)
