"""Packaging of the plugin; tool settings are in pyproject.toml."""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
INIT = (HERE / "isonet_scipion" / "__init__.py").read_text(encoding="utf-8")
VERSION = re.search(r'^__version__ = "([^"]+)"', INIT, re.MULTILINE).group(1)

# Python: TensorFlow and Keras that were tested together
TESTED = {
    "python_version < '3.10'": ("2.20.0", "3.10.0"),
    "python_version == '3.10'": ("2.21.0", "3.12.4"),
    "python_version > '3.10'": ("2.21.0", "3.15.1"),
}
# TensorFlow without CUDA is half the download; GPU machines take the extra engine-gpu.
LINUX_PC = "sys_platform == 'linux' and platform_machine == 'x86_64'"
OTHERS = "(sys_platform != 'linux' or platform_machine != 'x86_64')"
CPU, GPU, KERAS = [], [], []
for where, (tensorflow, keras) in TESTED.items():
    CPU += [f"tensorflow-cpu=={tensorflow}; {LINUX_PC} and {where}", f"tensorflow=={tensorflow}; {OTHERS} and {where}"]
    GPU += [f"tensorflow[and-cuda]=={tensorflow}; {where}"]
    KERAS += [f"keras=={keras}; {where}"]

setup(
    name="isonet_scipion",
    version=VERSION,
    description="Scipion plugin: missing-wedge correction of cryo-ET tomograms with IsoNet's method",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="GPL-3.0-or-later",
    classifiers=[
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering",
    ],
    keywords="scipion cryo-em cryo-et tomography isonet missing wedge",
    packages=find_packages(),
    # makes an editable installation a path (.pth): pip's other way fails beside a folder with the package's name
    package_dir={"": "."},
    package_data={
        "isonet_scipion": ["protocols.conf", "*.png", "templates/*"],
        "isonet_scipion.engine": ["builtin/*.keras", "builtin/*.md"],
    },
    python_requires=">=3.9,<3.13",
    install_requires=[
        "scipion-app",
        "scipion-pyworkflow",
        "scipion-em",
        "scipion-em-tomo",
        "numpy",
        "scipy",
        "mrcfile",
        "emtable",
        "imodmodel",
        "click",
        "tqdm",
        "matplotlib",
        "h5py",
        "psutil",
        "packaging",
    ],
    extras_require={
        "engine": CPU + KERAS,
        "engine-gpu": GPU + KERAS,
        "test": [
            "pytest",
            "pytest-timeout",
            "pytest-xdist",
            "hypothesis",
            "ruff",
            "jax<0.5",  # what Scipion's SciPy allows
            "starfile",
            "scipion-em-imod",
            "scipion-installer",
            "virtualenv",
        ],
    },
    entry_points={
        "pyworkflow.plugin": ["isonet_scipion = isonet_scipion"],
        "console_scripts": ["isonet-engine = isonet_scipion.engine.cli:main"],
    },
)
