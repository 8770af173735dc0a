"""vLLM with its plugin vllm-lens."""
