"""The builtin model: a prior learned from simulated tomograms. `train` makes it, MODEL_CARD.md describes it."""
