"""Where downloads are kept: one folder for all checkouts, with a folder a source.

Source: ours.
"""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "GALLEY_CACHE"


def cache_dir() -> Path:
    """Return the download cache's folder."""
    return Path(os.environ.get(VARIABLE) or Path.home() / ".cache" / "galley")
