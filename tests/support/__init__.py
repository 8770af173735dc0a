"""Builders that tests share: tiny models, simulated data, synthetic records, references."""
