"""Scipion's sets as the engine's tables, and back. All mapping of metadata is here."""
