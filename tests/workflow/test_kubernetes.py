"""What the Kubernetes profile asks of a cluster: the pod of one job with GPUs, as the API receives it; and what stops without one."""

import subprocess
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler

import pytest
from kubernetes_stand_in import kubernetes_server
from s3_stand_in import s3_server
from serving import serving
from tree import Tree, arms_inputs, copy_tree, s3_env

from galley import cost
from galley.cluster import api_fault, bucket_fault
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


DRY = ("-n", "--profile", "profiles/kubernetes", "results/table_mha2mla.csv", "--config", "scale=smoke")
REAL = ("--profile", "profiles/kubernetes", "results/smoke/corpus/corpus.json", "--config", "scale=smoke")
KEYS = {"SNAKEMAKE_STORAGE_S3_ACCESS_KEY": "key", "SNAKEMAKE_STORAGE_S3_SECRET_KEY": "secret"}


@pytest.fixture
def bare(tmp_path, shared):
    """A tree on a machine with no bucket, no keys and no cluster."""
    tree = copy_tree(tmp_path / "tree", tiny=True, shared=shared, loopback=True)
    ours = ("SNAKEMAKE_STORAGE", "AWS_", "KUBE")
    return Tree(tree.folder, {k: v for k, v in tree.env.items() if not k.startswith(ours)} | {"HOME": str(tmp_path)})


def said(tree, *words, command="snakemake", **env):
    """What a run that must stop says, of which the last line is the error: no traceback, nothing made."""
    done = Tree(tree.folder, tree.env | env).run(command, *words)
    text = done.stdout + done.stderr
    assert done.returncode != 0 and "Traceback" not in text, text
    errors = [line for line in text.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and text.rstrip().endswith(errors[0]), text
    assert not (tree.folder / "results").exists()
    return errors[0]


def test_without_keys_a_dry_run_says_in_a_line_what_to_set(bare):
    error = said(bare, *DRY)
    assert all(name in error for name in (*KEYS, "s3://galley-results", "docs/cluster.md", "without --profile"))
    assert said(bare, "run", "mha2mla", "--scale", "smoke", "--profile", "profiles/kubernetes", "-n", command="galley") == error


def test_a_bucket_that_does_not_answer_is_named(bare):
    error = said(bare, *DRY, **KEYS, SNAKEMAKE_STORAGE_S3_ENDPOINT_URL="http://someone:hush@127.0.0.1:9")
    assert "127.0.0.1 does not answer" in error and "storage-s3-endpoint-url" in error and "hush" not in error


def test_a_run_without_a_cluster_or_a_checkout_says_what_to_set(bare):
    with s3_server({"galley-results": {}}) as address:
        assert f"{bare.folder} is no git checkout" in said(bare, *REAL, **s3_env(address))
        subprocess.run("git init --quiet . && git add Snakefile rules recipes config.yaml", shell=True, cwd=bare.folder, check=True)
        assert "set KUBECONFIG" in said(bare, *REAL, **s3_env(address))


class Refuses(BaseHTTPRequestHandler):
    """Answers every request with one status."""

    status = 403

    def log_message(self, *_):
        """Stay silent."""

    def do_HEAD(self):
        self.send_response(self.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_HEAD


def refusing(status):
    return serving(type("", (Refuses,), {"status": status}))


@pytest.mark.parametrize(("status", "said"), [(403, "answers 403 to these keys"), (400, "answers 400"), (404, None)])
def test_what_a_bucket_answers(status, said):
    from snakemake_storage_plugin_s3 import StorageProviderSettings

    with refusing(status) as address:
        fault = bucket_fault(StorageProviderSettings(endpoint_url=address, access_key="key", secret_key="hush"), "s3://mine/folder")
    assert fault is None if said is None else (said in fault and "s3://mine/folder" in fault and "hush" not in fault)


@pytest.mark.parametrize("prefix", ["", "galley-results", "s3:///folder", "gs://bucket"])
def test_a_prefix_that_is_no_bucket_is_refused(prefix):
    from snakemake_storage_plugin_s3 import StorageProviderSettings

    assert f"default-storage-prefix is {prefix!r}; it takes s3://BUCKET" in bucket_fault(StorageProviderSettings(), prefix)


def test_a_cluster_that_refuses_or_is_gone_is_named(tmp_path, monkeypatch):
    path = tmp_path / "kubeconfig"
    with kubernetes_server([], path):
        monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(path))
        assert api_fault("galley") is None
    assert "does not answer: check KUBECONFIG" in api_fault("galley")
    with refusing(403) as address:
        text = path.read_text()
        start = text.index("http://")
        path.write_text(text[:start] + address + text[text.index('"', start) :])
        assert "answers 403 for the namespace 'galley'" in api_fault("galley")
