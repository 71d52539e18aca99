"""The training.

Rule: the only room that trains.
"""
