"""MHA2MLA, as the paper's method section: inspect the base model, convert and fine-tune each arm, evaluate.

Every job of a scale reads one plan (recipes/mha2mla/recipe.yaml). The arms are spread over `shards`
jobs; what an arm needs shares a process, because importing torch costs more than a small stage.
"""

BASE = "results/{scale}/models/{model}"
RUN = "results/{scale}/mha2mla/{model}"


rule mha2mla_inspect:
    """Section 2: the exact claims on real tensors, and the mean norms of every rotary pair on training text."""
    input:
        base=BASE,
        calibration="results/{scale}/corpus/calibration.jsonl",
    output:
        norms=f"{RUN}/norms.safetensors",
        rows=f"{RUN}/structure.items.parquet",
        runs=f"{RUN}/structure.runs.csv",
    log:
        "logs/{scale}/mha2mla/{model}/inspect.log",
    benchmark:
        "benchmarks/{scale}/mha2mla/{model}/inspect.jsonl"
    threads: lambda wildcards: share(1)
    resources:
        mem_mb=6000,
        runtime=60,
        gpu=lambda wildcards: min(1, gpus_of("mha2mla")(wildcards)),
    params:
        out=lambda wildcards, output: Path(output.rows).parent,
        corpus=lambda wildcards, input: Path(input.calibration).parent,
        flags=plan_flags(),
        device=device_flag("mha2mla"),
        plan=part("models", "rope_fraction", "calibration", "data_seed"),
        code=code("galley.papers.mha2mla.structure") + code("galley.papers.mha2mla.calibration"),
    shell:
        "galley mha2mla inspect --scale {wildcards.scale} --model {wildcards.model} {params.flags}"
        " {params.device} --base {input.base} --out {params.out} --corpus {params.corpus} &> {log}"


rule mha2mla_arms:
    """Sections 2.2, 2.4 and 4: convert each arm, fine-tune it on the same tokens, score it as it goes, benchmark it."""
    input:
        base=BASE,
        train="results/{scale}/corpus/train.jsonl",
        heldout="results/{scale}/corpus/heldout.jsonl",
        norms=f"{RUN}/norms.safetensors",
        sources=sources_of,
    output:
        rows=f"{RUN}/arms-{{shard}}.items.parquet",
        runs=f"{RUN}/arms-{{shard}}.runs.csv",
    log:
        "logs/{scale}/mha2mla/{model}/arms-{shard}.log",
    benchmark:
        "benchmarks/{scale}/mha2mla/{model}/arms-{shard}.jsonl"
    threads: lambda wildcards: share(plan_of("mha2mla", wildcards.scale).shards)
    resources:
        mem_mb=8000,
        runtime=lambda wildcards: 120 if wildcards.scale != "paper" else 48 * 60,
        gpu=gpus_of("mha2mla"),
    params:
        out=lambda wildcards, output: Path(output.rows).parent,
        corpus=lambda wildcards, input: Path(input.train).parent,
        sources=lambda wildcards, input: Path(input.sources[0]).parent,
        flags=plan_flags(),
        device=device_flag("mha2mla"),
        plan=part(
            "models",
            "rope_fraction",
            "arms",
            "training",
            "heldout",
            "benchmarks",
            "seeds",
            "shards",
            "data_seed",
        ),
        code=code("galley.papers.mha2mla.shard") + code("galley.train.worker"),
    shell:
        "galley mha2mla arms --scale {wildcards.scale} --model {wildcards.model} --shard {wildcards.shard} {params.flags}"
        " {params.device} --base {input.base} --out {params.out} --corpus {params.corpus} --sources {params.sources} &> {log}"
