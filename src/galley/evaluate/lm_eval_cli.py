"""lm-eval's own command line, with converted models registered.

Source: ours; every flag is lm-eval's.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence


def run_lm_eval(argv: Sequence[str]) -> None:
    """Hand all flags to lm-eval after galley has registered its architectures."""
    from lm_eval.__main__ import cli_evaluate

    import galley  # noqa: F401 - registers the converted architectures

    sys.argv = ["lm_eval", *argv]
    cli_evaluate()
