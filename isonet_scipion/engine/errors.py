"""The one error type of the engine."""


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
        self.what, self.why, self.remedy = what, why, remedy
        super().__init__(" ".join(f"{what}: {why}. {remedy}".split()))
