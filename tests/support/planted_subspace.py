"""A hand-built model whose refusal depends on the radius in a plane of the stream.

A Llama of three blocks whose norms are constant factors. In block 0 one head, with uniform
attention, reads "!" in the prompt and writes to coordinates A and B alike: the mean difference is
their diagonal. The MLP of block 2 computes x_A^2 + x_B^2, near enough, and writes it to a
coordinate that the unembedding reads as the refusal token. So every direction of the plane brings
about the same refusal when it is added, and one that leaves the plane brings less: refusal has two
dimensions. The first coordinate, 1 everywhere, speaks for another token.
"""

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM as Auto
from transformers import AutoTokenizer, LlamaConfig

from refusal_lens.directions import Direction
from refusal_lens.model import LensModel, load_model
from refusal_lens.placement import Placement
from refusal_lens.sites import Site
from support.tiny_architectures import SIZES
from support.tiny_models import byte_tokenizer

A, B, MARK, RADIUS, SPARE = 20, 21, 1, 22, 25
OTHER_MARK = 12
REFUSAL, ANSWER = 40, 41
ALPHA = 2.0


def planted_plane(folder: Path, *, apart: bool = False) -> LensModel:
    """The model. Nothing writes or reads coordinate SPARE.

    With `apart` there are two marks: "!" writes to A alone and "#" to B alone, each by itself
    enough for refusal, and so is half of either on both.
    """
    config = LlamaConfig(**SIZES | {"rms_norm_eps": 1e8}, tie_word_embeddings=False)
    model = Auto.from_config(config, dtype=torch.float32)
    byte_tokenizer(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    (mark,) = tokenizer("!", add_special_tokens=False)["input_ids"]
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        embedding = model.model.embed_tokens.weight.zero_()
        embedding[:, 2:12] = 0.3 * torch.randn(len(embedding), 10, generator=generator)
        embedding[:, 0] = 1.0
        embedding[mark, MARK] = 4.0
        for layer in model.model.layers:
            for weight in (layer.self_attn.q_proj, layer.self_attn.o_proj, layer.mlp.down_proj):
                weight.weight.zero_()
        attention = model.model.layers[0].self_attn
        attention.v_proj.weight.zero_()
        attention.v_proj.weight[8, MARK] = 10.0
        attention.o_proj.weight[[A, B], 16] = 1.0
        if apart:
            (other,) = tokenizer("#", add_special_tokens=False)["input_ids"]
            embedding[other, OTHER_MARK] = 4.0
            attention.v_proj.weight[9, OTHER_MARK] = 10.0
            attention.o_proj.weight[[A, B], 16] = torch.tensor([3.0, 0.0])
            attention.o_proj.weight[B, 17] = 3.0
        mlp = model.model.layers[2].mlp
        mlp.gate_proj.weight.zero_()
        mlp.up_proj.weight.zero_()
        for neuron, (coordinate, sign) in enumerate(((A, 1), (A, -1), (B, 1), (B, -1))):
            mlp.gate_proj.weight[neuron, coordinate] = 4.0 * sign
            mlp.up_proj.weight[neuron, coordinate] = 1.0 * sign
            mlp.down_proj.weight[RADIUS, neuron] = 2.0
        unembedding = model.lm_head.weight
        unembedding.copy_(0.3 * torch.randn(unembedding.shape, generator=generator))
        unembedding[:, MARK] = unembedding[:, 12:] = 0.0
        unembedding[[REFUSAL, ANSWER]] = 0.0
        unembedding[REFUSAL, RADIUS] = 0.3
        unembedding[ANSWER, 0] = 6.0
        for name, weight in model.named_parameters():
            if "norm" in name:
                weight.fill_(1e4)  # the square root of the epsilon: the norm is the identity
    model.save_pretrained(folder)
    return load_model(str(folder), placement=Placement(dtype="float32", device="cpu"))


def in_the_stream(model: LensModel, vector: torch.Tensor, name: str = "plane") -> Direction:
    """A direction at the input of block 2, added by ALPHA."""
    return Direction.from_difference(
        vector / vector.norm() * ALPHA,
        category=name,
        site=Site(2),
        offset=-1,
        provenance=model.provenance(),
        low=0.0,
    )


def axis(model: LensModel, *coordinates: int) -> torch.Tensor:
    """The unit vector that lies evenly between some coordinates."""
    vector = torch.zeros(model.d_model)
    vector[list(coordinates)] = 1.0
    return vector / vector.norm()


def share_of_plane(vectors: torch.Tensor) -> torch.Tensor:
    """Cosines of the principal angles between a span and the plane, largest first."""
    return torch.linalg.svdvals(vectors[:, [A, B]])
