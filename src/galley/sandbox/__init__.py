"""Execution of untrusted programs. Source: ours; docs/sandbox.md has the threat model."""
