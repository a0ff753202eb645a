"""The next-token loss, whose logits are made and freed a chunk of tokens at a time.

Source: ours. Fast on a CPU for what it leaves out: the gradient of a 49k vocabulary never stands in memory whole. The slow
twin is the plain cross-entropy.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F
from transformers import PreTrainedModel


def next_token_loss(model: PreTrainedModel, ids: torch.Tensor, *, chunk: int = 256) -> torch.Tensor:
    """Return the mean next-token cross-entropy (nats) of ids (batch, tokens), logits made chunk by chunk."""
    hidden = model.model(ids, use_cache=False).last_hidden_state[:, :-1].flatten(0, 1)
    return head_loss(model.lm_head, hidden, ids[:, 1:].flatten(), chunk=chunk)


def head_loss(head: torch.nn.Linear, hidden: torch.Tensor, targets: torch.Tensor, *, chunk: int = 256) -> torch.Tensor:
    """Return the mean cross-entropy (nats) of a linear head on hidden (tokens, d) against targets (tokens,)."""
    if len(targets) * head.out_features <= 2**24 or head.bias is not None or not torch.is_grad_enabled():
        return F.cross_entropy(head(hidden).float(), targets)
    weight = head.weight
    if torch.is_autocast_enabled(hidden.device.type):
        hidden, weight = hidden.to(torch.bfloat16), weight.to(torch.bfloat16)
    return HeadLoss.apply(hidden, weight, targets, chunk)


class HeadLoss(torch.autograd.Function):
    """Cross-entropy of a linear head whose logits and gradients are made together, a chunk of tokens at a time.

    The gradient of a mean cross-entropy is (softmax - onehot)/n, known in the forward pass: nothing is computed twice.
    """

    @staticmethod
    def forward(ctx, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, chunk: int) -> torch.Tensor:
        """Return the loss; hidden (tokens, d), weight (vocabulary, d), targets (tokens,)."""
        n, total = len(targets), hidden.new_zeros((), dtype=torch.float32)
        needs_weight = ctx.needs_input_grad[1]
        d_hidden, d_weight = torch.empty_like(hidden), torch.zeros_like(weight) if needs_weight else None
        for start in range(0, n, chunk):
            part = slice(start, start + chunk)
            log_p = (hidden[part] @ weight.T).float().log_softmax(dim=-1)
            total += F.nll_loss(log_p, targets[part], reduction="sum")
            grad = log_p.exp_()
            grad[torch.arange(len(grad), device=grad.device), targets[part]] -= 1
            grad = (grad / n).to(hidden.dtype)
            torch.mm(grad, weight, out=d_hidden[part])
            if d_weight is not None:
                d_weight.addmm_(grad.T, hidden[part])
        ctx.save_for_backward(d_hidden, d_weight)
        return total / n

    @staticmethod
    def backward(ctx, *grads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None, None, None]:
        """Scale the gradients that the forward pass left."""
        d_hidden, d_weight = ctx.saved_tensors
        grad = grads[0].to(d_hidden.dtype)
        return d_hidden * grad, None if d_weight is None else d_weight * grad, None, None
