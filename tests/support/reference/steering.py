"""Edits written anew: PyTorch hooks on Hugging Face's model, one prompt, no batch and no cache.

An act is (site, map of a (tokens, d_model) tensor, predicate on a token's place), places counting
from the end of the prompt: -1 is its last token, 0 the first generated one.
"""

from contextlib import ExitStack

import torch

from support.reference.arditi import writers


def _module(block, point):
    """The module at whose input ("pre" hook) or output a point of the stream stands."""
    if point in ("attn_out", "mlp_out"):
        return writers(block)[point == "mlp_out"], False
    if point == "resid_mid":
        name = "pre_feedforward_layernorm"
        return getattr(block, name, None) or block.post_attention_layernorm, True
    return block, point == "resid_pre"


def _edited(x, act, n_prompt):
    site, change, acts_on = act
    places = [i - n_prompt for i in range(x.shape[1])]
    on = torch.tensor([acts_on(place) for place in places])
    return torch.where(on[:, None], change(x[0]), x[0])[None]


def _hook(block, act, n_prompt):
    module, before = _module(block, act[0].point)
    if act[0].point == "resid_mid":
        # In place: the norm's input is the very tensor that the block adds the MLP's output to.
        return module.register_forward_pre_hook(lambda _, x: _in_place(x[0], act, n_prompt))
    if before:
        return module.register_forward_pre_hook(
            lambda _, args: (_edited(args[0], act, n_prompt), *args[1:])
        )
    return module.register_forward_hook(
        lambda _, __, y: (
            (_edited(y[0], act, n_prompt), *y[1:])
            if isinstance(y, tuple)
            else _edited(y, act, n_prompt)
        )
    )


def _in_place(x, act, n_prompt):
    x.copy_(_edited(x, act, n_prompt))


@torch.no_grad()
def steered_logits(model, ids, n_prompt, acts):
    """Logits at every token of one sequence, of which the first `n_prompt` are the prompt."""
    with ExitStack() as hooks:
        for act in acts:
            handle = _hook(model.model.layers[act[0].layer], act, n_prompt)
            hooks.callback(handle.remove)
        return model(torch.tensor([ids]), use_cache=False).logits[0]


def steered_answer(model, ids, acts, n_new, stops):
    """Greedy answer of at most `n_new` tokens, the whole sequence run again at every step."""
    answer = []
    for _ in range(n_new):
        token = int(steered_logits(model, [*ids, *answer], len(ids), acts)[-1].argmax())
        if token in stops:
            break
        answer.append(token)
    return tuple(answer)


@torch.no_grad()
def resid_at(model, ids, layer, offset):
    """One vector of the unedited stream: the input of a block, at an offset from the end."""
    return model(torch.tensor([ids]), output_hidden_states=True).hidden_states[layer][0, offset]
