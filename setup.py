"""Packaging of the plugin; tool settings are in pyproject.toml."""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
INIT = (HERE / "isonet_scipion" / "__init__.py").read_text(encoding="utf-8")
VERSION = re.search(r'^__version__ = "([^"]+)"', INIT, re.MULTILINE).group(1)

# TensorFlow without CUDA is half the download; GPU machines take the extra engine-gpu.
LINUX_PC = "sys_platform == 'linux' and platform_machine == 'x86_64'"
OTHERS = "sys_platform != 'linux' or platform_machine != 'x86_64'"

setup(
    name="isonet_scipion",
    version=VERSION,
    description="Scipion plugin: missing-wedge correction of cryo-ET tomograms with IsoNet's method",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="GPL-3.0-or-later",
    classifiers=[
        "License :: OSI Approved :: GNU General Public License v3 or later (GPLv3+)",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering",
    ],
    keywords="scipion cryo-em cryo-et tomography isonet missing wedge",
    packages=find_packages(),
    package_data={"isonet_scipion": ["protocols.conf", "*.png", "templates/*"]},
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
        "engine": [f"tensorflow-cpu>=2.16; {LINUX_PC}", f"tensorflow>=2.16; {OTHERS}"],
        "engine-gpu": ["tensorflow[and-cuda]>=2.16"],
        "test": ["pytest", "pytest-timeout", "hypothesis", "ruff", "starfile", "scipion-em-imod"],
    },
    entry_points={
        "pyworkflow.plugin": ["isonet_scipion = isonet_scipion"],
        "console_scripts": ["isonet-engine = isonet_scipion.engine.cli:main"],
    },
)
