"""MHA2MLA, as the paper's method section: calibrate, convert and fine-tune, then evaluate.

Every job of a scale reads one plan (recipes/mha2mla/recipe.yaml). The arms are spread over
`shards` jobs: two at small scales, where importing torch would cost more than the work.
"""

BASE = "results/{scale}/models/{model}"
RUN = "results/{scale}/mha2mla/{model}"


rule mha2mla_structure:
    """Section 2: the exact claims, checked on real tensors and on the base model's own weights."""
    input:
        config=f"{BASE}/config.json",
    output:
        rows=f"{RUN}/structure.items.parquet",
        runs=f"{RUN}/structure.runs.csv",
    log:
        "logs/{scale}/mha2mla/{model}/structure.log",
    benchmark:
        "benchmarks/{scale}/mha2mla/{model}/structure.jsonl"
    resources:
        mem_mb=6000,
        runtime=60,
    params:
        folders=f"--base {BASE} --out {RUN}",
        flags=plan_flags(),
        plan=part("models", "rope_fraction"),
        code=code("galley.papers.mha2mla.structure"),
    shell:
        "galley mha2mla structure --scale {wildcards.scale} --model {wildcards.model} {params.flags}"
        " {params.folders} &> {log}"


rule mha2mla_calibrate:
    """Section 2.1: mean norms of every rotary pair, for the 2-norm strategy, on training text."""
    input:
        config=f"{BASE}/config.json",
        calibration="results/{scale}/corpus/calibration.jsonl",
    output:
        norms=f"{RUN}/norms.safetensors",
    log:
        "logs/{scale}/mha2mla/{model}/calibrate.log",
    benchmark:
        "benchmarks/{scale}/mha2mla/{model}/calibrate.jsonl"
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        folders=f"--base {BASE} --out {RUN}",
        flags=plan_flags(),
        plan=part("models", "calibration", "data_seed"),
        code=code("galley.papers.mha2mla.calibration"),
    shell:
        "galley mha2mla calibrate --scale {wildcards.scale} --model {wildcards.model} {params.flags}"
        " {params.folders} --corpus results/{wildcards.scale}/corpus &> {log}"


rule mha2mla_adapt:
    """Sections 2.2 and 2.4: convert each arm, fine-tune it on the same tokens, score held-out text as it goes."""
    input:
        config=f"{BASE}/config.json",
        train="results/{scale}/corpus/train.jsonl",
        heldout="results/{scale}/corpus/heldout.jsonl",
        norms=f"{RUN}/norms.safetensors",
    output:
        rows=f"{RUN}/adapt-{{shard}}.items.parquet",
        runs=f"{RUN}/adapt-{{shard}}.runs.csv",
    log:
        "logs/{scale}/mha2mla/{model}/adapt-{shard}.log",
    benchmark:
        "benchmarks/{scale}/mha2mla/{model}/adapt-{shard}.jsonl"
    resources:
        mem_mb=8000,
        runtime=lambda wildcards: 120 if wildcards.scale != "paper" else 48 * 60,
        gpu=lambda wildcards: mha2mla_plan(wildcards.scale).models[wildcards.model].gpus,
    params:
        folders=f"--base {BASE} --out {RUN}",
        flags=plan_flags(),
        plan=part("models", "rope_fraction", "arms", "training", "heldout", "seeds", "shards", "data_seed"),
        code=code("galley.papers.mha2mla.experiment"),
    shell:
        "galley mha2mla adapt --scale {wildcards.scale} --model {wildcards.model} --shard {wildcards.shard} {params.flags}"
        " {params.folders} --corpus results/{wildcards.scale}/corpus &> {log}"


rule mha2mla_benchmark:
    """Section 4: commonsense, LongBench, needles, quantised caches and latency, original beside converted."""
    input:
        adapted=lambda wildcards: expand(
            "results/{scale}/mha2mla/{model}/adapt-{shard}.items.parquet",
            scale=wildcards.scale,
            model=wildcards.model,
            shard=range(mha2mla_plan(wildcards.scale).shards),
        ),
        config=f"{BASE}/config.json",
        heldout="results/{scale}/corpus/heldout.jsonl",
        sources=expand("results/sources/{source}/source.json", source=OPTIONAL),
    output:
        rows=f"{RUN}/benchmark.items.parquet",
        runs=f"{RUN}/benchmark.runs.csv",
    log:
        "logs/{scale}/mha2mla/{model}/benchmark.log",
    benchmark:
        "benchmarks/{scale}/mha2mla/{model}/benchmark.jsonl"
    threads: 2
    resources:
        mem_mb=8000,
        runtime=240,
        gpu=lambda wildcards: min(1, mha2mla_plan(wildcards.scale).models[wildcards.model].gpus),
    params:
        folders=f"--base {BASE} --out {RUN}",
        flags=plan_flags(),
        plan=part("models", "arms", "benchmarks", "data_seed"),
        code=code("galley.papers.mha2mla.benchmark"),
    shell:
        "galley mha2mla benchmark --scale {wildcards.scale} --model {wildcards.model} {params.flags}"
        " {params.folders} --corpus results/{wildcards.scale}/corpus --sources results/sources &> {log}"


def mha2mla_parts(kind):
    """Return a function that lists the items or runs files of all models of the configured scale."""

    def files(wildcards):
        plan = mha2mla_plan(config["scale"])
        stages = ["structure", *(f"adapt-{n}" for n in range(plan.shards)), "benchmark"]
        return expand(
            "results/{scale}/mha2mla/{model}/{stage}.{kind}",
            scale=config["scale"],
            model=plan.models,
            stage=stages,
            kind=kind,
        )

    return files
