"""Fine-tuning in several processes: a job file and `accelerate launch` with an FSDP configuration.

Source: ours. accelerate starts the processes and hands them the configuration's FSDP settings; what they do is
galley.train.worker. The configuration is recipes/accelerate/fsdp.yaml: a matter of the machine, not of the experiment.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from galley.artifact import GalleyError, write_json
from galley.train.loop import TrainConfig

CONFIG = Path("recipes/accelerate/fsdp.yaml")


def launch_training(
    folder: Path,
    config: TrainConfig,
    *,
    model: Path,
    data: Path,
    out: Path,
    windows: Path,
    at_steps: Sequence[int],
    processes: int,
    device: torch.device,
    launcher: Path = CONFIG,
) -> None:
    """Train the model directory on packed data with `processes` processes; write `out`, a plain Hugging Face directory.

    `folder` keeps job.json, the resumable state and the scores of the points (points/step-N.parquet). GalleyError when the
    launcher's configuration is missing or a process failed; its own message is in the log above.
    """
    if not launcher.exists():
        raise GalleyError(f"no launcher configuration at {launcher}; run from the project's folder")
    job = {"model": model, "data": data, "out": out, "windows": windows, "state": folder / "train", "points": folder / "points"}
    job_file = folder / "job.json"
    write_json(job_file, {name: str(path) for name, path in job.items()} | {"at_steps": list(at_steps), "config": asdict(config)})
    done = subprocess.run(command(job_file, processes=processes, device=device, config=config, launcher=launcher), check=False)
    if done.returncode:
        raise GalleyError(
            f"fine-tuning in {processes} processes ended with exit code {done.returncode}; their messages are in this log. "
            f"Run the same command again to go on from the latest kept step of {folder}"
        )


def command(job: Path, *, processes: int, device: torch.device, config: TrainConfig, launcher: Path = CONFIG) -> list[str]:
    """Return the launch command; a free port is taken, so that two runs on a machine do not meet."""
    precision = "bf16" if config.dtype == "autocast" else "no"
    return [
        sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(launcher), "--num_processes", str(processes),
        "--num_machines", "1", "--mixed_precision", precision, "--main_process_port", "0", "--module",
        "galley.train.worker", str(job), device.type,
    ]  # fmt: skip
