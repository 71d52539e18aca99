"""The one error type of the engine, what the system's errors become, and text that a terminal shows as it is."""

from __future__ import annotations

import errno
import os

MOST_CHARACTERS = 600  # of one part of an error: names come from files, which may hold anything
KEPT_AT_THE_END = 100
NO_THREAD = "can't start new thread"  # in Python's words, of a RuntimeError
NAME_REMEDY = "Give another name, whose parts are folders."
SYSTEM_REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "Free disk space, or raise the quota, and start again."),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "Check the permissions, or give another folder."),
    **dict.fromkeys((errno.EIO, errno.ESTALE, errno.ENXIO), "Check the disk or network file system."),
    **dict.fromkeys(
        (errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP),
        NAME_REMEDY,
    ),
    errno.EFBIG: "Raise the limit on the size of a file (ulimit -f), or write to a file system that has none.",
    errno.ENOENT: "Check the name and the working directory, or make it again if it was deleted.",
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), "Raise the limit on open files (ulimit -n)."),
    **dict.fromkeys((errno.ENOMEM, errno.EAGAIN), "Raise the limits (ulimit -v, ulimit -u), or close other programs."),
}


class EngineError(Exception):
    """A failure that the user can act on.

    Parameters
    ----------
    what : str
        What failed; names the file or option.
    why : str
        The cause, with the numbers that show it.
    remedy : str
        What to do about it.
    """

    def __init__(self, what: str, why: str, remedy: str) -> None:
        self.what, self.why, self.remedy = (one_line(part) for part in (what, why, remedy))
        self.parts = self.what, self.why, self.remedy
        super().__init__(f"{self.what}: {self.why}. {self.remedy}".rstrip())


def system_error(
    error: OSError, path: str | os.PathLike[str] | None = None, doing: str = "an operation failed"
) -> EngineError:
    """What an error of the system becomes: one line with the file and a remedy.

    Parameters
    ----------
    error : OSError
        The system's.
    path : path, optional
        The file that the user knows, instead of the error's own.
    doing : str
        What failed, such as "it can't be written".
    """
    named = path if path is not None else error.filename
    what = "the system" if named is None else os.fsdecode(named) if isinstance(named, bytes) else str(named)
    remedy = SYSTEM_REMEDIES.get(error.errno or 0, "Check the disk and the permissions.")
    return EngineError(what, f"{doing} ({error.strerror or error})", remedy)


def one_line(text: object) -> str:
    """A text as one line that a terminal takes for no command, cut in the middle where it is very long."""
    line = str(text)
    if len(line) > MOST_CHARACTERS:
        line = f"{line[: MOST_CHARACTERS - KEPT_AT_THE_END]} ... {line[-KEPT_AT_THE_END:]}"
    # spaces stay as they are: a file's name may hold two of them
    return printable(" ".join(part.strip() for part in line.splitlines()) if len(line.splitlines()) > 1 else line)


def printable(text: str) -> str:
    r"""The text with escapes in the place of what can't be seen, such as the characters that begin a terminal's codes.

    >>> printable("a\x1b[2Jb")
    'a\\x1b[2Jb'
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text)
