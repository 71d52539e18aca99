"""Tests of Scipion's half, in a real project."""
