"""Certified code benchmarks: programs from models, judged in the sandbox."""
