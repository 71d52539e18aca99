"""The machine and this process: signals, memory, disk, devices, progress. No arrays, no file formats."""
