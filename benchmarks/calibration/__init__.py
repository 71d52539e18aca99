"""What confidence.py does: scenes, their truth, the regression, its trial, and how the results are shown."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scenes"))
