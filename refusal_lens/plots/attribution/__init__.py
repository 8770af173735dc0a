"""Figures of attribution: writers, depth, patches, paths."""
