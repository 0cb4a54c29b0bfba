"""Ablations: a grid of training runs by open_clip's trainer, each in a process of its own, and one table of them.

``config`` reads the YAML file, ``grid`` makes cells and command lines of it, ``records`` is what is kept of each cell,
``run`` trains and evaluates them, ``statistics``, ``table`` and ``plot`` show what came out.
"""
