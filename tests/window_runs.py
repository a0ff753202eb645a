"""Random windows and the models that score them, for the likelihood tests of models and of evaluation."""

import torch

from galley.models.likelihood import Windows
from galley.models.scratch import build_llama


def window_models():
    """Two models that disagree: their weights are large enough to matter."""
    made = [
        build_llama(vocab_size=300, d_model=32, n_layers=2, n_heads=2, n_kv_heads=1, d_ff=48, context=700, seed=s).eval() for s in (0, 1)
    ]
    with torch.no_grad():
        for model in made:
            for p in model.parameters():
                p.mul_(3.0)
    return made


def windows_of(tokens, n=3):
    ids = torch.randint(1, 300, (n, tokens), generator=torch.Generator().manual_seed(3))
    sizes = torch.rand(n, tokens, generator=torch.Generator().manual_seed(4), dtype=torch.float64) + 1
    return Windows(ids, sizes, tuple(f"w{i}" for i in range(n)))
