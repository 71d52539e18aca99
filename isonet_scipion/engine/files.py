"""Files that are either whole or not there."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
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
    temporary = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.stem}.", suffix=target.suffix, dir=target.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, target)
        temporary = None
    except OSError as error:
        raise EngineError(
            str(target), f"can't be written ({error.strerror or error})", "Check the free space and the permissions."
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _umask() -> int:
    # mkstemp makes private files; the finished one gets the user's usual permissions
    mask = os.umask(0)
    os.umask(mask)
    return mask


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
