"""Independent implementations of the edits, on Hugging Face's own models."""
