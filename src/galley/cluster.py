"""Whether a bucket and a Kubernetes cluster can be used, asked once before a run: else each of its files fails with a traceback.

Needs the extra `cluster`, which a profile that names a bucket needs too.

Source: ours, on snakemake-storage-plugin-s3 0.3 and snakemake-executor-plugin-kubernetes 0.5.
"""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

KEYS = "SNAKEMAKE_STORAGE_S3_ACCESS_KEY and SNAKEMAKE_STORAGE_S3_SECRET_KEY"
NAME_OF = dict(zip(("aws_access_key_id", "aws_secret_access_key"), KEYS.split(" and "), strict=True))
SETTINGS = ("endpoint_url", "region", "access_key", "secret_key", "token")
PROFILE = ("--profile", "--workflow-profile")  # what can name a storage without a word of it
WITHOUT = "see docs/cluster.md; the jobs alone, without a bucket, are shown by a dry run without --profile"
PATIENCE_S = 10


def settings_fault(words: Sequence[str]) -> str | None:
    """Return why Snakemake cannot make its S3 storage from a command line, its profile and the environment; None where it can.

    It makes it before it reads the Snakefile, and what is wrong then is a traceback. Nothing is sent.
    """
    if not (any(word.startswith((*PROFILE, "--default-storage-provider")) for word in words) or os.environ.get("SNAKEMAKE_PROFILE")):
        return None
    from snakemake.cli import parse_args
    from snakemake_interface_storage_plugins.registry import StoragePluginRegistry

    with contextlib.redirect_stderr(io.StringIO()):  # it says again which profiles it reads
        _, asked = parse_args(list(words))
    if asked.default_storage_provider != "s3" or not StoragePluginRegistry().is_installed("s3"):
        return None
    settings = StoragePluginRegistry().get_plugin("s3").get_settings(asked).get_settings() or SimpleNamespace(**dict.fromkeys(SETTINGS))
    return _unusable(settings)


def _unusable(settings: Any) -> str | None:
    import boto3
    from botocore.exceptions import BotoCoreError, PartialCredentialsError

    endpoint = settings.endpoint_url
    if endpoint is not None and not (urlsplit(endpoint).scheme in ("http", "https") and urlsplit(endpoint).hostname):
        shown = repr(endpoint.rpartition("@")[2])  # what stands before it may be a password
        return f"storage-s3-endpoint-url is {shown}, which is no address; it takes https://HOST or http://HOST:PORT; {WITHOUT}"
    keys = {"aws_access_key_id": settings.access_key, "aws_secret_access_key": settings.secret_key, "aws_session_token": settings.token}
    try:
        boto3.Session().client("s3", endpoint_url=endpoint, region_name=settings.region, **keys)
    except PartialCredentialsError as error:
        missing = error.kwargs["cred_var"]
        return f"of the bucket's two keys one is missing, {NAME_OF.get(missing, missing)}: export both of {KEYS}; {WITHOUT}"
    except (BotoCoreError, ValueError) as error:
        return f"the bucket's settings cannot be used ({error}): check the lines storage-s3-... of the profile, and {KEYS}; {WITHOUT}"
    return None


def bucket_fault(settings: Any, prefix: str) -> str | None:
    """Return why the bucket of a storage prefix cannot be asked for files, and what to set; None where it can, or where a run will make it.

    `settings` are those of Snakemake's S3 storage.
    """
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

    where = f"default-storage-prefix is {prefix!r}"
    bucket = urlsplit(prefix).netloc
    if urlsplit(prefix).scheme != "s3" or not bucket:
        return f"{where}; it takes s3://BUCKET or s3://BUCKET/FOLDER; {WITHOUT}"
    once = Config(
        signature_version=settings.signature_version,
        connect_timeout=PATIENCE_S,
        read_timeout=PATIENCE_S,
        retries={"total_max_attempts": 1},
    )
    keys = {"aws_access_key_id": settings.access_key, "aws_secret_access_key": settings.secret_key, "aws_session_token": settings.token}
    try:
        client = boto3.client("s3", endpoint_url=settings.endpoint_url, region_name=settings.region, config=once, **keys)
        client.head_bucket(Bucket=bucket)
    except NoCredentialsError:
        return f"{where}, and there are no keys for it: export {KEYS}; {WITHOUT}"
    except ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        if status == 404:
            return None
        return f"{where}, which answers {status} to these keys: name your own bucket in the profile, or check {KEYS}; {WITHOUT}"
    except BotoCoreError as error:
        host = urlsplit(settings.endpoint_url or "").hostname or "the default provider"
        said = f"{host} does not answer ({type(error).__name__})"
        return f"{where}, and {said}: check the network and storage-s3-endpoint-url in the profile; {WITHOUT}"
    return None


def cluster_fault(words: Sequence[str], folder: Path) -> str | None:
    """Return why the cluster of a Snakemake command line cannot be given jobs, and what to set; None where it can, or there is none."""
    from snakemake.cli import parse_args

    with contextlib.redirect_stderr(io.StringIO()):  # it says again which profiles it reads
        _, asked = parse_args(list(words))
    if asked.executor != "kubernetes":
        return None
    tracked = subprocess.run(["git", "ls-files", "Snakefile"], cwd=folder, capture_output=True, text=True, check=False).stdout
    if not tracked:
        return f"pods get the files that git tracks, and {folder} is no git checkout: run from a clone; see docs/cluster.md"
    return api_fault(asked.kubernetes_namespace)


def api_fault(namespace: str) -> str | None:
    """Return why the API of the configured cluster does not list a namespace's pods, and what to set; None where it does."""
    from kubernetes import client, config
    from kubernetes.client.exceptions import ApiException
    from kubernetes.config.config_exception import ConfigException
    from urllib3.exceptions import HTTPError

    try:
        try:
            config.load_kube_config()
        except ConfigException:
            config.load_incluster_config()
    except ConfigException:
        return "no cluster is configured: set KUBECONFIG, or write ~/.kube/config; see docs/cluster.md"
    server = urlsplit(client.Configuration.get_default_copy().host).netloc
    try:
        client.CoreV1Api().list_namespaced_pod(namespace, limit=1, _request_timeout=PATIENCE_S)
    except ApiException as error:
        answer = f"the cluster at {server} answers {error.status} for the namespace {namespace!r}"
        return f"{answer}: check the kubeconfig's user; see docs/cluster.md"
    except HTTPError:
        return f"the cluster at {server} does not answer: check KUBECONFIG and the network; see docs/cluster.md"
    return None
