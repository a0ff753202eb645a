"""What `accelerate launch` does with its command, in processes that need not import torch and transformers again.

They are forked from one process that has imported the worker, and get the environment that accelerate itself makes of the
command and its configuration file. One test of tests/train/test_launch.py starts the command as it stands.
"""

import multiprocessing
import os
import runpy
import subprocess
import sys

from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils.launch import prepare_multi_gpu_env

PRELOAD = ["galley.train.worker", "accelerate", "torch.distributed.fsdp", "torch.distributed.tensor"]


def _work(env, argv):
    os.environ.update(env)
    sys.argv = argv
    runpy.run_module(argv[0], run_name="__main__", alter_sys=True)


def start(command):
    """Start the processes of a launch command; return them."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    assert command[1:3] == ["-m", "accelerate.commands.launch"]
    args, *_ = _validate_launch_command(launch_command_parser().parse_args(command[3:]))
    env = prepare_multi_gpu_env(args)
    env |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(args.main_process_port), "WORLD_SIZE": str(args.num_processes)}
    argv = [args.training_script, *args.training_script_args]
    ranks = [{"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(args.num_processes)]
    processes = [context.Process(target=_work, args=(env | rank, argv), daemon=True) for rank in ranks]
    for process in processes:
        process.start()
    return processes


def run(command, *, check):
    """Stand for subprocess.run in galley.train.launch."""
    assert not check
    processes = start(command)
    for process in processes:
        process.join()
    return subprocess.CompletedProcess(command, max(abs(process.exitcode) for process in processes))
