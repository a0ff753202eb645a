"""One process of a launched fine-tuning: reads a job, trains its share, and the first process writes the model.

Source: ours. Started by galley.train.launch through `accelerate launch`; a job is a JSON file that names folders and settings,
so that the same command run again by hand goes on where it was.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from transformers import PreTrainedModel

from galley.artifact import atomic_dir, atomic_path
from galley.models.device import resolve_device
from galley.models.likelihood import load_windows, score_windows
from galley.models.loading import load_model, load_tokenizer
from galley.redact import guard_streams
from galley.train.loop import Run, TrainConfig, packed_batches
from galley.train.packing import packed
from galley.train.workers import Sharded


def work(job: dict, *, device: torch.device) -> None:
    """Train the job's model on its data; write job.out (a Hugging Face directory with losses.csv) and the points' scores."""
    config = TrainConfig(**job["config"])
    workers = Sharded(device)
    start = Path(job["model"])
    width = torch.bfloat16 if config.dtype == "bfloat16" else torch.float32
    model = load_model(start, dtype=width, device=device)
    data = packed(Path(job["data"]), seq_len=config.seq_len)
    run = Run(model, packed_batches(data, config, workers), config, state=Path(job["state"]), workers=workers)

    def whole() -> PreTrainedModel | None:
        weights = workers.full_weights(run.objective)
        if workers.rank:
            return None
        plain = load_model(start, dtype=width)
        plain.load_state_dict(weights)
        return plain

    def score(step: int, _: PreTrainedModel) -> None:
        plain = whole()
        if plain is not None:
            with atomic_path(Path(job["points"]) / f"step-{step}.parquet") as part:
                score_windows(plain.to(device), load_windows(Path(job["windows"]))).to_parquet(part)
        workers.wait()

    losses = run.steps(score, job["at_steps"])
    plain = whole()
    if plain is not None:
        with atomic_dir(Path(job["out"])) as part:
            plain.save_pretrained(part)
            load_tokenizer(start).save_pretrained(part)
            losses.to_csv(part / "losses.csv", index=False)
    workers.wait()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    guard_streams()
    path, wanted = sys.argv[1:]
    work(json.loads(Path(path).read_text(encoding="utf-8")), device=resolve_device(wanted))
