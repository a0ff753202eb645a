"""Galley: LLM papers as declarative, reproducible tables with a verdict on every claim.

`import galley` teaches transformers the converted architectures: it registers them right
after transformers has loaded its own registries, and imports nothing heavy by itself. It also spares
every process a second: transformers imports hqq, and with it torch's compiler, whenever it is installed;
here hqq is imported at the first quantised cache.
"""

from __future__ import annotations

import contextlib
import importlib.machinery
import sys
from collections.abc import Iterator, Sequence
from types import ModuleType

__version__ = "0.1.0"

_AUTO = "transformers.models.auto.modeling_auto"
_CACHES = "transformers.cache_utils"  # which imports _HQQ at once, where it is installed
_HQQ = "hqq.core.quantize"
_LLAMA = "transformers.models.llama.modeling_llama"  # which our classes extend


class _LaterQuantizer:
    """Stands for hqq's Quantizer in transformers until one of its attributes is asked for."""

    def __getattr__(self, name: str):
        from hqq.core.quantize import Quantizer

        sys.modules[_CACHES].HQQQuantizer = Quantizer  # type: ignore[attr-defined]
        return getattr(Quantizer, name)


@contextlib.contextmanager
def _hqq_later() -> Iterator[None]:
    """Within, `from hqq.core.quantize import Quantizer` gives the stand-in, unless hqq has been imported already."""
    if _HQQ in sys.modules:
        yield
        return
    stand_in = ModuleType(_HQQ)
    stand_in.Quantizer = _LaterQuantizer()  # type: ignore[attr-defined]
    sys.modules[_HQQ] = stand_in
    try:
        yield
    finally:
        del sys.modules[_HQQ]


def _register() -> None:
    # The module registers itself; where it is what imported transformers, it is half way here and does so at its end.
    from galley.models import mla  # noqa: F401


class _AfterTransformers:
    """Run `_register` once transformers' model registry has been executed, and Llama's module not half way.

    Who imports Llama's module first gets the registry from inside it: then the end of that module is the time.
    """

    done = False

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None):
        if name not in (_AUTO, _LLAMA, _CACHES):
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is None or spec.loader is None:
            return None
        loader, execute = spec.loader, spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            with _hqq_later() if name == _CACHES else contextlib.nullcontext():
                execute(module)
            if name != _CACHES:
                self._after(name)

        loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec

    def _after(self, name: str) -> None:
        llama = sys.modules.get(_LLAMA)
        half_way = name == _AUTO and llama is not None and getattr(llama.__spec__, "_initializing", False)
        if self.done or half_way or _AUTO not in sys.modules:
            return
        self.done = True
        _register()


if _AUTO in sys.modules:
    _register()
elif not any(isinstance(finder, _AfterTransformers) for finder in sys.meta_path):
    sys.meta_path.insert(0, _AfterTransformers())  # type: ignore[arg-type]
