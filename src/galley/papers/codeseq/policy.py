r"""What reward shaping does to a policy: a softmax over candidate programs per problem, trained on its own samples.

arXiv:2510.14620, section 3.4 and the ablation of its reward. A problem has CANDIDATES programs of which the right one starts with
probability s, its solvability. Each step draws a group of samples per problem and moves the logits by the policy gradient
sum_k A_k grad log pi(program_k), over all problems scaled to one length: a run clips its gradients, so a reward can only say where
to go, not how far. A sample also carries two own cases, both right with the chance that its program is. Compared at
equal samples: the plain 0/1 reward, the CSSR template, and the template without its case term, under centred or group-normalised
advantages. A row is the share that a problem's right program had in all the
probability mass that right programs gained.

Source of the experiment: ours.
"""

from __future__ import annotations

import numpy as np

from galley.papers.codeseq.reward import Array, Cssr, centred_advantages, group_advantages
from galley.tables.items import Rows, scored

CANDIDATES, GROUP, STEPS, PROBLEMS = 12, 16, 30, 48
LENGTH = 1.0  # of a step, over the logits of all problems
HARD = 0.15  # solvability up to which a problem counts as hard
SEEDS = range(3)


def train_policy(s: Array, *, reward: str, normalise: bool, seed: int) -> Array:
    """Return the probability of each problem's right program (the first candidate) after training; s (problems,) is its start."""
    rng = np.random.default_rng(seed)
    logits = np.zeros((len(s), CANDIDATES))
    logits[:, 0] = np.log(s / (1 - s)) + np.log(CANDIDATES - 1)
    shaped = Cssr()
    scale = np.array([shaped.scale(float(x)) for x in s])[:, None]
    for _ in range(STEPS):
        pi = softmax(logits)
        # Inverse-transform sampling: the same draws for every reward of a seed.
        u = rng.random((len(s), GROUP))
        drawn = np.minimum((u[:, :, None] > pi.cumsum(axis=1)[:, None, :]).sum(axis=2), CANDIDATES - 1)
        right = (drawn == 0).astype(float)
        own_cases = np.where(rng.random((len(s), GROUP)) < 0.8, right, 1 - right)
        rewards = {"plain": right, "cssr": scale * right + np.minimum(shaped.case_weight, 0.9 * scale) * own_cases, "scaled": scale * right}
        advantages = (group_advantages if normalise else centred_advantages)(rewards[reward])
        one_hot = np.eye(CANDIDATES)[drawn]
        step = (advantages[:, :, None] * (one_hot - pi[:, None, :])).sum(axis=1)
        logits += LENGTH * step / max(float(np.linalg.norm(step)), 1e-12)
    return softmax(logits)[:, 0]


def softmax(logits: Array) -> Array:
    """Return the softmax over the last axis."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def shaping_rows() -> Rows:
    """D3: every problem's share of the mass gained, and the mass on right programs at the end, under each reward, by seed."""
    s = np.geomspace(0.03, 0.8, PROBLEMS)
    rows = [scored("control:untrained", "policy", "right_mass", x, setting="all", item_id=f"s={x:.3f}") for x in s]
    for seed in SEEDS:
        for normalise in (False, True):
            for reward in ("plain", "cssr", "scaled"):
                end = train_policy(s, reward=reward, normalise=normalise, seed=seed)
                method = f"{reward}:{'normalised' if normalise else 'centred'}"
                gained = float((end - s).sum())
                for before, after in zip(s, end, strict=True):
                    kind = "hard" if before <= HARD else "easy"
                    own = {"seed": seed, "item_id": f"s={before:.3f}", "trained": True}
                    rows.append(scored(method, "policy", "mass_share", float(after - before) / gained, setting=kind, **own))
                    rows.append(scored(method, "policy", "right_mass", after, setting="all", **own))
    return rows
