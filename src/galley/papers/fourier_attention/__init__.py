"""FourierAttention (arXiv:2506.11886): Fourier coefficients along time in the place of most KV-cache channels."""
