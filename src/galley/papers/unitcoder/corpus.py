"""Stage 1: functions of the corpus through both filters, without copies and without the benchmarks; what is dropped is counted (E5).

arXiv:2502.11460, section 2.1, and the released filter. The corpus is unknown; here it is the standard library, at larger scales the
algorithms wheel and files of the hub too. Deviations: copies are dropped by syntax tree; functions that share ten words or a syntax tree
with HumanEval, MBPP or BigCodeBench are dropped and counted (the paper's own decontamination is not stated).
"""

from __future__ import annotations

import json
import sysconfig
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from galley.artifact import atomic_path
from galley.data.code_benchmarks import read_bigcodebench, read_humaneval_plus, read_mbpp
from galley.data.decontaminate import build_index, clean
from galley.data.fetched import present
from galley.data.functions import SKIP, Function, dedupe, hub_rows
from galley.data.syntax import ast_key, parse
from galley.papers.unitcoder.package_filter import AUDITS, filter_file, program, unresolved
from galley.papers.unitcoder.packages import AUTHORS, CONTROL, bigcodebench_roots
from galley.papers.unitcoder.plan import Plan
from galley.stage import Job
from galley.tables.items import Rows, absent, count, unreached
from galley.tables.ledger import leave

FILTERS = {"ours": (AUTHORS, ()), "released": (AUTHORS, AUDITS), "control_list": (CONTROL, ())}
NEEDS = {"HumanEval": "humaneval_plus", "MBPP": "mbpp", "BigCodeBench": "bigcodebench"}


class File(NamedTuple):
    """One file of the corpus."""

    origin: str
    package: str
    module: str
    text: str


def make_corpus(job: Job, *, sources: Path) -> None:
    """Write functions.jsonl (id, code, entry_point, lists) and corpus.items.parquet, corpus.runs.csv."""
    plan, out = job.plan, job.out
    files = list(corpus_files(sources, plan))
    rows: Rows = []
    kept: dict[str, list[Function]] = {}
    for name, (allowed, audits) in FILTERS.items():
        counts: Counter[str] = Counter()
        kept[name] = [f for file in files for f in filter_file(file.text, origin=file.origin, package=file.package, module=file.module,
                                                               allowed=allowed, audits=audits, counts=counts)]  # fmt: skip
        rows += filter_rows(name, kept[name], counts, allowed=allowed, audits=audits)
    rows += [count("corpus", "corpus", "files", len(files)), *list_rows(sources / "bigcodebench")]
    chosen, more = cleaned([*kept["ours"], *kept["control_list"]], sources=sources, ngram=plan.source_corpus.ngram)
    lists = {name: {f.id for f in kept[name]} for name in ("ours", "control_list")}
    with atomic_path(out / "functions.jsonl") as part, part.open("w", encoding="utf-8") as handle:
        for f in chosen:
            mine = [name for name, ids in lists.items() if f.id in ids]
            handle.write(json.dumps({"id": f.id, "code": program(f), "entry_point": f.name, "lists": mine}) + "\n")
    leave(job, rows + more, backend="none")


def corpus_files(sources: Path, plan: Plan) -> Iterator[File]:
    """Yield the corpus's files: an even choice of the standard library's, the wheel's where it is there, and the hub's."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    paths = [p for p in sorted(folder.rglob("*.py")) if not SKIP.intersection(p.relative_to(folder).parts)]
    wanted = plan.source_corpus.stdlib_files or len(paths)
    step = max(1, len(paths) // wanted)
    for path in paths[::step][:wanted]:
        inner = path.relative_to(folder)
        yield File(f"stdlib/{inner.as_posix()}", "stdlib", ".".join(inner.parts[:-1]), path.read_text(encoding="utf-8", errors="replace"))
    if plan.source_corpus.wheel and present(sources / "algorithms_wheel"):
        with zipfile.ZipFile(sources / "algorithms_wheel/algorithms.whl") as archive:
            for name in sorted(n for n in archive.namelist() if n.endswith(".py") and not SKIP.intersection(n.split("/"))):
                parts = name.split("/")
                yield File(name, parts[0], ".".join(parts[:-1]), archive.read(name).decode("utf-8", errors="replace"))
    if (hub := plan.source_corpus.hub) is not None:
        for row in islice(hub_rows(hub.repo, revision=hub.revision, data_dir=hub.data_dir), hub.files):
            yield File(f"{hub.repo}/{row[hub.id_field]}", hub.repo, "", row[hub.field])


def filter_rows(name: str, kept: Sequence[Function], counts: Counter[str], *, allowed: Sequence[str], audits: Sequence[str]) -> Rows:
    """E5: counts by reason, and what must be 0: items lost, ids twice, names that nothing binds, changes on a second pass."""
    changed = 0
    for f in kept:
        again = filter_file(program(f), origin=f.origin, package=f.package, allowed=allowed, audits=audits, counts=Counter())
        changed += [(g.name, parsed(g.source), sorted(g.imports)) for g in again] != [(f.name, parsed(f.source), sorted(f.imports))]
    reasons = {k: n for k, n in counts.items() if k not in ("input", "unparsable")}
    lost = counts["input"] - sum(reasons.values())
    return [
        *(count(name, "filter", f"dropped:{k}" if k != "kept" else "kept", n) for k, n in sorted(reasons.items())),
        count(name, "filter", "input", counts["input"]),
        count(name, "filter", "unparsable_files", counts["unparsable"]),
        count(name, "filter", "unaccounted", abs(lost)),
        count(f"silent:{name}", "filter", "unaccounted", abs(lost + reasons.get("dropped_file", 0))),  # as released: a file goes unsaid
        count(name, "filter", "ids_twice", len(kept) - len({f.id for f in kept})),
        count(name, "filter", "imports_twice", sum(len(set(f.imports)) < len(f.imports) for f in kept)),
        count(name, "filter", "unbound_names", sum(bool(unresolved(program(f))) for f in kept)),
        count(name, "filter", "changed_by_second_pass", changed),
    ]


def parsed(source: str) -> str:
    """Return a source's layout-free form."""
    import ast

    tree = parse(source)
    return ast.dump(tree) if tree else source


def list_rows(folder: Path) -> Rows:
    """E5.list: how far each package list is from BigCodeBench's roots in the order of their first appearance."""
    lists = {"authors_list": AUTHORS, "control_list": CONTROL}
    if not present(folder):
        return [absent(name, "BigCodeBench", "count", unreached("bigcodebench"), setting="list_difference") for name in lists]
    theirs = bigcodebench_roots(str(list(task.libraries)) for task in read_bigcodebench(folder, libraries="all"))
    return [
        count(name, "BigCodeBench", "list_difference", len(set(mine) ^ set(theirs)) + (set(mine) == set(theirs) and list(mine) != theirs))
        for name, mine in lists.items()
    ]


def cleaned(functions: Sequence[Function], *, sources: Path, ngram: int) -> tuple[list[Function], Rows]:
    """Return the functions without copies and without what a benchmark has, and the counts; absent benchmarks are rows that say so."""
    counts: Counter[str] = Counter()
    once = {f.id: f for f in functions}.values()
    unique = list(dedupe(once, counts=counts))
    texts, keys = benchmark_texts(sources)
    index = build_index(texts, n=ngram, keys=keys)
    overlaps: Counter[str] = Counter()
    kept = list(clean(unique, index, text=program, counts=overlaps, key=lambda f: ast_key(f.source)))
    rows = [count("ours", "decontamination", "duplicates", counts["duplicate"]), count("ours", "decontamination", "input", len(unique)),
            count("ours", "decontamination", "kept", len(kept))]  # fmt: skip
    for name, source in NEEDS.items():
        rows.append(
            count("ours", name, "overlapping", overlaps[name])
            if name in texts
            else absent("ours", name, "count", unreached(source), setting="overlapping")
        )
    return kept, rows


def benchmark_texts(sources: Path) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Return the texts and the solutions' syntax-tree keys of the benchmarks that are there, by name."""
    texts: dict[str, list[str]] = {}
    solutions: dict[str, list[str]] = {}
    if present(sources / "humaneval_plus"):
        tasks = read_humaneval_plus(sources / "humaneval_plus")
        texts["HumanEval"], solutions["HumanEval"] = [t.reference for t in tasks], [t.reference for t in tasks]
    if present(sources / "mbpp"):
        mbpp = read_mbpp(sources / "mbpp")
        texts["MBPP"], solutions["MBPP"] = [f"{t.text}\n{t.reference}" for t in mbpp], [t.reference for t in mbpp]
    if present(sources / "bigcodebench"):
        big = read_bigcodebench(sources / "bigcodebench", libraries="all")
        texts["BigCodeBench"], solutions["BigCodeBench"] = [t.reference for t in big], [t.reference for t in big]
    return texts, {name: [ast_key(code) for code in codes if parse(code)] for name, codes in solutions.items()}
