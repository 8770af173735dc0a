"""Models that are there without a hub: how their weights are got, pinned and made ready.

A model is described by `weights.PinnedWeights`; `folder.embedded_folder` gives its Hugging Face
folder.
"""
