"""lm-eval's own command line, with converted models registered and a local model's folder checked.

Source: ours; every flag is lm-eval's.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path


def run_lm_eval(argv: Sequence[str]) -> None:
    """Hand all flags to lm-eval after galley has registered its architectures; GalleyError for a folder whose weights are not whole."""
    import galley  # noqa: F401 - registers the converted architectures
    from galley.models.checkpoint import check_model
    from galley.models.loading import load_tokenizer

    for folder in folders(argv):  # lm-eval loads it by itself, and would score what transformers filled in
        check_model(folder)
        if not any("tokenizer=" in word for word in argv):
            load_tokenizer(folder)
    from lm_eval.__main__ import cli_evaluate

    sys.argv = ["lm_eval", *argv]
    cli_evaluate()


def folders(argv: Sequence[str]) -> list[Path]:
    """Return the local models that lm-eval's flags name: `--model_args pretrained=DIR`, which may stand among others."""
    found = [match[1] for word in argv if (match := re.search(r"(?:^|[,=\s])pretrained=([^,\s]+)", word))]
    here = [Path(name) for name in found if Path(name).is_dir() or name.startswith((".", "/"))]
    return [] if any("gguf_file=" in word for word in argv) else here
