"""KV caches, each a transformers Cache."""
