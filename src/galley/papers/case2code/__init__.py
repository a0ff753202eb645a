"""Case2Code (arXiv:2407.12504): functions turned into cases, cases into programs."""
