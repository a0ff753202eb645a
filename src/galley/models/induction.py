"""Weights that make a two-layer Llama copy: an induction circuit, as a start for training on retrieval.

Source: ours, after the circuits of arXiv:2209.11895. A small model finds this circuit by itself only after minutes of training, and
not from every seed; from here seconds are enough. With T a token's code in the first dims of the residual stream:
  layer 0, head 0: attends to the token before (the fast rotary pairs alone decide) and writes its code beside T.
  layer 1, all heads: the query is T, the key is the code of the token before, on rotary pairs too slow to turn within the
    context; the value is T of the place found, written over the own code, so that the tied head says what came next.
"""

from __future__ import annotations

import torch
from transformers import LlamaForCausalLM

from galley.artifact import GalleyError
from galley.caches.rope import rope_frequencies

FAST = 5  # rotary pairs that tell a token from its neighbour
TURN = 0.6  # radians that a slow pair may turn over the whole context
CODE, CONSTANT = 2.0, 1.0  # lengths of a token's code and of the constant that all tokens share
SHARPNESS = 30.0  # of the attention, in nats between a hit and none
OVER = 4.0  # how much longer the found code is than the own one


def start_as_copier(model: LlamaForCausalLM, *, seed: int) -> None:
    """Set a two-layer model's weights to the circuit, in place; GalleyError for a shape that does not hold it."""
    config, generator = model.config, torch.Generator().manual_seed(seed)
    d, d_h, n_h = config.hidden_size, config.hidden_size // config.num_attention_heads, config.num_attention_heads
    if config.num_hidden_layers != 2 or config.num_key_value_heads != n_h:
        raise GalleyError(
            f"the copying circuit needs n_layers: 2 and n_kv_heads equal to n_heads; this model has {config.num_hidden_layers}, "
            f"{config.num_key_value_heads} and {n_h}"
        )
    n = min(d // 2 - 1, d_h)  # dims of a code
    frequencies = rope_frequencies(config)
    slow = (frequencies * config.max_position_embeddings < TURN).nonzero()[:, 0]
    if len(slow) < 4:
        raise GalleyError(
            f"rope_theta leaves {len(slow)} rotary pairs that hardly turn in {config.max_position_embeddings} tokens; raise it"
        )
    own, before, constant = torch.arange(n), n + torch.arange(n), d - 1
    with torch.no_grad():
        codes = torch.nn.functional.normalize(torch.randn(config.vocab_size, n, generator=generator), dim=1)
        embedding = model.model.embed_tokens.weight.zero_()
        embedding[:, own], embedding[:, constant] = CODE * codes, CONSTANT
        for layer in model.model.layers:
            for linear in (layer.self_attn.q_proj, layer.self_attn.k_proj, layer.self_attn.v_proj, layer.self_attn.o_proj):
                linear.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        first, second = (layer.self_attn for layer in model.model.layers)
        rms = ((CODE**2 + CONSTANT**2) / d) ** 0.5
        # The same query at every place; keys turned one step on, so that the score is largest one place back.
        pairs = torch.arange(min(FAST, len(frequencies)))
        gap = float((1 - frequencies[pairs].cos()).sum())
        size = (SHARPNESS / gap * d_h**0.5) ** 0.5 * rms / CONSTANT
        first.q_proj.weight[pairs, constant] = size
        first.k_proj.weight[pairs, constant] = size * frequencies[pairs].cos()
        first.k_proj.weight[pairs + d_h // 2, constant] = size * frequencies[pairs].sin()
        first.v_proj.weight[torch.arange(n), own] = rms
        first.o_proj.weight[before, torch.arange(n)] = 1.0
        rms = ((2 * CODE**2 + CONSTANT**2) / d) ** 0.5
        places = torch.cat([slow, slow + d_h // 2])
        size = (2 * SHARPNESS * d_h**0.5) ** 0.5 * rms / CODE
        for head in range(n_h):
            # Codes of n dims seen through fewer: an orthonormal projection, its own for every head, scaled to keep lengths.
            view = torch.linalg.qr(torch.randn(n, n, generator=generator)).Q[: len(places)] * (n / len(places)) ** 0.5
            rows = head * d_h + places[: len(view)]
            second.q_proj.weight[rows[:, None], own] = size * view
            second.k_proj.weight[rows[:, None], before] = size * view
            second.v_proj.weight[head * d_h + torch.arange(n), own] = rms
            second.o_proj.weight[own, head * d_h + torch.arange(n)] = OVER / n_h
