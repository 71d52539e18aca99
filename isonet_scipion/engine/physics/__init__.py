"""What the microscope and the reconstruction do to a volume: arrays in, arrays out. No files, no Keras."""
