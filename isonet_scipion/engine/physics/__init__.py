"""What the ctf_parameters and the reconstruction do to a volume: arrays in, arrays out. No files, no Keras."""
