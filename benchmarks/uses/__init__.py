"""What usefulness.py measures: scenes, corrections, three uses of tomograms, and how the results are shown."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scenes"))
