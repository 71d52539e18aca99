"""What pyproject.toml can't say of the package: the pinned backends, and which tests are installed."""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

TESTS = "isonet_scipion.tests"
NEEDS_PYTEST = re.compile("^(import|from) (pytest|hypothesis)", re.MULTILINE)
# Python: TensorFlow and Keras that were tested together. The engine's own environment has Python 3.10 or newer.
TESTED = {
    "python_version == '3.9'": ("2.20.0", "3.10.0"),
    "python_version == '3.10'": ("2.21.0", "3.12.4"),
    "python_version > '3.10'": ("2.21.0", "3.15.1"),
}
# TensorFlow without CUDA is half the download; for GPU machines there are the extras with -gpu.
LINUX_PC = "sys_platform == 'linux' and platform_machine == 'x86_64'"
OTHERS = "(sys_platform != 'linux' or platform_machine != 'x86_64')"
CPU, GPU, KERAS = [], [], []
for where, (tensorflow, keras) in TESTED.items():
    CPU += [f"tensorflow-cpu=={tensorflow}; {LINUX_PC} and {where}", f"tensorflow=={tensorflow}; {OTHERS} and {where}"]
    GPU += [f"tensorflow[and-cuda]=={tensorflow}; {where}"]
    KERAS += [f"keras=={keras}; {where}"]
# zarr 3 needs Python 3.11
ZARR = "zarr>=3.1; python_version > '3.10'"
SITE = ["mkdocs<2", "mkdocs-material", "mkdocstrings[python]"]


class BuildWithRunnableTests(build_py):
    """Leaves out the tests that Scipion's own runner can't run."""

    def find_package_modules(self, package: str, package_dir: str) -> list[tuple[str, str, str]]:
        """Modules of a package as (package, module, file)."""
        found = super().find_package_modules(package, package_dir)
        if not package.startswith(TESTS):
            return found
        return [module for module in found if not NEEDS_PYTEST.search(Path(module[2]).read_text(encoding="utf-8"))]


setup(
    packages=find_packages(
        exclude=[f"{TESTS}.{name}" for each in ("engine", "faults", "install") for name in (each, f"{each}.*")]
    ),
    # makes an editable installation a path (.pth): pip's other way fails beside a folder with the package's name
    package_dir={"": "."},
    cmdclass={"build_py": BuildWithRunnableTests},
    extras_require={
        "engine": CPU + KERAS,
        "engine-tensorflow": CPU + KERAS,
        "engine-tensorflow-gpu": GPU + KERAS,
        "engine-jax": ["jax>=0.6", *KERAS],
        "engine-jax-gpu": ["jax[cuda12]>=0.6", *KERAS],
        "zarr": [ZARR],
        "docs": SITE,
        "test": [
            "pytest",
            "pytest-timeout",
            "pytest-xdist>=3.8",  # --no-loadscope-reorder
            "hypothesis",
            "ruff",
            "mypy",
            *SITE,
            "jax<0.5",  # what Scipion's SciPy allows
            "starfile",
            "scipion-em-imod",
            "scipion-installer",
            ZARR,
            "virtualenv",
        ],
    },
)
