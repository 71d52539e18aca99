"""Which GPUs a user means."""

from __future__ import annotations

import itertools
import os
import re
import subprocess

from isonet_scipion.engine.errors import EngineError

VISIBLE = "CUDA_VISIBLE_DEVICES"
CPU = "-1"
NVIDIA_DRIVER = "/proc/driver/nvidia/version"  # is there where a driver is loaded
REMEDY = "Write it like 0, 0,1 or 0-3, by the names GPU-... or MIG-... of nvidia-smi -L, or -1 for the CPU."
FOR_CPU = "give -1 for the CPU (in Scipion: No at GPU IDs)"
NAME = re.compile(r"(GPU|MIG)-[\w/-]+")


def named_gpus(text: str) -> tuple[str, ...]:
    """The GPUs of a list as people write it.

    Parameters
    ----------
    text : str
        Numbers, ranges and names, separated by commas, semicolons or blanks, in brackets or not: `0,1`, `[0 1]`, `0-3`,
        `cuda:0`, `GPU-8932f937-...`; `-1` or `cpu` for none.

    Returns
    -------
    tuple of str
        Each one's number or name; empty for none.

    Raises
    ------
    EngineError
        If it can't be read, or names one twice.

    Examples
    --------
    >>> named_gpus("0-2, 5")
    ('0', '1', '2', '5')
    >>> named_gpus("-1")
    ()
    """
    words = [word for word in re.split(r"[\s,;]+", str(text).strip("()[]{} \t\n'\"")) if word]
    if words in ([CPU], ["cpu"]):
        return ()
    found: list[str] = []
    for word in words:
        number = re.fullmatch(r"(?:cuda:|gpu:?)?(\d{1,4})", word, re.IGNORECASE)
        limits = re.fullmatch(r"(\d{1,4})-(\d{1,4})", word)
        if number:
            found.append(str(int(number.group(1))))
        elif limits and int(limits.group(1)) <= int(limits.group(2)):
            found += map(str, range(int(limits.group(1)), int(limits.group(2)) + 1))
        elif NAME.fullmatch(word):
            found.append(word)
        else:
            raise EngineError("gpuID", f"'{text}' is not a list of GPUs", REMEDY)
    if not found or len(set(found)) < len(found):
        raise EngineError("gpuID", f"'{text}' {'names a GPU twice' if found else 'is empty'}", REMEDY)
    return tuple(found)


def visible_devices(text: str, visible: str | None = None) -> str:
    """What CUDA_VISIBLE_DEVICES must be so that the GPUs of a list are used.

    Parameters
    ----------
    text : str
        See `named_gpus`. Where a queue gave this process some of the machine's GPUs, numbers count among these.
    visible : str, optional
        CUDA_VISIBLE_DEVICES as it is; None: all of the machine's.

    Raises
    ------
    EngineError
        If the list can't be read, or names one that this process was not given.

    Examples
    --------
    >>> visible_devices("0", "4,5")
    '4'
    """
    wanted = named_gpus(text)
    if not wanted:
        return CPU
    if visible is None:
        return ",".join(wanted)
    given = given_gpus(visible)
    chosen: list[str] = []
    for one in wanted:
        if one.isdigit():
            meant = given[int(one) : int(one) + 1]
        else:
            meant = [name for name in given if name.startswith(one) or one.startswith(name)]
        if len(meant) == 1 and meant[0] not in chosen:
            chosen += meant
        else:
            raise EngineError(
                "gpuID",
                f"GPU {one} is not among those that this process was given ({VISIBLE} is '{visible}')",
                f"Count among these, from 0 to {len(given) - 1}, or {FOR_CPU}."
                if given
                else f"Unset {VISIBLE}, or {FOR_CPU}.",
            )
    return ",".join(chosen)


def given_gpus(visible: str) -> list[str]:
    """Numbers or names in CUDA_VISIBLE_DEVICES, up to the first that is none, as CUDA reads it.

    Examples
    --------
    >>> given_gpus("4, 5"), given_gpus("4,-1,5"), given_gpus("NoDevFiles")
    (['4', '5'], ['4'], [])
    """
    words = (word.strip() for word in visible.split(","))
    return list(itertools.takewhile(lambda word: word.isdigit() or NAME.fullmatch(word), words))


def choose_visible(text: str | None) -> int:
    """Let this process, and what it starts, see the GPUs of a list alone; returns how many were named."""
    # as nvidia-smi counts; CUDA by itself begins with the fastest
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    if text is None:
        return 0
    os.environ[VISIBLE] = visible_devices(text, os.environ.get(VISIBLE))
    return len(named_gpus(text))


def gpus_to_share(text: str | None) -> tuple[str, ...]:
    """Names, for `choose_visible`, of each GPU of a list, or of all that are visible where there is none."""
    if text is not None:
        return named_gpus(text)
    visible = os.environ.get(VISIBLE)
    if visible is not None:
        return tuple(map(str, range(len(given_gpus(visible)))))
    query = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    try:
        return tuple(subprocess.run(query, capture_output=True, text=True, check=True).stdout.split())
    except (OSError, subprocess.CalledProcessError):
        return ()
