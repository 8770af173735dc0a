"""Synthetic records of a study with the sizes of the planted model."""
