"""IsoNet's stages as a command (`isonet-engine`) and as pure functions on arrays.

Nothing below this package imports Scipion. Arrays are (z, y, x) float32, the tilt axis lies along y.
Units: A, degrees, kV, mm; a name that holds another unit says so.
"""
