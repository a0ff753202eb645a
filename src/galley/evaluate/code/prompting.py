"""How a benchmark is put to a model: the prompt, where the answer stops, and how an answer becomes a sample.

Source: HumanEval's stops and prompt (arXiv:2107.03374), MBPP's three-shot prompt (arXiv:2108.07732), EvalPlus's prompts and stops
(arXiv:2305.01210, evalplus 0.3.1), BigCodeBench's two splits (arXiv:2406.15877). Scores differ by points between these
conventions, so a style has a name, and the name goes into every result. Deviation: the chat style lets the model open its own
code block instead of beginning the answer for it, which a chat endpoint does not allow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from galley.artifact import GalleyError
from galley.data.code_benchmarks import FEW_SHOT, mbpp_few_shot
from galley.evaluate.code.sanitise import drop_trailing_calls, fenced, sanitise
from galley.llm.backend import Prompt

END = ("<|endoftext|>", "<|endofmask|>", "</s>", "\nif __name__", "\ndef main(", "\nprint(")
ASK = "Please provide a self-contained Python script that solves the following problem in a markdown code block:"


@dataclass(frozen=True)
class Style:
    """A prompt convention of a benchmark."""

    name: str
    prompt: Callable[[Any], Prompt]
    stop: tuple[str, ...]
    max_tokens: int
    sample: Callable[[Any, str], dict[str, str]]  # (task, answer) -> completion or solution


def styles_of(benchmark: str, tasks: Sequence[Any]) -> dict[str, Style]:
    """Return the styles of a benchmark, the default one first; MBPP's needs all its tasks, of which it shows three."""
    stop: tuple[str, ...]
    chat = Style("chat", _chat, (), 768, _from_chat)
    if benchmark == "humaneval":
        stop = ("\nclass", "\ndef", "\n#", "\nif", "\nprint")
        styles = [Style("completion", lambda t: t.prompt, stop, 512, _completion), chat]
    elif benchmark == "humaneval_plus":
        stop = (*END, "\ndef ", "\nclass ", "\nimport ", "\nfrom ", "\nassert ")
        styles = [Style("completion", lambda t: t.prompt.strip() + "\n", stop, 768, _plus_completion), chat]
    elif benchmark == "mbpp":
        shown = [t for t in tasks if t.number in FEW_SHOT]
        stop = ("\nclass", "\nassert", '\n"""', "\nprint", "\nif", "\n```")
        styles = [
            Style("three_shot", lambda t: mbpp_few_shot(t, shown), ("[DONE]",), 512, lambda t, text: {"solution": text}),
            Style("docstring", lambda t: t.prompt, stop, 512, _completion),
            chat,
        ]
    elif benchmark == "mbpp_plus":
        styles = [Style("docstring", lambda t: t.prompt.strip() + "\n", (*END, '\n"""', "\nassert"), 768, _plus_completion), chat]
    elif benchmark == "bigcodebench":
        stop = (*END, "\ndef ", "\nclass ", "\nimport ", "\nfrom ", "\nassert ")
        styles = [
            Style("complete", lambda t: t.prompt.strip() + "\n", stop, 1280, _plus_completion),
            Style("complete_chat", _chat, (), 1280, _from_chat),
            Style("instruct", lambda t: [{"role": "user", "content": f"{ASK}\n{t.instruct.strip()}\n"}], (), 1280, _from_chat),
        ]
    else:
        raise GalleyError(f"benchmark is {benchmark!r}; allowed: humaneval, humaneval_plus, mbpp, mbpp_plus, bigcodebench")
    return {style.name: style for style in styles}


def _chat(task: Any) -> Prompt:
    return [{"role": "user", "content": f"{ASK}\n```\n{task.prompt.strip()}\n```\n"}]


def _completion(task: Any, text: str) -> dict[str, str]:
    return {"completion": text}


def _plus_completion(task: Any, text: str) -> dict[str, str]:
    program = sanitise(task.prompt.strip() + "\n" + text, task.entry_point)
    return {"solution": program}


def _from_chat(task: Any, text: str) -> dict[str, str]:
    return {"solution": drop_trailing_calls(sanitise(fenced(text, task.entry_point), task.entry_point), task.entry_point)}
