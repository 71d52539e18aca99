"""Where in a tomogram: masks, boundaries, positions of crops and boxes. Arrays in, arrays out."""
