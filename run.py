"""Set everything up in .venv and run one thing there.

    python3 run.py demo    the whole chain in a Scipion project, on an example tomogram made on the spot
    python3 run.py test    ruff and all tests, also of the installation in a Scipion by its official installer

Needs Python 3.9 to 3.12 and nothing else; a second call finds everything set up and starts at once.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

HERE = Path(__file__).resolve().parent
VENV = HERE / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "installed-for"
# What the standard library needs beyond Debian's python3, by the package that brings it.
MODULES = {"ensurepip": "python3-venv", "tkinter": "python3-tk"}
# What the tests call: Scipion's installer of programs, and a screen for Scipion's windows.
PROGRAMS = {"wget": "wget", "Xvfb": "xvfb"}


def say(text: str) -> None:
    print(f"== {text}", flush=True)


def call(*command: str | Path) -> int:
    """Run a command in the checkout; returns its exit status."""
    return subprocess.run([str(part) for part in command], cwd=HERE).returncode


def missing_packages(modules: Iterable[str], programs: Iterable[str]) -> list[str]:
    """Debian's packages of the modules that this Python was packaged without, and of absent programs."""
    absent = [
        module
        for module in modules
        if subprocess.run([sys.executable, "-c", f"import {module}"], stderr=subprocess.DEVNULL).returncode
    ]
    return [MODULES[module] for module in absent] + [PROGRAMS[name] for name in programs if not shutil.which(name)]


def complete_machine(modules: Iterable[str] = (), programs: Iterable[str] = ()) -> None:
    """Install what this machine lacks (Debian's python3 has neither venv nor tkinter), or say what to install."""
    packages = missing_packages(modules, programs)
    if not packages:
        return
    rights = [] if os.geteuid() == 0 else ["sudo", "-n"]
    if shutil.which("apt-get") and (not rights or shutil.which("sudo")):
        say(f"Installing {' and '.join(packages)}")
        install = [*rights, "apt-get", "install", "-y", "-q", "--no-install-recommends", *packages]
        if subprocess.run(install).returncode:
            subprocess.run([*rights, "apt-get", "update", "-q"])
            subprocess.run(install)
    missing = missing_packages(modules, programs)
    if missing:
        sys.exit(
            f"{sys.executable} lacks what these packages of Debian and Ubuntu bring: {', '.join(missing)}. Install "
            f"them: sudo apt-get install {' '.join(missing)}, then call /usr/bin/python3 run.py ... "
            "With another Python: build it with Tk, or use one that has it."
        )


def set_up() -> None:
    """Make .venv and install the package with all that the commands need, unless that is done already."""
    if not (3, 9) <= sys.version_info < (3, 13):
        sys.exit(f"Python {sys.version.split()[0]}: Scipion needs Python 3.9 to 3.12. Call run.py with one of these.")
    sources = [HERE / "setup.py", HERE / "pyproject.toml"]
    # The folder is part of it: a virtual environment does not survive being moved.
    wanted = hashlib.sha256(b"".join(path.read_bytes() for path in sources) + bytes(HERE)).hexdigest()
    if STAMP.exists() and STAMP.read_text() == wanted:
        return
    complete_machine(modules=MODULES)
    say(f"Making the virtual environment {VENV}")
    status = call(sys.executable, "-m", "venv", "--clear", VENV)
    if not status:
        say("Installing Scipion, TensorFlow and the plugin (some minutes)")
        # One call, so that every package fits Scipion's pinned versions.
        status = call(PYTHON, "-m", "pip", "install", "--disable-pip-version-check", "-e", ".[engine,test]")
    if status:
        sys.exit(f"The installation failed with exit status {status}: see above. Mend the cause and call run.py again.")
    STAMP.write_text(wanted)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("demo", "test"))
    parser.add_argument("rest", nargs=argparse.REMAINDER, help="passed on to the demonstration or to pytest")
    arguments = parser.parse_args()
    set_up()
    if arguments.what == "demo":
        say("Running the demonstration")
        sys.exit(call(PYTHON, "-m", "isonet_scipion.demo", *arguments.rest))
    say("ruff")
    style = call(PYTHON, "-m", "ruff", "check", ".")
    complete_machine(programs=PROGRAMS)
    say("pytest")
    # an empty -m: also the tests that pytest alone leaves out (pyproject.toml); two at a time, since many mostly wait
    sys.exit(call(PYTHON, "-m", "pytest", "-m", "", "-n", "2", "--dist", "loadfile", *arguments.rest) or style)


if __name__ == "__main__":
    main()
