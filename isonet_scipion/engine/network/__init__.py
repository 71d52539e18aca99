"""The network and its model files, and the correction of a volume with it.

Rule: Keras and arrays; no tables, no training.
"""
