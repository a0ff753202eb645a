"""One absorbed decode step over a shared latent and per-head rotated keys."""
