"""Where in a tomogram: masks, boundaries, positions of crops and boxes.

Rule: arrays in, arrays out; no files, no Keras.
"""
