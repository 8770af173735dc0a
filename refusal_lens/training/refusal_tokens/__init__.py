"""How the adapter with refusal tokens was made: a token for each category, and one for answering.

Jain et al. 2024, arXiv 2412.06748, on the base and the prompts of the planted model.
"""
