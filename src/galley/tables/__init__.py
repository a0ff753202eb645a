"""Tidy rows, claims with verdicts, and everything rendered from them."""
