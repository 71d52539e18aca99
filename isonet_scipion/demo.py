"""The way without training in a real Scipion project, headless, on a tomogram that is made on the spot.

    python -m isonet_scipion.demo [--folder isonet_demo]

Leaves the corrected tomogram, a picture of it, before and after, and a report in the folder. Scipion's own window shows
the same project with `python -m scipion project isonet_demo` and SCIPION_USER_DATA set to the folder's scipion/data.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from isonet_scipion import scipion_home
from isonet_scipion.engine.conventions import REPORT_PAGE

if TYPE_CHECKING:
    from pyworkflow.project import Project
    from pyworkflow.protocol import Protocol

PROJECT = "isonet_demo"
TEMPLATES = Path(__file__).parent / "templates"
TEMPLATE = TEMPLATES / "isonet_no_training.json.template"  # on two cores better than a training of some minutes
NAME = "phantom"  # tsId of the tomogram

# There is one tomogram, and with more threads Scipion waits for others; all else is as the template and the forms say
ONE_THREAD = {"numberOfThreads": 1}
SMALL = {"ProtIsoNetDeconv": ONE_THREAD, "ProtIsoNetPredict": ONE_THREAD}


def say(text: str) -> None:
    print(text, flush=True)


@contextlib.contextmanager
def following(log: Path) -> Iterator[None]:
    """Print what is written to a log as it comes."""
    done = threading.Event()

    def follow() -> None:
        position = 0
        while True:
            isLast = done.is_set()
            if log.exists():
                with open(log, "rb") as file:
                    file.seek(position)
                    lines, newline, _ = file.read().rpartition(b"\n")
                position += len(lines + newline)
                for line in lines.decode("utf-8", "replace").splitlines():
                    say(f"    {line}")
            if isLast:
                return
            done.wait(1)

    thread = threading.Thread(target=follow)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def loadWorkflow(
    project: Project,
    values: Mapping[str, object],
    template: Path = TEMPLATE,
    small: Mapping[str, Mapping[str, object]] = SMALL,
) -> list[Protocol]:
    """Load a workflow template of the plugin into a project.

    Parameters
    ----------
    project : pyworkflow.project.Project
    values : dict
        Values of the template's fields, by their short names.
    template : Path
    small : dict
        Values that replace the template's and the forms', by the protocols' classes.

    Returns
    -------
    list of Protocol
        In the order of the chain.
    """
    from pyworkflow.template import LocalTemplate

    # Scipion's template class reports every value on standard output
    with contextlib.redirect_stdout(io.StringIO()):
        loader = LocalTemplate("isonet_scipion", str(template))
        loader.replaceEnvVariables()
        loader.parseContent()
        for name, value in values.items():
            loader.setParamValue(name, str(value))
        workflow = loader.createTemplateFile()
    loaded = project.loadProtocols(workflow)
    os.remove(workflow)
    protocols = list(loaded.values())
    for protocol in protocols:
        for name, value in small.get(protocol.getClassName(), {}).items():
            getattr(protocol, name).set(value)
        project.saveProtocol(protocol)
    return protocols


def run(folder: Path) -> Path:
    """Make the tomogram and run the chain on it; returns the corrected tomogram in the project."""
    scipion_home.prepare(folder / "scipion")
    # from here on, since these read the environment
    import pyworkflow
    from pyworkflow.project import Manager

    from isonet_scipion.engine.simulation import phantom

    pyworkflow.Config.getDomain().getProtocols()
    made = phantom.make_example(folder / "tomogram" / f"{NAME}.mrc")
    manager = Manager()
    if manager.hasProject(PROJECT):
        manager.deleteProject(PROJECT)
    project = manager.createProject(PROJECT)
    os.chdir(project.path)
    values = {
        "folder": folder / "tomogram",
        "voxel": made.voxel_size,
        "defocus": made.defocus,
    }
    protocols = loadWorkflow(project, values)
    for number, protocol in enumerate(protocols, 1):
        say(f"[{number}/{len(protocols)}] {protocol.getObjLabel()}")
        started = time.monotonic()
        with following(Path(project.path, protocol.getStdoutLog())):
            project.launchProtocol(protocol, wait=True)
        if protocol.isFailed():
            sys.exit(protocol.getErrorMessage())
        for line in protocol.summary() if number > 1 else ():
            say(f"    {line}")
        say(f"    done in {time.monotonic() - started:.0f} s")
    return Path(project.path, protocols[-1].tomograms.getFirstItem().getFileName())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("isonet_demo"), help="where everything is put")
    folder = parser.parse_args().folder.resolve()
    started = time.monotonic()
    corrected = run(folder)
    tomogram, picture = folder / corrected.name, folder / corrected.with_suffix(".png").name
    shutil.copyfile(corrected, tomogram)
    shutil.copyfile(corrected.with_suffix(".png"), picture)
    shutil.copyfile(corrected.with_name(REPORT_PAGE), folder / REPORT_PAGE)
    say(f"Finished in {(time.monotonic() - started) / 60:.1f} minutes.")
    say(f"Corrected tomogram:    {tomogram}")
    say(f"Picture, before/after: {picture}")
    say(f"Report:                {folder / REPORT_PAGE}")
    say(f"Scipion project:       {Path.cwd()}")


if __name__ == "__main__":
    main()
