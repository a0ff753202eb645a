"""Sampling and verification pipelines that make training data."""
