"""Files that are either whole or not there, and that only one command writes at a time."""

from __future__ import annotations

import errno
import fcntl
import functools
import hashlib
import logging
import os
import re
import secrets
import shutil
import socket
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Optional, Tuple

import psutil

from isonet_scipion.engine.errors import NAME_REMEDY, SYSTEM_REMEDIES, EngineError, system_error
from isonet_scipion.engine.process.signals import signals_put_off

log = logging.getLogger(__name__)
LEFTOVER = re.compile(r"\.([0-9a-f]{8})-([0-9]+)-[0-9a-f]{8}\.partial")  # machine, process
MOST_OF_A_NAME = 240  # bytes of a file's name that has room for those of its lock
SECONDS_IN_TURN = 30.0  # a process that hangs keeps no other from its work
ATTEMPTS = 20  # at making something whose folder others remove
WITHOUT_SYNC = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)  # of file systems that can't
State = Optional[Tuple[int, int, int]]
_open_now: set[Path] = set()  # temporary folders and locks of this process
_swept: set[Path] = set()  # folders where what killed processes left was looked for


class ChangedMeanwhile(EngineError):
    """A file was written by somebody else while this process was about to replace it."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(
            str(path), "it is being written by another command", "Run one command at a time, or give another output."
        )


@contextmanager
def replacing(path: str | os.PathLike[str], since: State | bool = True) -> Iterator[Path]:
    """Give a temporary name; on success it becomes `path`, on failure it is deleted.

    The temporary file lies in a folder beside `path` which only its owner may enter, and which is reached through its
    open descriptor: whoever may write beside `path` can put no link in its place. Processes share no temporary name.

    Parameters
    ----------
    path : path
        The file to write. Its folder is made where it is missing.
    since : tuple or bool
        `file_state` of `path`, which must not have changed since then. True: since this call; False: it may change,
        and the last one who writes it counts.

    Yields
    ------
    Path
        Name to write to, with the same suffix, on the same file system.

    Raises
    ------
    EngineError
        If the folder or the file can't be written (disk full, no permission); `ChangedMeanwhile` if another command
        wrote it.
    """
    target = Path(path)
    try:
        before = file_state(target) if since is True else since
        with _workshop(target) as folder:
            yield Path(f"/proc/{os.getpid()}/fd/{folder}", target.name)
            _open_to_others(target.name, 0o666, folder)
            sync(target.name, folder)
            if since is not False and file_state(target) != before:
                raise ChangedMeanwhile(target)
            os.replace(target.name, target, src_dir_fd=folder)
    except OSError as error:
        raise _not_written(target, error) from error


@contextmanager
def replacing_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """As `replacing`, for a folder: what is filled becomes `path` as a whole, and what was there goes."""
    target = Path(path)
    aside = f"{target.name}.old"
    try:
        before = file_state(target)
        with _workshop(target, holds_folder=True) as folder:
            yield Path(f"/proc/{os.getpid()}/fd/{folder}", target.name)
            _open_to_others(target.name, 0o777, folder)
            for _, _, names, place in os.fwalk(target.name, dir_fd=folder):
                for name in names:
                    sync(name, place)
            if file_state(target) != before:
                raise ChangedMeanwhile(target)
            if before is not None:  # no folder can be renamed to one that holds something
                os.rename(target, aside, dst_dir_fd=folder)
            os.rename(target.name, target, src_dir_fd=folder)
    except OSError as error:
        raise _not_written(target, error) from error


def write_whole(path: str | os.PathLike[str], content: str | bytes, since: State | bool = True) -> None:
    """Write a file as `replacing` does."""
    with replacing(path, since) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def file_state(path: str | os.PathLike[str]) -> State:
    """What changes when a file is replaced or written; None where there is none. Raises an OSError if it can't tell."""
    try:
        found = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


@contextmanager
def _workshop(target: Path, holds_folder: bool = False) -> Iterator[int]:
    """Descriptor of a private folder beside `target`, which holds an empty file or folder of the same name."""
    with signals_put_off():
        path = _private_folder(target.parent)
        _open_now.add(path)
    folder = -1
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        with suppress(OSError):  # without locks, the process in its name tells that it is in use
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if holds_folder:
            os.mkdir(target.name, 0o700, dir_fd=folder)
        else:
            os.close(os.open(target.name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=folder))
        if os.stat(target.name, dir_fd=folder).st_uid != os.fstat(folder).st_uid:
            raise EngineError(str(target), "somebody else puts folders beside it", "Give a folder of your own.")
        yield folder
    finally:
        if folder >= 0:
            if holds_folder:  # and the folder that was replaced
                shutil.rmtree(f"/proc/{os.getpid()}/fd/{folder}/", ignore_errors=True)
            with suppress(OSError):  # it was renamed, or what is left is for the next run to delete
                os.unlink(target.name, dir_fd=folder)
            with suppress(OSError):
                os.close(folder)
        with suppress(OSError):
            path.rmdir()
        _open_now.discard(path)


def _open_to_others(name: str, mode: int, folder: int) -> None:
    with suppress(PermissionError):  # a network drive or USB disk that belongs to root for all: modes are fixed there
        os.chmod(name, mode & ~_UMASK, dir_fd=folder)


def sync(name: str, folder: int | None = None) -> None:
    """Have a file on the disk before it gets its name: after a power cut that could else stand for no or blank data.

    It lies in a folder, a descriptor, where that is given. Raises an OSError where the disk can't take it.
    """
    file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=folder)
    try:
        os.fsync(file)
    except OSError as error:
        if error.errno not in WITHOUT_SYNC:
            raise
    finally:
        os.close(file)


def _private_folder(parent: Path) -> Path:
    """Make a folder that only this user may enter, with a name that nobody can know beforehand."""
    for attempt in range(1, ATTEMPTS + 1):
        path = parent / f".{_machine()}-{os.getpid()}-{secrets.token_hex(4)}.partial"
        try:
            parent.mkdir(parents=True, exist_ok=True)
            os.mkdir(path, 0o700)
            break
        except FileNotFoundError:  # the folder was removed in between
            if attempt == ATTEMPTS:
                raise
    _sweep(parent)
    return path


def _sweep(parent: Path) -> None:
    """Delete what killed processes of this user and machine left in a folder; looked for once in each folder."""
    if parent in _swept:
        return
    _swept.add(parent)
    with suppress(OSError), os.scandir(parent) as entries:
        for entry in entries:
            match = LEFTOVER.fullmatch(entry.name)
            if match and match[1] == _machine() and not psutil.pid_exists(int(match[2])):
                _discard_folder(Path(entry.path))


def _discard_folder(path: Path) -> None:
    """Delete a temporary folder that no living process holds."""
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(path, ignore_errors=True)
    except OSError:
        pass
    finally:
        os.close(folder)


@functools.lru_cache(maxsize=None)
def _machine() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


@contextmanager
def alone(path: str | os.PathLike[str]) -> Iterator[None]:
    """Keep other commands from writing a file or folder, as long as the context lasts.

    A hidden file beside `path` carries a lock that the system drops with the process, so a killed command
    leaves nothing that could block the next one.

    Raises
    ------
    EngineError
        If another command has it, or the folder can't be written.
    """
    try:
        # a table may be a link, whose locks must not differ from those of the table itself
        target = Path(os.path.realpath(path) if os.path.isfile(path) else os.path.abspath(path))
    except FileNotFoundError as error:
        raise EngineError(str(path), "the working directory was deleted", "Change to another one.") from error
    if not target.name:
        raise EngineError(str(path), "it is the root of all folders", NAME_REMEDY)
    lock = target.with_name(_lock_name(target.name))
    missing = [folder for folder in lock.parents if not folder.exists()]
    try:
        with _held(lock, Path(path), "another command is working on it") as file:
            with suppress(OSError):  # for the message of who comes next
                os.ftruncate(file, 0)
                os.write(file, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
            yield
    finally:
        for folder in missing:
            with suppress(OSError):  # it is in use
                folder.rmdir()


def _lock_name(name: str) -> str:
    if len(os.fsencode(name)) <= MOST_OF_A_NAME:
        return f".{name}.lock"
    return f".{name[:40]}{hashlib.sha256(os.fsencode(name)).hexdigest()[:8]}.lock"


@contextmanager
def in_turn(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Let processes that write the same file of a folder do so one after the other, where the file system has locks."""
    lock = -1
    with suppress(OSError):
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    until = time.monotonic() + SECONDS_IN_TURN
    while lock >= 0 and time.monotonic() < until:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            time.sleep(0.05)
        except OSError:
            break
    try:
        yield
    finally:
        if lock >= 0:
            with suppress(OSError):
                os.close(lock)


@contextmanager
def _held(path: Path, target: Path, taken: str) -> Iterator[int]:
    """Create a private file and lock it; it is deleted at the end, unless it has been renamed."""
    with signals_put_off():
        file = _lock(path, target, taken)
        _open_now.add(path)
    try:
        yield file
    finally:
        # what fails here does not undo the work: the lock itself goes with the process
        with suppress(OSError):
            if _is_at(file, path):
                path.unlink()
        _open_now.discard(path)
        with suppress(OSError):
            os.close(file)


def _lock(path: Path, target: Path, taken: str) -> int:
    for attempt in range(1, ATTEMPTS + 1):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
        except OSError as error:
            if isinstance(error, FileNotFoundError) and attempt < ATTEMPTS:
                continue  # the folder was removed in between
            raise _not_written(target, error) from error
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            os.close(file)
            raise EngineError(
                str(target), f"{path.name} beside it was not created by isonet-engine", "Move that file away."
            )
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
    raise EngineError(str(target), f"{path.name} beside it comes and goes", "Give a folder that others leave alone.")


def _not_written(target: Path, error: OSError) -> Exception:
    if error.errno == errno.ENOMEM:  # of a memory map: what needs less is the command's to say
        return MemoryError(f"{target}: {error.strerror}")
    return system_error(error, target, "can't be written")


def require_outputs(files: Iterable[str], folders: Iterable[str]) -> None:
    """Raise an EngineError if an output can't have its name.

    One of the other kind has it, or it is in a dead link, or in a home folder that a shell left as ~ (after a =).
    """
    for paths, is_kind, kind in ((files, stat.S_ISREG, "file"), (folders, stat.S_ISDIR, "folder")):
        for path in paths:
            if Path(path).parts[:1] == ("~",) and not os.path.lexists("~"):
                why = "it would be in a new folder named ~, as the shell leaves ~ after a = as it is"
                raise EngineError(path, why, f"Write {os.path.expanduser(path)}.")
            try:
                if not is_kind(os.stat(path).st_mode):
                    raise EngineError(path, f"it can't be written: it exists and is not a {kind}", "Give another name.")
            except FileNotFoundError:
                folder = Path(path) if kind == "folder" else Path(path).parent
                if _dead_link(folder):  # which no folder can be made through
                    raise _absent(folder, kind) from None
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
        if path.name.endswith(".partial"):
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink()


def _umask() -> int:
    current = os.umask(0o077)  # it can only be read by setting it
    os.umask(current)
    return current


_UMASK = _umask()


def require_kept(outputs: Iterable[str | os.PathLike[str]], inputs: Iterable[str | os.PathLike[str]]) -> None:
    """Raise an EngineError if writing one of the outputs would replace one of the inputs, also where links hide it."""
    kept = {name for path in inputs for name in (entry_of(path), os.path.realpath(path))}
    for path in outputs:
        if entry_of(path) in kept:
            raise EngineError(str(path), "the output would replace this input", "Let it go to another folder or name.")


def entry_of(path: str | os.PathLike[str]) -> str:
    """Folder and name that writing `path` changes: a link that is the last part is replaced itself."""
    folder, name = os.path.split(os.path.abspath(path))
    return os.path.join(os.path.realpath(folder), name)


def real_file(path: str | os.PathLike[str]) -> str:
    """What a file is told by, however it is named."""
    return os.path.realpath(path) if "\0" not in str(path) else str(path)


def read_own_file(path: str | os.PathLike[str], most: int) -> bytes:
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
                raise EngineError(str(path), "it was not created by isonet-engine", "Move it away.")
            return file.read()
    except OSError as error:
        if os.path.islink(path):
            raise EngineError(str(path), "it is a link, which is not followed", "Move it away.") from error
        raise system_error(error, path, "it can't be read") from error


def content_digest(path: str | os.PathLike[str], role: str) -> str:
    """16 digits that tell a file's content from others, the same for each copy; errors as of `require_file`."""
    return hashlib.sha256(require_file(path, role).read_bytes()).hexdigest()[:16]


def require_file(path: str | os.PathLike[str], role: str) -> Path:
    """Return `path` if it is a non-empty file.

    Raises
    ------
    EngineError
        If it is missing, a folder, unreadable or empty; the message says that it is the `role`.
    """
    file = Path(path)
    try:
        found, is_folder = file.is_file() and file.stat(), file.is_dir()
    except (OSError, ValueError) as error:
        raise EngineError(str(path), f"the {role} can't be read ({error})", "Check the name.") from error
    if is_folder:
        raise EngineError(str(path), f"it is a folder, not the {role}", "Name the file in it.")
    if not found:
        raise _absent(file, role)
    if found.st_size == 0:
        raise EngineError(str(path), f"the {role} is an empty file", "Make or copy it again.")
    if not os.access(file, os.R_OK):
        raise EngineError(str(path), f"the {role} can't be read (no permission)", "Change its permissions.")
    return file


def require_folder(folder: str, holds: str) -> None:
    """Raise an EngineError unless it is a folder that can be read; the message says what it `holds`."""
    if os.path.isfile(folder):
        raise EngineError(folder, "it is a file, not a folder", f"Name the folder that holds {holds}.")
    if not os.access(folder, os.R_OK) or not os.path.isdir(folder):
        raise EngineError(folder, "the folder does not exist or can't be read", "Check its name and permissions.")


def _dead_link(path: Path) -> Path | None:
    """The path itself or a folder on the way to it, where that is a link that leads nowhere."""
    return next((place for place in (path, *path.parents) if place.is_symlink() and not place.exists()), None)


def _absent(path: Path, role: str) -> EngineError:
    """That a file is not there; where a link leads nowhere, itself or a folder on the way, that is the reason."""
    link = _dead_link(path)
    if link is None:
        return EngineError(str(path), f"the {role} does not exist", SYSTEM_REMEDIES[errno.ENOENT])
    which = "it" if link == path else f"its folder {link}"
    remedy = "Bring that back (its disk may not be mounted, or it was moved), or make the link anew."
    return EngineError(str(path), f"{which} is a link to {os.path.realpath(link)}, which is not there", remedy)
