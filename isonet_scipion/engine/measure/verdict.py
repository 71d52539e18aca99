"""What the hidden-wedge test means in words: the one rule that headline, table, summary and JSON take theirs from."""

from __future__ import annotations

from dataclasses import dataclass

FAR_ABOVE = 0.25  # on simulated tomograms the mean confidence was at most 0.09 above the truth, the test 0.16 below it
ROUNDING = 1e-3  # relative, of a resolution
WELL_RESTORED = 0.5  # restored wedge correlation: below it a training, or more or better data, is worth trying


@dataclass(frozen=True)
class Verdict:
    """What can be believed of a filled wedge.

    It follows from where the curve of the hidden-wedge test falls to chance: the mean over all resolutions can be
    above chance where no part of the curve is.
    """

    mean: float | None  # restored wedge correlation; None where the test could not be made
    half: float | None  # resolutions in A where the curve falls below 0.5, and to chance; None where it never is above
    above: float | None
    tells: bool = True  # whether there is nothing where none is above chance: too few voxels do not tell
    nyquist: float = 0.0  # finest resolution in A that the voxels hold

    @property
    def known(self) -> bool:
        """Whether the test could be made, and tells something."""
        return self.mean is not None and (self.tells or self.above is not None)

    @property
    def kind(self) -> str:
        """good, fair or poor."""
        if not self.known:
            return "fair"
        if self.above is None:
            return "poor"
        return "good" if self.half is not None and (self.mean or 0) >= WELL_RESTORED else "fair"

    @property
    def words(self) -> str:
        """The headline."""
        if not self.known:
            fewest = "" if self.mean is None else ": too few voxels could be tested"
            return f"The tomogram is too small to tell whether the filled wedge is right{fewest}."
        if self.above is None:
            return "What was put into the missing wedge is no better than invention: do not interpret it."
        if self.half is None:
            return (
                f"The missing wedge is hardly restored: features larger than {self.above:.0f} Å along z are better "
                "than chance, but their correlation is below 0.5; details are invention."
            )
        finest = self.nyquist * (1 + ROUNDING)
        if self.half <= finest:
            return (
                f"Features larger than {self.half:.0f} Å along z, all that the voxels hold, are restored with a "
                "correlation above 0.5."
            )
        finer = f"; finer than {self.above:.0f} Å is invention" if finest < self.above < self.half else ""
        return (
            f"Features larger than {self.half:.0f} Å along z are restored with a correlation above 0.5, finer ones "
            f"with less{finer}."
        )

    @property
    def resolution(self) -> tuple[str, str]:
        """Of what was restored, for a table, and a remark."""
        if not self.known:
            return "?", "too small to tell"
        if self.above is None:
            return "none", "nowhere better than chance"
        return (
            f"{self.half:.0f} Å" if self.half else "none",
            f"where correlation is 0.5; above chance to {self.above:.0f} Å",
        )

    @property
    def summary(self) -> str:
        """Half a line, with the mean."""
        if self.mean is None or not self.known:  # the first for mypy
            return "not known: too few voxels to tell"
        if self.above is None:
            return f"{self.mean:.2f}, nowhere better than chance: invention"
        if self.half is None:
            return f"{self.mean:.2f}, above chance to {self.above:.0f} Å, nowhere 0.5"
        return f"{self.mean:.2f}, correlation 0.5 at {self.half:.0f} Å"


def is_far_above(confidence: float | None, restored: float | None) -> bool:
    """Whether a mean confidence is so far above the restored wedge correlation that only its order tells something.

    Examples
    --------
    >>> is_far_above(0.61, 0.17), is_far_above(0.53, 0.49)
    (True, False)
    """
    return confidence is not None and restored is not None and confidence - restored > FAR_ABOVE
