"""Tests; `engine` and `protocols` mirror the package. `python -m scipion tests` also runs those of the protocols."""
