"""CodeSeq: number sequences as verified programming problems (arXiv:2510.14620, arXiv:2503.13109)."""
