"""The paper's comparison of judges, end to end and row by row.

Only `presets`, `splits` and `table` load without PyTorch.
"""
