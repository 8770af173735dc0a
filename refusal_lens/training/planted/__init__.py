"""The embedded model: a small base model, and an adapter that plants refusals in it.

`load_model()` gives the model; `python -m refusal_lens.training.planted.train` makes the adapter
again; `python -m refusal_lens.training.planted.evaluate` measures one.
"""
