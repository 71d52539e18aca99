"""Simulated tomograms, and the training of the builtin model on them.

Rule: for the demonstration, the tests and the benchmarks alone.
"""
