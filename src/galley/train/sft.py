"""Supervised fine-tuning on prompt and answer: the loss is over answer tokens only, and arms see equally many of them.

Every step's loss is a mean over exactly `answer_tokens` tokens: examples are taken in seeded order until that many are there, and
what the last one has beyond is masked. So arms of equal settings are equal in answer tokens whatever their answers' lengths.
Masked tokens contribute exactly nothing: their hidden states never reach the head. The slow twin is cross-entropy over all
positions with an ignore index. Rows are padded to the longest of a micro-batch (galley.models.answers).

Source: ours; training on the answer only follows arXiv:2407.12504 and arXiv:2510.14620.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from galley.artifact import GalleyError, digest
from galley.models.answers import Rows, SftExample, answer_targets, encode, pad_rows
from galley.train.loop import Batches, Run, TrainConfig
from galley.train.loss import head_loss


@dataclass(frozen=True)
class SftConfig:
    """A run's settings: a step's loss is over exactly `answer_tokens` tokens, with at most `batch_size` rows in memory at a time.

    `max_tokens` is the longest example allowed, in tokens of prompt, answer and end.
    """

    steps: int
    answer_tokens: int
    lr: float
    batch_size: int = 32
    max_tokens: int = 512
    warmup_steps: int = 0
    decay_steps: int = 0
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.01
    clip: float = 1.0
    dtype: str = "float32"
    seed: int = 0
    trainable: str = "all"
    state_every: int = 100


def train_sft(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[SftExample],
    config: SftConfig,
    *,
    state: Path | None = None,
    on_step: Callable[[int, PreTrainedModel], None] | None = None,
    at_steps: Iterable[int] = (),
) -> pd.DataFrame:
    """Train `model` in place; return step, loss, lr, grad_norm, tokens (without padding) and answer_tokens.

    With `state`, every `state_every` steps are kept there and a later call goes on from them to the same weights. GalleyError:
    no examples, or one longer than `max_tokens` (see `fitting`).
    """
    encoded = [encode(e, tokenizer) for e in examples]
    if not encoded:
        raise GalleyError("there are no examples to train on")
    longest = max(range(len(encoded)), key=lambda i: len(encoded[i].ids))
    if len(encoded[longest].ids) > config.max_tokens:
        raise GalleyError(
            f"example {longest} has {len(encoded[longest].ids)} tokens, but max_tokens is {config.max_tokens}; raise it, or drop long "
            "examples with `fitting`"
        )
    plan = plan_steps([e.answer_tokens for e in encoded], steps=config.steps, answer_tokens=config.answer_tokens, seed=config.seed)

    def parts_of(step: int) -> list[Rows]:
        # Rows of like length share a micro-batch: less padding.
        taken = sorted(plan[step], key=lambda pair: (len(encoded[pair[0]].ids), pair[0]))
        groups = [taken[i : i + config.batch_size] for i in range(0, len(taken), config.batch_size)]
        return [pad_rows([encoded[i] for i, _ in g], pad=tokenizer.eos_token_id, keep=[n for _, n in g]) for g in groups]

    loop = TrainConfig(
        steps=config.steps, batch_size=config.batch_size, seq_len=config.max_tokens, lr=config.lr, warmup_steps=config.warmup_steps,
        decay_steps=config.decay_steps, betas=config.betas, weight_decay=config.weight_decay, clip=config.clip, dtype=config.dtype,
        seed=config.seed, trainable=config.trainable, state_every=config.state_every,
    )  # fmt: skip
    batches = Batches(
        parts=parts_of, loss=answer_loss, share=lambda rows: rows.answer_tokens / config.answer_tokens, tokens=lambda rows: rows.tokens,
        key=[config.answer_tokens, digest([e.ids for e in encoded])],
    )  # fmt: skip
    log = Run(model, batches, loop, state=state).steps(on_step, at_steps)
    return log.assign(answer_tokens=config.answer_tokens)


def answer_loss(model: PreTrainedModel, rows: Rows) -> torch.Tensor:
    """Return the mean cross-entropy (nats) over the answer tokens of ids and targets (rows, tokens)."""
    hidden = model.model(rows.ids.to(model.device), use_cache=False).last_hidden_state
    where, wanted, _ = answer_targets(rows.targets)
    return head_loss(model.lm_head, hidden[:, :-1][where.to(hidden.device)], wanted.to(hidden.device))


def plan_steps(answer_tokens_of: Sequence[int], *, steps: int, answer_tokens: int, seed: int) -> list[list[tuple[int, int]]]:
    """Return per step its (example, answer tokens that count), exactly `answer_tokens` in all: seeded epochs laid end to end."""
    n, at, order, plan = len(answer_tokens_of), 0, list[int](), []
    for _ in range(steps):
        taken, room = [], answer_tokens
        while room:
            if at == len(order):
                epoch = len(order) // n
                order += torch.randperm(n, generator=torch.Generator().manual_seed(seed * 100_003 + epoch)).tolist()
            count = min(room, answer_tokens_of[order[at]])
            taken.append((order[at], count))
            room, at = room - count, at + 1
        plan.append(taken)
    return plan


def fitting(examples: Sequence[SftExample], tokenizer: PreTrainedTokenizerBase, *, max_tokens: int) -> list[int]:
    """Return the indices of the examples that have at most `max_tokens` tokens."""
    return [i for i, e in enumerate(examples) if len(encode(e, tokenizer).ids) <= max_tokens]
