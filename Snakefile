"""Galley: from raw data to a paper's table, with a verdict on every claim.

snakemake --cores all results/table_mha2mla.csv
snakemake --cores all results/table_mha2mla.csv --config scale=smoke
snakemake --cores all all
"""

from snakemake.utils import min_version

min_version("9.27")


configfile: "config.yaml"


container: "docker://python:3.11-slim"


include: "rules/common.smk"


wildcard_constraints:
    scale="smoke|laptop|paper",
    model=r"[A-Za-z0-9._-]+(?<!\.json)",
    shard=r"\d+",
    source=r"[a-z0-9_.-]+(?<!\.json)",
    corpus="corpus[a-z0-9_-]*",
    recipe="|".join(RECIPES),


include: "rules/sources.smk"
include: "rules/models.smk"
include: "rules/stages.smk"


for name in RECIPES:

    include: f"rules/{name}.smk"


include: "rules/kernels.smk"
include: "rules/code.smk"
include: "rules/tables.smk"


onsuccess:
    tell_absent()


onerror:
    tell_absent()


localrules:
    all,


rule all:
    """Every recipe's table, renderings and certificate."""
    default_target: True
    input:
        "results/table_certificates.csv",
        expand("results/table_{recipe}.csv", recipe=RECIPES),
        expand("results/certificate_{recipe}.html", recipe=RECIPES),


check_targets()
