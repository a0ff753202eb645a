"""What one absorbed decode step reads: its tensors and their checks.

arXiv:2502.14837, sections 2.2 and 2.3, for query head h of KV head j = h // group, token t of a sequence of `lengths` tokens:
  scores[h, t] = scale (q_rope[h] . k_rope[j, t] + c_q[h] . c[t, : R_k]),   out[h] = sum_t softmax(scores[h])[t] c[t, value_at :]
c is one latent for all heads; c_q = W_uk^T q_nope is absorbed already, and W_uv turns `out` into values afterwards. With a joint
latent keys and values read all of it (value_at 0, R_k = R); with a split one keys read the first part and values the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from galley.artifact import GalleyError


@dataclass(frozen=True)
class MlaStep:
    """One step: q_rope (B, n_h, 2r), c_q (B, n_h, R_k), k_rope (B, n_kv, N, 2r), c (B, N, R), scale, where values begin, lengths (B,).

    `lengths` None means that all sequences have N tokens; a sequence of 0 tokens puts out zeros.
    """

    q_rope: torch.Tensor
    c_q: torch.Tensor
    k_rope: torch.Tensor
    c: torch.Tensor
    scale: float
    value_at: int = 0
    lengths: torch.Tensor | None = None

    @property
    def value_width(self) -> int:
        """Return R_v, the width of the output."""
        return self.c.shape[-1] - self.value_at


def check(step: MlaStep) -> None:
    """Raise a GalleyError for shapes that do not fit each other; waits for no device."""
    (batch, n_h, width), (n_kv, tokens) = step.q_rope.shape, step.k_rope.shape[1:3]
    if n_h % n_kv:
        raise GalleyError(f"q_rope has {n_h} heads over {n_kv} KV heads; allowed: a multiple; pass the model's own head counts")
    want = {"k_rope": (batch, n_kv, tokens, width), "c": (batch, tokens, step.c.shape[-1]), "c_q": (batch, n_h, step.c_q.shape[-1])}
    for field, shape in want.items():
        have = tuple(getattr(step, field).shape)
        if have != shape:
            raise GalleyError(f"{field} has shape {have}; allowed {shape}; take all tensors from one layer and step")
    rank = step.c.shape[-1]
    if not 0 < step.c_q.shape[-1] <= rank or not 0 <= step.value_at < rank:
        raise GalleyError(f"c_q is {step.c_q.shape[-1]} wide and values begin at {step.value_at}; allowed: inside the latent's {rank}")
    kinds = {x.dtype for x in (step.q_rope, step.c_q, step.k_rope, step.c)}
    if len(kinds) > 1:
        raise GalleyError(f"dtypes are {', '.join(sorted(map(str, kinds)))}; allowed: one for all four tensors; cast them before")
    if step.lengths is not None and tuple(step.lengths.shape) != (batch,):
        raise GalleyError(f"lengths has shape {tuple(step.lengths.shape)}; allowed ({batch},), one a sequence")
