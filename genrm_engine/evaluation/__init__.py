"""Measuring a judge against human labels; needs NumPy, never a model."""
