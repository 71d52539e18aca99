"""Files that are either whole or not there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from isonet_scipion.engine.errors import EngineError


@contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Give a temporary name beside `path`; on success it becomes `path`, on failure it is deleted.

    Parameters
    ----------
    path : path
        The file to write. Its folder is made where it is missing.

    Yields
    ------
    Path
        Name to write to, with the same suffix, on the same file system.

    Raises
    ------
    EngineError
        If the folder or the file can't be written (disk full, no permission).
    """
    target = Path(path)
    # always the same name, so that what a killed run left behind is overwritten by the next one
    temporary = target.with_name(f".{target.stem}.partial{target.suffix}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
        yield temporary
        os.replace(temporary, target)
    except OSError as error:
        raise EngineError(
            str(target), f"can't be written ({error.strerror or error})", "Check the free space and the permissions."
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def require_file(path: str | os.PathLike, role: str) -> Path:
    """Return `path` if it is a non-empty file.

    Raises
    ------
    EngineError
        If it is missing, a folder, or empty; the message says that it is the `role`.
    """
    file = Path(path)
    if not file.is_file():
        raise EngineError(str(path), f"the {role} does not exist", "Check the name and the working directory.")
    if file.stat().st_size == 0:
        raise EngineError(str(path), f"the {role} is an empty file", "Make or copy it again.")
    return file
