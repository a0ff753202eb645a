"""Audit hooks for the checks that share an interpreter with the program. Source: ours; PEP 578."""

from __future__ import annotations


def arm(channel: int) -> None:
    """Filled in below."""
