"""What the Kubernetes profile asks of a cluster: the pod of one job with GPUs, as the API receives it."""

import subprocess
from datetime import UTC, datetime

import pytest
from kubernetes_stand_in import kubernetes_server
from s3_stand_in import s3_server
from tree import Tree, arms_inputs, copy_tree, s3_env

from galley import cost
from galley.plan import read_plan_of

pytestmark = [pytest.mark.workflow, pytest.mark.timeout(600)]
TARGET = "results/paper/mha2mla/SmolLM-1B7/arms-0.items.parquet"


def test_a_pod_gets_the_sources_the_keys_and_the_gpus_of_the_recipe(tmp_path, shared):
    tree = copy_tree(tmp_path / "tree", tiny=False, shared=shared, loopback=True)
    subprocess.run("git init --quiet . && git add Snakefile rules recipes config.yaml", shell=True, cwd=tree.folder, check=True)
    now = datetime.now(UTC)
    bucket = dict.fromkeys(arms_inputs(tree, model="SmolLM-1B7"), (b"{}", now))
    jobs: list = []
    with s3_server({"galley-results": bucket}) as address, kubernetes_server(jobs, tmp_path / "kubeconfig"):
        env = tree.env | s3_env(address) | {"KUBECONFIG": str(tmp_path / "kubeconfig")}
        code, text = Tree(tree.folder, env).snakemake(
            "--profile", "profiles/kubernetes", "--retries", "0", "--seconds-between-status-checks", "1", "--config", "scale=paper",
            "--rerun-triggers", "mtime", "--allowed-rules", "mha2mla_arms", "--", TARGET,
        )  # fmt: skip
    assert code != 0 and len(jobs) == 1, text  # the stand-in reports the job as failed, and that must be heard
    assert "/namespaces/galley/" in jobs[0]["path"]
    container = jobs[0]["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == "galley:0.1.0"
    model = read_plan_of("mha2mla", "paper", folder=tree.folder / "recipes").models["SmolLM-1B7"]
    memory = f"{cost.memory_mb(model, copies=6, beside=3000 * (1 + model.gpus))}M"
    for kind in ("requests", "limits"):  # Kubernetes refuses GPUs whose limit is not their request
        assert container["resources"][kind]["nvidia.com/gpu"] == str(model.gpus) != "0"
        assert container["resources"][kind]["memory"] == memory
    given = {entry["name"]: entry["valueFrom"]["secretKeyRef"]["key"] for entry in container["env"]}
    assert {"SNAKEMAKE_STORAGE_S3_ACCESS_KEY", "SNAKEMAKE_STORAGE_S3_SECRET_KEY"} <= given.keys()
    command = container["args"][-1]
    assert "--deploy-sources s3://galley-results/" in command and "--storage-s3-secret-key" not in command
    assert "--config 'scale=paper'" in command and "mha2mla_arms:scale=paper,model=SmolLM-1B7,shard=0" in command
