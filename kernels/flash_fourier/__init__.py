"""One decode step of attention over a cache whose middle is partly spectral."""
