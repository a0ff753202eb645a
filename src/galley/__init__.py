"""Galley: LLM papers as declarative, reproducible tables with a verdict on every claim.

`import galley` teaches transformers the converted architectures: it registers them right
after transformers has loaded its own registries, and imports nothing heavy by itself.
"""

from __future__ import annotations

import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType

__version__ = "0.1.0"

_AUTO = "transformers.models.auto.modeling_auto"


def _register() -> None:
    from galley.papers.mha2mla.modeling import register

    register()


class _AfterTransformers:
    """Run `_register` once transformers' model registry has been executed."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None):
        if name != _AUTO:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is None or spec.loader is None:
            return None
        loader, execute = spec.loader, spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            sys.meta_path.remove(self)  # type: ignore[arg-type]
            _register()

        loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


if _AUTO in sys.modules:
    _register()
elif not any(isinstance(finder, _AfterTransformers) for finder in sys.meta_path):
    sys.meta_path.insert(0, _AfterTransformers())  # type: ignore[arg-type]
