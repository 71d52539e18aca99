"""Write the lists of tested packages, with their hashes, that the engine's environment is installed from.

    python lock_requirements.py [--check] [--scipion]

For each backend, with and without CUDA, and each Python, on Linux and x86-64: pip resolves the package's requirements
and says what it would install, for which it downloads gigabytes where there is CUDA. `--check` writes nothing and fails
where a list does not fit the requirements. `--scipion` writes the constraints of Scipion's half instead, all packages
for each Python that Scipion may have; it needs uv (`pip install uv`), which resolves for other Pythons also what comes
as source.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import Requirement

from isonet_scipion import environment

if TYPE_CHECKING:
    from isonet_scipion.interpreters import Version

PLATFORMS = [f"manylinux_2_{minor}_x86_64" for minor in (28, 27, 24, 17)] + ["manylinux2014_x86_64", "linux_x86_64"]
SCIPION_HEAD = "# Made by lock_requirements.py --scipion: versions that fit together. Do not edit.\n"
SCIPION_PYTHONS = tuple((3, minor) for minor in range(8, 13))
NO_INSTALLER = {"pip", "setuptools", "wheel"}  # an environment has its own
HEAD = "# Made by lock_requirements.py: what was tested, for Linux on x86-64. Do not edit.\n"


def resolve(requirements: list[str], python: Version) -> str:
    """The list of all packages with versions and hashes that pip would install, a package a line."""
    platforms = [word for platform in PLATFORMS for word in ("--platform", platform)]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
        command += ["--only-binary=:all:", "--target", folder, "--python-version", ".".join(map(str, python))]
        subprocess.run([*command, *platforms, "--report", str(report), *requirements], check=True)
        packages = json.loads(report.read_text(encoding="utf-8"))["install"]
    lines = []
    for package in packages:
        name, version = package["metadata"]["name"].lower().replace("_", "-"), package["metadata"]["version"]
        lines.append(f"{name}=={version} --hash=sha256:{package['download_info']['archive_info']['hashes']['sha256']}")
    return HEAD + "\n".join(sorted(lines)) + "\n"


def scipion_half() -> list[str]:
    """What the package requires without extras."""
    return [text for text in metadata.requires("isonet_scipion") or [] if "extra ==" not in text]


def constraints(python: Version) -> Path:
    """The file of those of Scipion's half: `pip install -c FILE isonet_scipion`."""
    return environment.PACKAGE / "requirements" / f"scipion-{python[0]}.{python[1]}.txt"


def resolve_constraints(python: Version) -> str:
    """The list of all packages with versions for Scipion's half, a package a line."""
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-header", "--no-annotate"]
    command += ["--python-platform", "x86_64-manylinux_2_28", "--python-version", ".".join(map(str, python)), "-"]
    wanted = "\n".join(scipion_half())
    found = subprocess.run(command, input=wanted, stdout=subprocess.PIPE, text=True, check=True).stdout
    kept = [line for line in found.splitlines() if line.split("==")[0] not in NO_INSTALLER]
    return SCIPION_HEAD + "\n".join(kept) + "\n"


def misfits(file: Path, requirements: list[str]) -> list[str]:
    """Requirements that a list does not meet."""
    rows = [line.split()[0].split("==") for line in file.read_text(encoding="utf-8").splitlines() if "==" in line]
    versions = dict(rows)
    return [
        text
        for text, one in ((text, Requirement(text)) for text in requirements)
        if not one.specifier.contains(versions.get(one.name.lower().replace("_", "-"), ""), prereleases=True)
    ]


def main() -> int:
    """Write or check all lists; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--scipion", action="store_true")
    arguments = parser.parse_args()
    status = 0
    for python in SCIPION_PYTHONS if arguments.scipion or arguments.check else ():
        file = constraints(python)
        if not arguments.check:
            file.write_text(resolve_constraints(python), encoding="utf-8")
            print(file.name, flush=True)
        elif not file.exists() or misfits(file, scipion_half()):
            print(f"{file.name} does not fit the requirements: run lock_requirements.py --scipion", file=sys.stderr)
            status = 1
    if arguments.scipion:
        return status
    for backend, gpu, python in environment.kinds():
        file, wanted = environment.locked(backend, gpu, python), environment.requirements(backend, gpu, python)
        if not arguments.check:
            file.parent.mkdir(exist_ok=True)
            file.write_text(resolve(wanted, python), encoding="utf-8")
            print(file.name, flush=True)
        elif not file.exists() or misfits(file, wanted):
            print(f"{file.name} does not fit the requirements: run lock_requirements.py", file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
