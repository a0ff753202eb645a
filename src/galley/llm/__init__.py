"""Text-generation backends: a local Hugging Face directory, or an OpenAI-compatible endpoint (vLLM, llama.cpp, a vendor)."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from galley.llm.backend import Backend, Completion, Messages, Prompt
    from galley.llm.cache import ResponseCache
    from galley.llm.endpoint import EndpointBackend
    from galley.llm.local import HFBackend

__all__ = ["Backend", "Completion", "EndpointBackend", "HFBackend", "Messages", "Prompt", "ResponseCache"]
_WHERE = {"EndpointBackend": "endpoint", "HFBackend": "local", "ResponseCache": "cache"}


def __getattr__(name: str) -> Any:
    """Import a backend when it is asked for: one brings torch, the other an HTTP client."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"galley.llm.{_WHERE.get(name, 'backend')}"), name)
