"""MHA2MLA (arXiv:2502.14837): multi-head latent attention for pretrained MHA and GQA models."""
