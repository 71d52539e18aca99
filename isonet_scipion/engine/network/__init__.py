"""The network and its model files, and the correction of a volume with it. Keras; no tables."""
