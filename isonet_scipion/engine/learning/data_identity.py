"""What data a training is of, in few words: a run that is gone on with must be of the same."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from isonet_scipion.engine.physics.wedge import TiltRange

COUNT, PLACES, NOISE = "number of subtomograms", "places of the crops (mask)", "volumes in noise_dir"
BY_SETTINGS = (COUNT, PLACES, NOISE)  # what settings change too, with the same tomograms
MOST_SHOWN = 3  # values that are told one by one


def data_identity(items: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """What is known of all tomograms or subtomograms, as long for thousands as for a few.

    Parameters
    ----------
    items : sequence of mapping
        Of each, by the same names, what a training depends on: not its path nor its file's times, as projects are
        moved.

    Returns
    -------
    dict
        By these names. Where not all are alike it changes with their order too, by which a training draws them.

    Examples
    --------
    >>> data_identity([{"tilt range": "-60..60 degrees"}] * 2)
    {'tilt range': '-60..60 degrees'}
    """
    return {name: _in_few_words([item[name] for item in items]) for name in items[0]}


def _in_few_words(values: Sequence[str]) -> str:
    different = list(dict.fromkeys(values))
    if len(different) == 1:
        return values[0]
    told = ", ".join(different) if len(different) <= MOST_SHOWN else f"{len(different)} different"
    return f"{told} (checksum {hashlib.sha256(chr(0).join(values).encode()).hexdigest()[:8]})"


def tilt_in_words(tilt: TiltRange) -> str:
    """A tilt range."""
    return f"{tilt.minimum:g}..{tilt.maximum:g} degrees"


def checksum_in_words(*fingerprints: int) -> str:
    """Fingerprints of arrays (`arrays.fingerprint`)."""
    return "checksum " + "-".join(f"{number:08x}" for number in fingerprints)
