"""An interpreter of PTX that runs a block of threads at a time, numpy over its threads, and stops where a GPU would
trip, or may.

Where a docstring names a section ("PTX ISA, 9.7.14.5"), it is of NVIDIA's "Parallel Thread Execution ISA", version 9.1.
"""
