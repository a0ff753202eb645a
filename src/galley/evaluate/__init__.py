"""Benchmarks and scorers that every recipe shares."""
