"""A Scipion of its own, made by the official installer."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path


class Scipion:
    """A Scipion of its own, in which commands are run as a user would."""

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        """Install nothing yet; `say` shows the progress."""
        self.home = folder / "scipion"
        self.projects = folder / "data" / "projects"
        self.scratch = folder
        self._say = say
        # nothing of the environment that pytest runs in, least of all its TensorFlow
        foreign = re.compile("SCIPION|ISONET|KERAS|PYTHON|VIRTUAL")
        kept = {name: value for name, value in os.environ.items() if not foreign.match(name)}
        path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
        # pip compiles nothing: most modules of what it installs are never imported here
        own = {"PATH": path, "SCIPION_USER_DATA": str(folder / "data"), "PIP_COMPILE": "0"}
        self._environment = {**kept, **own}

    def call(self, *command: object, **variables: str) -> subprocess.CompletedProcess:
        """Run a command with additional environment variables; returns its output (stdout and stderr) and status."""
        words = [str(word) for word in command]
        started = time.monotonic()
        self._say(" ".join(words))
        result = subprocess.run(
            words,
            cwd=self.scratch,
            env={**self._environment, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._say(f"    exit status {result.returncode} after {time.monotonic() - started:.0f} s")
        return result

    def scipion3(self, *words: object, **variables: str) -> subprocess.CompletedProcess:
        """Run a command of Scipion's."""
        return self.call(self.home / "scipion3", *words, **variables)

    def ask(self, expression: str) -> object:
        """The value, as JSON can hold it, of an expression about Plugin or environment in Scipion's Python."""
        script = self.scratch / "question.py"
        script.write_text(
            "import json, subprocess\n"
            "from pyworkflow import Config\n"
            "Config.getDomain().getPlugins()\n"
            "from isonet_scipion import environment\n"
            "from isonet_scipion.plugin import Plugin\n"
            f"print('ANSWER', json.dumps({expression}))\n",
            encoding="utf-8",
        )
        result = self.scipion3("python", script)
        (answer,) = re.findall("^ANSWER (.*)$", result.stdout, re.MULTILINE) or [None]
        assert answer, result.stdout
        return json.loads(answer)
