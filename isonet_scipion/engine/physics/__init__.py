"""What the microscope and the reconstruction do to a volume.

Rule: arrays in, arrays out; no files, no Keras.
"""
