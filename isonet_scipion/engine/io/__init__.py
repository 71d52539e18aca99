"""Files: tables, volumes, models drawn by hand, and files that are either whole or not there.

Rule: the only room that opens paths, but for model files, which Keras writes (`network`).
"""
