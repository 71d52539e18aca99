"""Faults: bad input, concurrency, kills, full disks, hostile files."""
