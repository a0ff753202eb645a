"""A bucket's settings that Snakemake cannot even make its storage of: one line before it reads a rule."""

import subprocess
import sys
from pathlib import Path

import pytest

from galley.cluster import KEYS, settings_fault

ROOT = Path(__file__).parents[1]
ACCESS, SECRET = KEYS.split(" and ")
ENDPOINT, REGION = "SNAKEMAKE_STORAGE_S3_ENDPOINT_URL", "SNAKEMAKE_STORAGE_S3_REGION"
BOTH = {ACCESS: "key", SECRET: "hush-hush"}
WORDS = ("-n", "--profile", str(ROOT / "profiles/kubernetes"), "all")


@pytest.fixture
def bare(monkeypatch, tmp_path):
    pytest.importorskip("snakemake_storage_plugin_s3")
    for name in (ACCESS, SECRET, ENDPOINT, REGION, "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "SNAKEMAKE_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return monkeypatch


FAULTS = [
    ({ACCESS: "key"}, f"one is missing, {SECRET}: export both of {KEYS}"),
    ({SECRET: "hush-hush"}, f"one is missing, {ACCESS}: export both"),
    ({"AWS_ACCESS_KEY_ID": "key"}, "one is missing, AWS_SECRET_ACCESS_KEY: export both"),
    (BOTH | {ENDPOINT: "127.0.0.1:9000"}, "storage-s3-endpoint-url is '127.0.0.1:9000', which is no address; it takes https://HOST"),
    (BOTH | {ENDPOINT: "ftp://s3.example.org"}, "storage-s3-endpoint-url is 'ftp://s3.example.org', which is no address"),
    (BOTH | {ENDPOINT: "someone:hush-hush@s3.example.org"}, "storage-s3-endpoint-url is 's3.example.org', which is no address"),
    (BOTH | {ENDPOINT: "http://"}, "storage-s3-endpoint-url is 'http://', which is no address"),
    (BOTH | {REGION: "us east"}, "settings cannot be used"),
]


@pytest.mark.parametrize(("env", "words"), FAULTS)
def test_settings_that_make_no_storage_are_named(bare, env, words):
    for name, value in env.items():
        bare.setenv(name, value)
    fault = settings_fault(WORDS)
    assert words in fault and "docs/cluster.md" in fault and "\n" not in fault and "hush" not in fault
    assert settings_fault(("-n", "all")) is None, "without a profile there is no bucket"


@pytest.mark.parametrize("env", [{}, BOTH, BOTH | {ENDPOINT: "http://127.0.0.1:9"}])
def test_settings_that_make_one_pass_and_nothing_is_sent(bare, env):
    for name, value in env.items():
        bare.setenv(name, value)
    assert settings_fault(WORDS) is None


def test_snakemake_ends_with_the_line_before_any_work(bare, tmp_path):
    bare.setenv(ACCESS, "key")
    (tmp_path / "Snakefile").write_text("rule all:\n    shell: 'touch made'\n")
    command = [sys.executable, "-m", "snakemake", "--logger", "galley", "--profile", str(ROOT / "profiles/kubernetes"), "all"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "Traceback" not in done.stdout + done.stderr, done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: of the bucket's two keys one is missing") and not (tmp_path / "made").exists()
