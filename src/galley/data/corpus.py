"""The corpus: text that any machine has, split by document into train, calibration and held-out.

Code and documentation of Python's standard library, public-domain plays where they can be fetched,
and essays. Essays are only ever held out: nothing is trained or calibrated on them.

Source: ours.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from galley.artifact import GalleyError, atomic_dir, digest, write_json
from galley.data.fetched import refuse_absent

SPLITS = {"heldout": 0.1, "calibration": 0.1}  # the rest is train
Mixture = Callable[[Path], dict[str, dict[str, dict[str, int]]]]  # fills a folder with splits, returns what is in them
CHUNK = 20_000  # characters: a play is split at line ends, so that no document is huge


def stdlib_documents(*, max_bytes: int) -> list[dict[str, str]]:
    """Return the standard library's modules as documents, in name order, up to `max_bytes`."""
    root = Path(sysconfig.get_paths()["stdlib"])
    paths = sorted(p for p in root.glob("*.py")) + sorted(root.glob("[a-z]*/*.py"))
    skip = {"site-packages", "test", "idlelib", "lib2to3", "ensurepip", "encodings", "__pycache__", "pydoc_data"}
    documents, total = [], 0
    for path in paths:
        if path.parent.name in skip or path.stat().st_size < 500:
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        total += len(text)
        documents.append({"id": f"stdlib/{path.relative_to(root)}", "text": text, "source": "stdlib"})
        if total >= max_bytes:
            break
    return documents


def pydoc_documents(*, max_bytes: int) -> list[dict[str, str]]:
    """Return the language reference's topics, which every Python ships, as prose documents."""
    from pydoc_data.topics import topics

    documents, total = [], 0
    for name, text in sorted(topics.items()):
        if len(text) < 500:
            continue
        total += len(text)
        documents.append({"id": f"pydoc/{name}", "text": text, "source": "pydoc"})
        if total >= max_bytes:
            break
    return documents


def folder_documents(folder: Path, *, source: str, max_bytes: int) -> list[dict[str, str]]:
    """Return the text files of a fetched source in chunks of whole lines."""
    documents: list[dict[str, str]] = []
    total = 0
    for path in sorted(folder.glob("**/*.txt")):
        text = path.read_text(encoding="utf-8", errors="replace")
        for n, piece in enumerate(_pieces(text)):
            if len(piece) < 500 or total >= max_bytes:
                continue
            total += len(piece)
            documents.append({"id": f"{source}/{path.stem}/{n}", "text": piece, "source": source})
    return documents


def _pieces(text: str) -> list[str]:
    pieces, current, size = [], [], 0
    for line in text.splitlines(keepends=True):
        current.append(line)
        size += len(line)
        if size >= CHUNK:
            pieces.append("".join(current))
            current, size = [], 0
    return [*pieces, "".join(current)] if current else pieces


def split_of(document: dict[str, str], *, seed: int) -> str:
    """Return a document's split, from a hash of its group: parts of one work never part ways."""
    if document["source"] == "essays":
        return "heldout"
    group = document["id"].rsplit("/", 1)[0] if document["source"] == "shakespeare" else document["id"]
    point = int(hashlib.sha256(f"{seed}:{group}".encode()).hexdigest()[:8], 16) / 2**32
    if point < SPLITS["heldout"]:
        return "heldout"
    return "calibration" if point < SPLITS["heldout"] + SPLITS["calibration"] else "train"


def prepare_corpus(
    *, out: Path, texts: Mapping[str, Path], seed: int, max_bytes: dict[str, int], missing: str = "stop", mixture: Mixture | None = None
) -> None:
    """Write {train,calibration,heldout}.jsonl and corpus.json, which says which text was used.

    `texts` are the folders of the fetched sources by the names that `max_bytes` has for them. GalleyError when a text that is wanted
    is out of reach, unless `missing` is accept: then corpus.json says so. A mixture of hub data sets comes after this machine's own
    text; its download goes on where an interrupted one stopped.
    """
    documents = stdlib_documents(max_bytes=max_bytes.get("stdlib", 0)) + pydoc_documents(max_bytes=max_bytes.get("pydoc", 0))
    wanted = {name: folder for name, folder in texts.items() if max_bytes.get(name, 0)}
    fetched = {name: folder for name, folder in wanted.items() if (folder / "source.json").exists() or not any(folder.glob("**/*.txt"))}
    gone = [name for name, folder in fetched.items() if refuse_absent([folder.name], sources=folder.parent, what=str(out), missing=missing)]
    for name, folder in wanted.items():
        documents += folder_documents(folder, source=name, max_bytes=max_bytes[name]) if name not in gone else []
    splits: dict[str, list[dict[str, str]]] = {"train": [], "calibration": [], "heldout": []}
    seen: set[str] = set()
    for document in documents:
        content = digest(document["text"])
        if content not in seen:  # a repeated document would leak between splits
            seen.add(content)
            splits[split_of(document, seed=seed)].append(document)
    facts: dict[str, dict[str, dict[str, int]]] = {}
    streamed = out.parent / f".{out.name}.mixture"
    from_hub = mixture(streamed) if mixture else {}
    with atomic_dir(out) as part:
        for split, rows in splits.items():
            lines = [json.dumps(row, ensure_ascii=False) for row in rows]
            if mixture:
                (streamed / f"{split}.jsonl").replace(part / f"{split}.jsonl")
            with (part / f"{split}.jsonl").open("a", encoding="utf-8") as file:
                file.writelines(f"{line}\n" for line in lines)
            facts[split] = dict(from_hub.get(split, {}))
            for source in sorted({row["source"] for row in rows}):
                lengths = [len(row["text"]) for row in rows if row["source"] == source]
                facts[split][source] = {"documents": len(lengths), "characters": sum(lengths)}
        write_json(part / "corpus.json", {"seed": seed, "splits": facts, **({"absent": gone} if gone else {})})
    shutil.rmtree(streamed, ignore_errors=True)


def read_split(corpus: Path, split: str) -> list[dict[str, str]]:
    """Return a corpus split's documents."""
    return list(iter_split(corpus, split))


def iter_split(corpus: Path, split: str) -> Iterator[dict[str, str]]:
    """Yield a corpus split's documents one by one; GalleyError when there is none."""
    path = corpus / f"{split}.jsonl"
    if not path.exists():
        raise GalleyError(f"no {split} split at {path}; run `galley prepare-corpus {corpus}`")
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)
