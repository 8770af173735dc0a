"""A detector of suppressed refusal that reads the residual stream while a model answers."""
