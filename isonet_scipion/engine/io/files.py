"""Files that are either whole or not there, and that only one command writes at a time."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import socket
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from isonet_scipion.engine.errors import EngineError, system_error
from isonet_scipion.engine.process.signals import signals_put_off

log = logging.getLogger(__name__)
NAME_ERRORS = (errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG)
NAME_REMEDY = "Give another name, whose parts are folders."
WRITE_REMEDY = "Check the free space and the permissions."
_open_now: set[Path] = set()  # temporary files and locks of this process


@contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Give a temporary name beside `path`; on success it becomes `path`, on failure it is deleted.

    The temporary file can be read by its owner only, and never is a link that somebody else put there.

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
        If the folder or the file can't be written (disk full, no permission), or another command is writing it.
    """
    target = Path(path)
    # always the same name, so that what a killed run left behind is overwritten by the next one
    temporary = target.with_name(f".{target.stem}.partial{target.suffix}")
    try:
        with _held(temporary, target, "is being written by another command") as file:
            os.ftruncate(file, 0)
            yield temporary
            os.chmod(temporary, 0o666 & ~_UMASK)
            os.replace(temporary, target)
    except OSError as error:
        raise _not_written(target, error) from error


def write_whole(path: str | os.PathLike, text: str) -> None:
    """Write a text file as `replacing` does."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def in_turn(folder: str | os.PathLike) -> Iterator[None]:
    """Wait until no other process is in such a context with this folder."""
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


@contextmanager
def alone(path: str | os.PathLike) -> Iterator[None]:
    """Keep other commands from writing a file or folder, as long as the context lasts.

    A hidden file beside `path` carries a lock that the system drops with the process, so a killed command
    leaves nothing that could block the next one.

    Raises
    ------
    EngineError
        If another command has it, or the folder can't be written.
    """
    try:
        target = Path(path).absolute()
    except FileNotFoundError as error:
        raise EngineError(str(path), "the working directory was deleted", "Change to another one.") from error
    lock = target.with_name(f".{target.name}.lock")
    missing = [folder for folder in lock.parents if not folder.exists()]
    try:
        with _held(lock, Path(path), "another command is working on it") as file:
            os.ftruncate(file, 0)
            os.write(file, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
            yield
    finally:
        for folder in missing:
            with suppress(OSError):  # it is in use
                folder.rmdir()


@contextmanager
def _held(path: Path, target: Path, taken: str) -> Iterator[int]:
    """Create a private file and lock it; it is deleted at the end, unless it has been renamed."""
    with signals_put_off():
        file = _lock(path, target, taken)
        _open_now.add(path)
    try:
        yield file
    finally:
        if _is_at(file, path):
            path.unlink()
        _open_now.discard(path)
        os.close(file)


def _lock(path: Path, target: Path, taken: str) -> int:
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
        except FileNotFoundError:
            continue  # the folder was removed in between
        except OSError as error:
            raise _not_written(target, error) from error
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            os.close(file)
            raise EngineError(str(target), f"{path.name} beside it is no file of this program", "Move that away.")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = os.read(file, 100).decode("utf-8", "replace").strip() if path.suffix == ".lock" else ""
            os.close(file)
            who = f" ({owner})" if owner else ""
            raise EngineError(str(target), f"{taken}{who}", "Wait for it, or give another output.") from error
        except OSError as error:
            log.warning("%s: this file system has no locks (%s); run one command at a time.", path, error.strerror)
        if _is_at(file, path):  # not if its last owner deleted it after it was opened here
            return file
        os.close(file)


def _not_written(target: Path, error: OSError) -> EngineError:
    remedy = NAME_REMEDY if error.errno in NAME_ERRORS else WRITE_REMEDY
    return EngineError(str(target), f"can't be written ({error.strerror or error})", remedy)


def require_outputs(files: Iterable[str], folders: Iterable[str]) -> None:
    """Raise an EngineError if an output can't have its name: a file that of a folder, a folder that of a file."""
    for paths, is_kind, kind in ((files, stat.S_ISREG, "file"), (folders, stat.S_ISDIR, "folder")):
        for path in paths:
            try:
                if not is_kind(os.stat(path).st_mode):
                    raise EngineError(path, f"it can't be written: it exists and is no {kind}", NAME_REMEDY)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise _not_written(Path(path), error) from error


def _is_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.lstat(path))
    except FileNotFoundError:
        return False


def discard_temporaries() -> None:
    """Delete this process's temporary files and locks, where there is no time left to leave their contexts."""
    for path in list(_open_now):
        with suppress(OSError):
            path.unlink()


def _umask() -> int:
    current = os.umask(0o077)  # it can only be read by setting it
    os.umask(current)
    return current


_UMASK = _umask()


def require_kept(outputs: Iterable[str | os.PathLike], inputs: Iterable[str | os.PathLike]) -> None:
    """Raise an EngineError if writing one of the outputs would replace one of the inputs, also where links hide it."""
    kept = {name for path in inputs for name in (entry_of(path), os.path.realpath(path))}
    for path in outputs:
        if entry_of(path) in kept:
            raise EngineError(str(path), "the output would replace this input", "Let it go to another folder or name.")


def entry_of(path: str | os.PathLike) -> str:
    """Folder and name that writing `path` changes: a link that is the last part is replaced itself."""
    folder, name = os.path.split(os.path.abspath(path))
    return os.path.join(os.path.realpath(folder), name)


def read_own_file(path: str | os.PathLike, most: int) -> bytes:
    """The bytes of a file that this program made: no link is followed, which could lead to another file of the user's.

    Raises
    ------
    EngineError
        If it is missing, no file, a link, or larger than `most` bytes.
    """
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode) or found.st_size > most:
                raise EngineError(str(path), "it is no file of this program", "Move it away.")
            return file.read()
    except OSError as error:
        if os.path.islink(path):
            raise EngineError(str(path), "it is a link, which is not followed", "Move it away.") from error
        raise system_error(error, path, "it can't be read") from error


def require_file(path: str | os.PathLike, role: str) -> Path:
    """Return `path` if it is a non-empty file.

    Raises
    ------
    EngineError
        If it is missing, a folder, unreadable or empty; the message says that it is the `role`.
    """
    file = Path(path)
    try:
        found = file.is_file() and file.stat()
    except (OSError, ValueError) as error:
        raise EngineError(str(path), f"the {role} can't be read ({error})", "Check the name.") from error
    if not found:
        raise EngineError(str(path), f"the {role} does not exist", "Check the name and the working directory.")
    if found.st_size == 0:
        raise EngineError(str(path), f"the {role} is an empty file", "Make or copy it again.")
    if not os.access(file, os.R_OK):
        raise EngineError(str(path), f"the {role} can't be read (no permission)", "Change its permissions.")
    return file
