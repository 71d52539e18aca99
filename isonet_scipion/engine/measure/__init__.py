"""Numbers about results: what was restored, how far to believe it.

Rule: arrays and numbers in, numbers out; no files, no Keras, no pictures.
"""
