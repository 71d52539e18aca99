"""What gpu.py measures, one module for each part of its table, and what these share (busy, engine, rows)."""
