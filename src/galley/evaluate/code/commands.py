"""The code benchmarks on the command line, each command from files to files; no logic here.

Source: ours.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from galley import inputs
from galley.artifact import GalleyError, sole
from galley.evaluate.certificates import COLUMNS as CERTIFIED
from galley.options import (
    MODEL_TAKES,
    SOURCES,
    SourcesOption,
    UnsafeOption,
    WorkersOption,
    checked,
    file,
    new_csv,
    new_file,
    number,
    one_of,
    replaced,
)
from galley.seen import say

app = typer.Typer(rich_markup_mode=None)
BENCHMARKS = ("humaneval", "mbpp", "humaneval_plus", "mbpp_plus", "bigcodebench", "bigcodebench_all")
BenchmarkArgument = Annotated[str, typer.Argument(help=f"one of {', '.join(BENCHMARKS)}", callback=one_of(*BENCHMARKS))]
SCORES = replaced(
    inputs.holding("scores.csv", check=inputs.csv_table("suite", "metric", "samples_sha256")),
    names=("results.jsonl", "scores.csv", "rejected.jsonl"),
)
AGREEMENT = replaced(
    inputs.holding("agreement.csv", check=inputs.csv_table("suite", "programs", "agree")), names=("agreement.csv", "differences.jsonl")
)
DRAWN = new_file(inputs.json_lines(task_id=str, sample=int, finish=str))
MODEL_OR_SERVED = checked("model", f"{MODEL_TAKES}, or the name of a model with --endpoint URL", lambda value: None)
SAMPLES = "JSON lines with task_id and completion or solution, as evalplus writes them"


@app.command(
    epilog="Example:  galley code-eval humaneval_plus samples.jsonl --out scores\n\n"
    "Of a few tasks:  galley code-eval mbpp samples.jsonl --out scores --partial"
)
@sole
def code_eval(
    benchmark: BenchmarkArgument,
    samples: Annotated[Path, typer.Argument(help=SAMPLES, callback=file(SAMPLES))],
    out: Annotated[Path, typer.Option(help="folder for results.jsonl, scores.csv and rejected.jsonl", callback=SCORES)],
    sources: SourcesOption = SOURCES,
    workers: WorkersOption = 1,
    partial: Annotated[bool, typer.Option(help="score the tasks that have samples and ignore the others")] = False,
    unsafe: UnsafeOption = False,
) -> None:
    """Score programs on a code benchmark in the sandbox, once its own solutions have passed there."""
    from galley.evaluate.code.score import score_file

    scores = score_file(benchmark, samples, sources=sources, out=out, workers=workers, partial=partial, unsafe=unsafe)
    say(scores[["suite", "metric", "value", "ci_low", "ci_high", "n_tasks", "lines_rejected"]].to_string(index=False))


@app.command(
    epilog="Examples:  galley code-generate humaneval --model my/smollm2 --out samples.jsonl --limit 10\n\n"
    "galley code-generate mbpp --model NAME --endpoint http://127.0.0.1:8000/v1 --out samples.jsonl --n 5 --temperature 0.8"
)
@sole
def code_generate(
    benchmark: BenchmarkArgument,
    out: Annotated[Path, typer.Option(help="samples file to write (.jsonl)", callback=DRAWN)],
    model: Annotated[
        str, typer.Option(help="a Hugging Face directory, or with --endpoint the name that the server knows", callback=MODEL_OR_SERVED)
    ],
    endpoint: Annotated[str | None, typer.Option(help="address of an OpenAI-compatible server, such as http://127.0.0.1:8000/v1")] = None,
    key_env: Annotated[str, typer.Option(help="environment variable that holds the endpoint's key")] = "OPENAI_API_KEY",
    style: Annotated[str | None, typer.Option(help="prompt convention; default: the benchmark's first")] = None,
    n: Annotated[int, number(1, 10_000, help="samples a task")] = 1,
    temperature: Annotated[float, number(0.0, 100.0, help="of the sampling; 0 is greedy")] = 0.0,
    top_p: Annotated[float, number(0.0, 1.0, above=True, help="nucleus of the sampling, where temperature is not 0")] = 0.95,
    max_tokens: Annotated[int | None, number(1, 1_000_000, help="default: the style's")] = None,
    seed: Annotated[int, number(0, 2**31 - 1, help="of the sampling")] = 0,
    limit: Annotated[int | None, number(1, 100_000, help="first tasks only")] = None,
    batch_size: Annotated[int, number(1, 10_000, help="samples at a time, for a directory")] = 8,
    dtype: Annotated[str, typer.Option(help="float32 or bfloat16, for a directory", callback=one_of("float32", "bfloat16"))] = "float32",
    device: Annotated[str, typer.Option(help="cpu or cuda, for a directory", callback=one_of("cpu", "cuda"))] = "cpu",
    workers: Annotated[int, number(1, 1024, help="requests at a time, for an endpoint")] = 4,
    requests_per_minute: Annotated[float | None, number(0.0, 1_000_000.0, above=True, help="for an endpoint; default: no limit")] = None,
    sources: SourcesOption = SOURCES,
) -> None:
    """Draw samples for a code benchmark from a local model or an endpoint (goes on where it stopped)."""
    from galley.evaluate.code.generate import generate_samples, ready

    ready(benchmark, sources=sources, style=style)  # before a model is loaded
    backend: Any
    kept = out.with_name(out.name + ".responses")
    if endpoint is not None:
        from galley.llm.endpoint import EndpointBackend

        backend = EndpointBackend(endpoint, model, key_env=key_env, cache=kept, workers=workers, requests_per_minute=requests_per_minute)
    else:
        found = inputs.first_wrong([Path(model)], [inputs.model])
        if found is not None:
            raise GalleyError(f"--model is {model}, which {found[1]}; it takes {MODEL_OR_SERVED.takes}")  # type: ignore[attr-defined]
        import torch

        from galley.llm.local import HFBackend

        backend = HFBackend.load(Path(model), dtype=getattr(torch, dtype), device=device, batch_size=batch_size, cache=kept)
    generate_samples(benchmark, backend, sources=sources, out=out, style=style, n=n, temperature=temperature, top_p=top_p,
                     max_tokens=max_tokens, seed=seed, limit=limit)  # fmt: skip
    say(json.dumps({"samples": str(out)}))


@app.command(epilog="Example:  galley code-certify --limit 20 --workers 2 --out my/certificates.csv")
@sole
def code_certify(
    out: Annotated[Path, typer.Option(help="csv to write", callback=new_csv(*CERTIFIED, only=True))] = Path(
        "results/table_code_certificates.csv"
    ),
    sources: SourcesOption = SOURCES,
    limit: Annotated[int | None, number(2, 100_000, help="tasks per benchmark; default: all")] = None,
    workers: WorkersOption = 1,
) -> None:
    """Run every code benchmark's own solutions, wrong programs and attacks: 1, near 0 and 0."""
    import pandas as pd

    from galley.evaluate.certificates import COLUMNS, write_table
    from galley.evaluate.code.certify import certify_code

    write_table(pd.DataFrame(certify_code(sources, limit=limit, workers=workers)).reindex(columns=COLUMNS), out)


@app.command(epilog="Example:  galley code-parity humaneval_plus --out my/parity --limit 20 --workers 2")
@sole
def code_parity(
    benchmark: Annotated[str, typer.Argument(help="humaneval_plus or mbpp_plus", callback=one_of("humaneval_plus", "mbpp_plus"))],
    out: Annotated[Path, typer.Option(help="folder for agreement.csv and differences.jsonl", callback=AGREEMENT)],
    sources: SourcesOption = SOURCES,
    per_task: Annotated[int, number(1, 10_000, help="published programs of each task")] = 3,
    limit: Annotated[int | None, number(1, 100_000, help="tasks; default: all")] = None,
    workers: WorkersOption = 1,
) -> None:
    """Compare our verdicts with evalplus's own on programs that models wrote."""
    from galley.evaluate.code.parity import write_parity

    say(write_parity(benchmark, sources=sources, out=out, per_task=per_task, workers=workers, limit=limit).to_string(index=False))
