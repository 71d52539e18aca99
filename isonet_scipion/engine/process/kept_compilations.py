"""What JAX has compiled is kept in the user's cache folder, so that the next process need not compile it again."""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from isonet_scipion.engine.process.processor import processor_features

log = logging.getLogger(__name__)
MOST_BYTES = 512 << 20  # of all that is kept; what was used longest ago goes first
FOLDER = "isonet_scipion/compiled"
DIGEST = hashlib.sha256().digest_size


def user_folder() -> Path:
    """The folder, which is made where it is missing: nobody else may write there, for what it holds is run.

    Raises
    ------
    OSError
        If it can't be used.
    """
    given = os.environ.get("XDG_CACHE_HOME", "")
    folder = Path(given if os.path.isabs(given) else os.path.expanduser("~/.cache"), FOLDER)
    if not folder.is_absolute():
        raise OSError("there is no home folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise OSError(f"{folder} is no folder where this user alone may write")
    with tempfile.TemporaryFile(dir=folder):
        return folder


class Compilations:
    """What JAX asks for what was compiled: whole files, each with a checksum, of any number of processes at once."""

    def __init__(self, folder: Path, most: int = MOST_BYTES) -> None:
        """Keep at most `most` bytes in a folder of `user_folder`."""
        self._path, self._most = folder, most  # JAX logs `_path`
        self._machine = _machine()
        self._is_full = False

    def get(self, key: str) -> bytes | None:
        """What was put under a key; None where that is not there, or not whole."""
        path = self._file(key)
        try:
            stored = path.read_bytes()
            os.utime(path)  # for `_trim`
        except OSError:
            return None
        content = stored[DIGEST:]
        if hashlib.sha256(content).digest() == stored[:DIGEST]:
            return content
        with suppress(OSError):
            path.unlink()
        return None

    def put(self, key: str, value: bytes) -> None:
        """Keep something under a key, at the cost of what was used longest ago."""
        if self._is_full or len(value) + DIGEST > self._most:
            return
        try:
            self._trim(self._most - len(value) - DIGEST)
            with tempfile.NamedTemporaryFile(dir=self._path, delete=False) as file:
                try:
                    file.write(hashlib.sha256(value).digest() + value)
                    file.flush()
                    os.replace(file.name, self._file(key))
                except BaseException:
                    Path(file.name).unlink(missing_ok=True)
                    raise
        except FileNotFoundError:
            return  # another process took it for old
        except OSError as error:
            self._is_full = True
            log.info("What JAX compiles is no longer kept for the next start: %s.", error)

    def _file(self, key: str) -> Path:
        return self._path / f"{self._machine}-{key}"

    def _trim(self, most: int) -> None:
        """Delete what was used longest ago, until no more than `most` bytes are left."""
        found = []
        for path in self._path.iterdir():
            with suppress(FileNotFoundError):  # another process deletes too
                state = path.stat()
                found.append((state.st_mtime, state.st_size, path))
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= most:
                return
            path.unlink(missing_ok=True)
            total -= size


def _machine() -> str:
    """A word for the processor's kind: what was compiled for one may hold instructions that another lacks."""
    return hashlib.sha256((platform.machine() + processor_features()).encode()).hexdigest()[:8]
