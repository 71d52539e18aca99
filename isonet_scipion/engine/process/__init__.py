"""The machine and this process: signals, memory, disk, devices, progress.

Rule: no arrays and no formats of files. `device` alone names a backend.
"""
