"""Set everything up and run one thing.

    python3 run.py demo            the whole chain in a Scipion project, on an example tomogram made on the spot
    python3 run.py test            style, types, docs and all tests, also of the installation in an official Scipion
    python3 run.py engine FOLDER   only the engine, without Scipion: the command FOLDER/env/bin/isonet-engine

Demonstration and tests live in .venv, where a second call finds everything set up and starts at once. They need Python
3.9 to 3.12, which Scipion needs; where python3 is another one, such a Python is looked for, or got by conda or uv.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TextIO
from xml.etree import ElementTree

from isonet_scipion.interpreters import Elsewhere, NoPython, find_python, for_pip, refuse_elsewhere

HERE = Path(__file__).resolve().parent
VENV = HERE / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "installed-for"
SCIPIONS = ((3, 11), (3, 12), (3, 10), (3, 9))  # Pythons that Scipion runs on, the preferred one first
# What the standard library needs beyond Debian's python3, by the package that brings it.
MODULES = {"ensurepip": "python3-venv", "tkinter": "python3-tk"}
# What the tests call: Scipion's installer of programs, and a screen for Scipion's windows.
PROGRAMS = {"wget": "wget", "Xvfb": "xvfb"}


# An empty -m: also the tests that pytest alone leaves out (pyproject.toml); two at a time; in the order that
# isonet_scipion/tests/conftest.py gives them.
PYTEST = ("-m", "", "-n", "2", "--dist", "loadfile", "--no-loadscope-reorder")
TESTS = "isonet_scipion/tests"
# In their order: tests, or commands after Python.
STEPS = {
    "engine": f"{TESTS}/engine",
    "faults": f"{TESTS}/faults",
}
# The same, one after the other beside those: they use one processor, or wait: for Scipion, the network and the disk.
BESIDE = {
    "protocols": f"{TESTS}/protocols",
    "style": [["-m", "ruff", "check", "."], ["-m", "ruff", "format", "--check", "."]],
    "types": [["-m", "mypy"]],
    "docs": [["-m", "mkdocs", "build", "--strict", "-q"]],
    "mutations": "benchmarks/test_mutations.py",
    "install": f"{TESTS}/install",
}


def say(text: str, log: TextIO | None = None) -> None:
    print(f"== {text}", file=log, flush=True)


def call(*command: str | Path, cwd: Path | None = HERE, log: TextIO | None = None) -> int:
    """Run a command, in the checkout or in another folder (None: the user's); returns its exit status."""
    words = [str(part) for part in command]
    # where Python keeps nothing that it compiled, each of the tests' hundreds of processes would do it anew
    env = {**for_pip(), "PYTHONDONTWRITEBYTECODE": ""}
    return subprocess.run(words, cwd=cwd, env=env, stdout=log, stderr=log).returncode


def missing_packages(python: str, modules: Iterable[str], programs: Iterable[str]) -> list[str]:
    """Debian's packages of the modules that a Python was packaged without, and of absent programs."""
    absent = [
        module
        for module in modules
        if subprocess.run([python, "-I", "-c", f"import {module}"], stderr=subprocess.DEVNULL).returncode
    ]
    return [MODULES[module] for module in absent] + [PROGRAMS[name] for name in programs if not shutil.which(name)]


def complete_machine(python: str, modules: Iterable[str] = (), programs: Iterable[str] = ()) -> None:
    """Install what this machine lacks (Debian's python3 has neither venv nor tkinter), or say what to install."""
    packages = missing_packages(python, modules, programs)
    if not packages:
        return
    rights = [] if os.geteuid() == 0 else ["sudo", "-n"]
    if shutil.which("apt-get") and (not rights or shutil.which("sudo")):
        say(f"Installing {' and '.join(packages)}")
        install = [*rights, "apt-get", "install", "-y", "-q", "--no-install-recommends", *packages]
        if subprocess.run(install).returncode:
            subprocess.run([*rights, "apt-get", "update", "-q"])
            subprocess.run(install)
    missing = missing_packages(python, modules, programs)
    if missing:
        sys.exit(
            f"{python} lacks what these packages of Debian and Ubuntu bring: {', '.join(missing)}. Install "
            f"them: sudo apt-get install {' '.join(missing)}, then call /usr/bin/python3 run.py ... "
            "With another Python: build it with Tk, or use one that has it."
        )


def fitting_python() -> str:
    """A Python that Scipion runs on: the present one, or another."""
    if sys.version_info[:2] in SCIPIONS:
        return sys.executable
    say(f"Python {sys.version.split()[0]} does not run Scipion: looking for 3.9 to 3.12")
    with contextlib.suppress(NoPython):
        return find_python(SCIPIONS, get=False)
    if not shutil.which("conda"):
        complete_machine(sys.executable, modules=["ensurepip"])  # for the pip that brings uv
    try:
        return find_python(SCIPIONS)
    except NoPython as error:
        sys.exit(f"Scipion can't be installed here. {error}")


def require_writable() -> None:
    """End with a message where pip, which writes the package's metadata beside the code, may not."""
    if not os.access(HERE, os.W_OK):
        sys.exit(
            f"You may not write in {HERE}, as pip has to: copy it to a folder of yours, or ask its owner to do this."
        )


def set_up() -> None:
    """Make .venv and install the package with all that the commands need, unless that is done already."""
    sources = [HERE / "setup.py", HERE / "pyproject.toml"]
    # The folder is part of it: a virtual environment does not survive being moved.
    wanted = hashlib.sha256(b"".join(path.read_bytes() for path in sources) + bytes(HERE)).hexdigest()
    if STAMP.exists() and STAMP.read_text() == wanted:
        return
    require_writable()
    python = fitting_python()
    complete_machine(python, modules=MODULES)
    say(f"Making the virtual environment {VENV}")
    status = call(python, "-I", "-m", "venv", "--clear", VENV)
    if not status:
        refuse_elsewhere(str(PYTHON))
        say("Installing Scipion, TensorFlow and the plugin (some minutes)")
        # One call, so that every package fits Scipion's pinned versions.
        status = call(PYTHON, "-m", "pip", "install", "--disable-pip-version-check", "-e", ".[engine,test]")
    if status:
        sys.exit(f"The installation failed with exit status {status}: see above. Mend the cause and call run.py again.")
    STAMP.write_text(wanted)


def all_steps() -> int:
    """Run every step, also after one that failed; ends with their times and the numbers of tests. 0 if all passed."""
    with tempfile.TemporaryFile("w+", errors="replace") as log:  # tests and pip may print anything
        with ThreadPoolExecutor() as pool:
            beside = pool.submit(steps, BESIDE, log)
            found = steps(STEPS) + beside.result()
        log.seek(0)
        print(log.read())
    say("Steps")
    print(*(line for line, _, _ in found), sep="\n")
    counts = sum((count for _, _, count in found), Counter())
    failures = sum(has_failed for _, has_failed, _ in found)
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped; {failures} steps failed")
    return int(failures > 0)


def steps(chosen: dict[str, str | list], log: TextIO | None = None) -> list[tuple[str, bool, Counter]]:
    """Run steps in their order; returns of each the line about it, whether it failed, and the numbers of its tests."""
    found = []
    for name, step in chosen.items():
        say(name, log)
        started = time.monotonic()
        if isinstance(step, str):
            status, count = tests(step, log)
            note = f"  {count['passed']} passed, {count['failed']} failed, {count['skipped']} skipped"
        else:
            statuses = [call(PYTHON, *command, log=log) for command in step]
            status, count, note = any(statuses), Counter(), ""
        line = f"{name:10}{'FAILED' if status else 'passed'}{time.monotonic() - started:7.0f} s{note}"
        found.append((line, bool(status), count))
    return found


def tests(folder: str, log: TextIO | None) -> tuple[int, Counter]:
    """Run a folder's tests; returns pytest's exit status and the numbers of tests that passed, failed, were skipped."""
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "tests.xml"
        status = call(PYTHON, "-m", "pytest", *PYTEST, f"--junitxml={report}", folder, log=log)
        if not report.exists():
            return status or 1, Counter()
        suite = next(ElementTree.parse(report).iter("testsuite"))
    total, failed, errors, skipped = (int(suite.get(key)) for key in ("tests", "failures", "errors", "skipped"))
    return status, Counter(passed=total - failed - errors - skipped, failed=failed + errors, skipped=skipped)


def install_engine(options: Sequence[str]) -> int:
    """Make an environment of the engine alone, in any Python; the exit status."""
    require_writable()
    complete_machine(sys.executable, modules=["ensurepip"])
    with tempfile.TemporaryDirectory() as folder:
        # isolated: modules in the user's folder don't count
        python = (Path(folder, "bin", "python"), "-I", "-m")
        # pip reads the requirements out of the package's metadata, which have to be made first
        pip = (*python, "pip", "install", "-q", "--disable-pip-version-check")
        if status := call(sys.executable, "-I", "-m", "venv", folder, cwd=None):
            return status
        refuse_elsewhere(str(python[0]))
        steps = (
            (*pip, "packaging"),
            (*pip, "--no-deps", "--ignore-requires-python", "-e", HERE),
            (*python, "isonet_scipion.installation", *options),
        )
        for step in steps:
            status = call(*step, cwd=None)  # FOLDER and PIP_FIND_LINKS may be relative
            if status:
                return status
    return 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("demo", "test", "engine"))
    parser.add_argument("rest", nargs=argparse.REMAINDER, help="FOLDER, or passed on to the demonstration or to pytest")
    arguments = parser.parse_args()
    try:
        if arguments.what == "engine":
            sys.exit(install_engine(arguments.rest))
        set_up()
    except Elsewhere as error:
        sys.exit(f"Nothing was installed. {error}.")
    if arguments.what == "demo":
        say("Running the demonstration")
        sys.exit(call(PYTHON, "-m", "isonet_scipion.demo", *arguments.rest))
    complete_machine(sys.executable, programs=PROGRAMS)
    if arguments.rest:
        say("pytest")
        sys.exit(call(PYTHON, "-m", "pytest", *PYTEST, *arguments.rest))
    sys.exit(all_steps())


if __name__ == "__main__":
    main()
