"""vLLM as nnsight traces it."""
