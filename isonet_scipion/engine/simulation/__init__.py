"""Simulated tomograms: for the demonstration, the tests, the benchmarks and the builtin model alone."""
