"""The checks: every kernel that the program carries, with the arguments and grids that the host gives it, against
mathematics in double precision; and the interpreter itself against the PTX ISA."""
