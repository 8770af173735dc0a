"""Arditi et al. 2024 written anew: PyTorch hooks on Hugging Face's model, no TransformerLens."""

from contextlib import ExitStack, contextmanager

import torch


def writers(block):
    """The two modules whose outputs are added to the stream (Gemma-2 normalises them first)."""
    if hasattr(block, "pre_feedforward_layernorm"):
        return block.post_attention_layernorm, block.post_feedforward_layernorm
    return block.self_attn, block.mlp


@contextmanager
def ablation(model, r):
    """x - (x . r) r at every block's input and at what its attention and its MLP write."""

    def out(x):
        return x - (x @ r)[..., None] * r

    with ExitStack() as hooks:
        for block in model.model.layers:
            before = block.register_forward_pre_hook(lambda _, args: (out(args[0]), *args[1:]))
            hooks.callback(before.remove)
            for module in writers(block):
                after = module.register_forward_hook(
                    lambda _, __, y: (out(y[0]), *y[1:]) if isinstance(y, tuple) else out(y)
                )
                hooks.callback(after.remove)
        yield


@contextmanager
def addition(model, layer, vector):
    """x + vector at one block's input, all positions."""
    handle = model.model.layers[layer].register_forward_pre_hook(
        lambda _, args: (args[0] + vector, *args[1:])
    )
    try:
        yield
    finally:
        handle.remove()


def orthogonalise(model, r, *, untie):
    """W - r r'W for the embedding and for every matrix that writes to the stream, in memory."""
    project_weights(model, torch.eye(len(r)) - torch.outer(r, r), untie=untie)


@torch.no_grad()
def project_weights(model, p, *, untie):
    """x P instead of every row x that the embedding or a writing matrix gives, in memory."""
    if untie:
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.clone())
    embedding = model.model.embed_tokens.weight
    embedding.copy_(embedding @ p)
    for block in model.model.layers:
        for linear in (block.self_attn.o_proj, block.mlp.down_proj):
            assert linear.bias is None
            linear.weight.copy_(p.T @ linear.weight)
