"""The synthesis stage: functions from every source, filters, decontamination, cases, splits, the training file, and all counts.

Source: arXiv:2407.12504, section 3, at whatever size the plan says; every step streams.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from tqdm.auto import tqdm

from galley.artifact import atomic_path
from galley.data.code_benchmarks import read_bigcodebench, read_humaneval, read_mbpp
from galley.data.decontaminate import Index, build_index, clean
from galley.data.fetched import present
from galley.data.function_filters import CASE2CODE, keep
from galley.data.functions import (
    Function,
    dedupe,
    functions_in,
    hub_rows,
    package_functions,
    plain,
    row_functions,
    stdlib_functions,
    wheel_functions,
)
from galley.data.syntax import ast_key
from galley.papers.case2code.dataset import export_rows, stream_items, write_samples
from galley.papers.case2code.official import read_official
from galley.papers.case2code.plan import Inputs, Plan
from galley.papers.case2code.synthesis import Writer, synthesise
from galley.stage import Job
from galley.tables.items import unreached
from galley.tables.ledger import leave

BENCHMARKS = ("humaneval", "mbpp", "bigcodebench", "case2code_test")


def build(job: Job, *, sources: Path, workers: int, unsafe: bool) -> None:
    """Write cases.jsonl, sft.jsonl, synthesize.items.parquet and .runs.csv; what ran is kept, by its content: for other plans too."""
    plan, out = job.plan, job.out
    read, filtered, twice, overlap, cased = (Counter[str]() for _ in range(5))
    index, absent = benchmark_index(sources, n=plan.functions.ngram)
    functions = read_functions(plan, sources=sources, counts=read)
    kept = dedupe(keep(map(plain, functions), CASE2CODE, counts=filtered), counts=twice)
    wanted = clean(kept, index, text=lambda f: f.source, counts=overlap, key=lambda f: ast_key(f.source))
    wanted = itertools.islice(wanted, plan.functions.limit)
    shown = tqdm(wanted, desc="functions", unit="", total=plan.functions.limit, mininterval=5)
    samples = synthesise(
        shown, journal=out / "state/runs.sqlite", counts=cased, cases=plan.inputs.cases, min_hidden=plan.inputs.min_hidden,
        seed=plan.data_seed, workers=workers, writer=make_writer(plan.inputs, cache=out / "state/replies"), unsafe=unsafe,
    )  # fmt: skip
    count = write_samples(samples, out / "cases.jsonl")
    exported = export(out / "cases.jsonl", out / "sft.jsonl", plan=plan)
    rows = count_rows("read", read) + count_rows("filter", filtered) + count_rows("duplicate", twice)
    rows += count_rows("decontamination", overlap) + count_rows("synthesis", cased)
    rows += [_row("decontamination", name, float("nan"), status="not_run", reason=unreached(name)) for name in absent]
    rows += [_row("export", "sft", exported), _row("export", "cases", count)]
    dropped = sum(twice.values()) + sum(sum(c.values()) - c["input"] - c["kept"] for c in (filtered, overlap, cased))
    rows.append({"method": "pipeline", "benchmark": "corpus", "metric": "unaccounted", "score": filtered["input"] - dropped - count})
    # The control forgets one reason, as a pipeline that loses rows silently would.
    rows.append({"method": "control:silent_drop", "benchmark": "corpus", "metric": "unaccounted",
                 "score": filtered["input"] - dropped - count + filtered["free_name"]})  # fmt: skip
    leave(job, rows, backend="sandbox" if not unsafe else "none (--unsafe)", model="corpus", method=plan.inputs.writer)


def read_functions(plan: Plan, *, sources: Path, counts: Counter[str]) -> Iterator[Function]:
    """Yield the functions of all sources that the plan names, in its order; an absent wheel is counted, not missed silently."""
    wanted = plan.functions
    for name in wanted.wheels:
        if present(sources / name):
            for wheel in sorted((sources / name).glob("*.whl")):
                yield from wheel_functions(wheel, counts=counts)
        else:
            counts[f"absent:{name}"] += 1
    for name in wanted.packages:
        yield from package_functions(name, counts=counts)
    if wanted.stdlib:
        yield from stdlib_functions(counts=counts)
    if wanted.hub is not None:
        rows = hub_rows(wanted.hub.repo, revision=wanted.hub.revision, data_dir=wanted.hub.data_dir)
        yield from row_functions(rows, field=wanted.hub.field, id_field=wanted.hub.id_field, package=wanted.hub.repo, counts=counts)


def benchmark_index(sources: Path, *, n: int) -> tuple[Index, list[str]]:
    """Return the index of every benchmark that is there, and the names of those that are not."""
    texts: dict[str, list[str]] = {}
    programs: dict[str, list[str]] = {}
    for name in BENCHMARKS:
        folder = sources / name
        if not present(folder):
            continue
        if name == "humaneval":
            programs[name] = [t.reference for t in read_humaneval(folder)]
            texts[name] = programs[name]
        elif name == "mbpp":
            tasks = read_mbpp(folder)
            programs[name] = [t.reference for t in tasks]
            texts[name] = programs[name] + [t.text for t in tasks]
        elif name == "bigcodebench":
            programs[name] = texts[name] = [t.reference for t in read_bigcodebench(folder, libraries="all")]
        else:
            programs[name] = texts[name] = [t.code for t in read_official(folder)]
    return build_index(texts, n=n, keys=solution_keys(programs)), [name for name in BENCHMARKS if name not in texts]


def solution_keys(programs: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Return the syntax-tree keys of the functions in benchmark solutions."""
    return {name: [ast_key(f.source) for code in codes for f in functions_in(code, origin=name, package=name)]
            for name, codes in programs.items()}  # fmt: skip


def make_writer(inputs: Inputs, *, cache: Path) -> Writer | None:
    """Return the language model that writes inputs, or None where doctests, probes and mutation do."""
    if inputs.writer == "mutation":
        return None
    from galley.papers.case2code.writer import endpoint_writer

    assert inputs.base_url is not None and inputs.model is not None
    return endpoint_writer(base_url=inputs.base_url, model=inputs.model, cache=cache)


def export(cases: Path, out: Path, *, plan: Plan) -> int:
    """Write the training split as prompt and answer; return how many rows."""
    items = stream_items(cases, "train", seed=plan.data_seed, heldout=plan.heldout, min_hidden=plan.inputs.min_hidden)
    with atomic_path(out) as part, part.open("w", encoding="utf-8") as target:
        return sum(target.write(json.dumps(row, ensure_ascii=False) + "\n") > 0 for row in export_rows(items, seed=plan.data_seed))


def count_rows(stage: str, counts: Counter[str]) -> list[dict]:
    """Return one row a reason of a stage."""
    return [_row(stage, reason, count) for reason, count in sorted(counts.items())]


def _row(stage: str, what: str, score: float, **more: str) -> dict:
    return {"method": stage, "setting": what, "benchmark": "corpus", "metric": "count", "score": score, **more}
