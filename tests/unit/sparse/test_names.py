"""The name of an autoencoder is what tells a run that it was given another one."""

from dataclasses import replace

from support.sparse import random_sae

from refusal_lens.sites import Site
from refusal_lens.sparse import Standard, TopK


def test_autoencoders_that_compute_other_things_have_other_names():
    one = random_sae(16)
    others = [
        replace(one, activation=TopK(one.activation.bias, 16)),
        replace(one, activation=TopK(one.activation.bias + 1, 4)),
        replace(one, activation=Standard(one.activation.bias)),
        replace(one, w_enc=-one.w_enc),
        replace(one, w_dec=-one.w_dec),
        replace(one, b_dec=-one.b_dec),
        replace(one, subtract_b_dec=False),
        replace(one, normalisation="layer_norm"),
        replace(one, site=Site(1)),
    ]
    assert len({sae.name for sae in (one, *others)}) == 10
    assert random_sae(16).name == replace(one, model_name="other").name == one.name
