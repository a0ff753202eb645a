"""Kernels, one folder an op; imported as `galley.kernels.<op>` through a link in the library."""
