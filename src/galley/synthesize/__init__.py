"""Sampling and verification pipelines that make training data by running programs. Source: ours."""
