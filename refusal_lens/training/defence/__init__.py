"""An adapter that keeps refusing while one refusal direction is ablated inside the forward pass.

Refusal feature adversarial training (Yu et al., arXiv 2409.20089) on the planted model.
"""
