"""Inputs written by a language model, the paper's way: ten of them as a Python list of dict(...) calls, which is read, not run.

arXiv:2407.12504, section 3.2 and its release: one reply a function, temperature 0.2, top_p 0.95, at most 2048 tokens, asked again up
to four times when a reply holds no inputs. Deviations: the wording is ours; a reply is parsed and only literals are taken, where the
release executes it.

Source: ours, on galley.llm.
"""

from __future__ import annotations

import ast
from pathlib import Path

from galley.data.functions import Function
from galley.llm.backend import Backend
from galley.papers.case2code.inputs import Inputs, key_of
from galley.papers.case2code.official import extract_code
from galley.papers.case2code.synthesis import Writer
from galley.papers.case2code.values import fits

TRIES = 4
SAMPLING = {"temperature": 0.2, "top_p": 0.95, "max_tokens": 2048}
REQUEST = """Here is a Python function.

```python
{code}```

Say which types and ranges its arguments take. Then write ten different inputs, ordinary and unusual ones, as one Python list in this form:

```python
examples = [
    dict({example}),
]
```

Use literals only. Do not call the function and do not write its outputs."""


def endpoint_writer(*, base_url: str, model: str, cache: Path) -> Writer:
    """Return a writer that asks an OpenAI-compatible endpoint; replies are kept by content, so that no question is paid for twice."""
    from galley.llm.endpoint import EndpointBackend

    backend = EndpointBackend(base_url, model, cache=cache)
    return lambda functions: write_inputs(backend, functions)


def write_inputs(backend: Backend, functions: list[Function]) -> list[list[Inputs]]:
    """Return the inputs proposed for each function; none where no reply held any."""
    found: list[list[Inputs]] = [[] for _ in functions]
    for attempt in range(TRIES):
        todo = [i for i, inputs in enumerate(found) if not inputs]
        if not todo:
            break
        prompts = [[{"role": "user", "content": request(functions[i])}] for i in todo]
        replies = backend.generate(prompts, n=1, seed=attempt, **SAMPLING)  # type: ignore[arg-type]
        for i, (reply,) in zip(todo, replies, strict=True):
            found[i] = read_reply(reply.text)
    return found


def request(function: Function) -> str:
    """Return the question about one function."""
    node = ast.parse(function.source).body[0]
    assert isinstance(node, ast.FunctionDef)
    return REQUEST.format(code=function.source, example=", ".join(f"{arg.arg}=..." for arg in node.args.args))


def read_reply(text: str) -> list[Inputs]:
    """Return the inputs in a reply's `examples` lists: dict(...) calls or dict displays of literals; anything else is passed over."""
    try:
        tree = ast.parse(extract_code(text))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    found: dict[str, Inputs] = {}
    for node in tree.body:
        if not isinstance(node, ast.Assign | ast.AugAssign) or not isinstance(node.value, ast.List):
            continue
        target = node.targets[0] if isinstance(node, ast.Assign) else node.target
        if isinstance(target, ast.Name) and target.id == "examples":
            for given in filter(None, map(_read_one, node.value.elts)):
                if all(fits(value) for value in given.values()):
                    found.setdefault(key_of(given), given)
    return list(found.values())


def _read_one(node: ast.expr) -> Inputs | None:
    try:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict" and not node.args:
            return {k.arg: ast.literal_eval(k.value) for k in node.keywords if k.arg is not None}
        value = ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return None
    return value if isinstance(value, dict) and all(isinstance(k, str) for k in value) else None
