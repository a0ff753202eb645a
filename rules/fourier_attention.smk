"""FourierAttention: calibrate the channels and check the exact claims, then read needles, LongBench and RULER through every cache.

A prompt is prefilled once and all methods are scored on it, so prompts are spread over `shards`.
"""

FOURIER = "results/{scale}/fourier_attention/{model}"


rule fourier_attention_inspect:
    """Section 3: the compressed channels from calibration text, and the claims that need one prompt."""
    input:
        base="results/{scale}/models/{model}",
        calibration="results/{scale}/corpus/calibration.jsonl",
        paper=local("recipes/fourier_attention/paper_values.csv"),
    output:
        errors=f"{FOURIER}/errors.safetensors",
        rows=f"{FOURIER}/checks.items.parquet",
        runs=f"{FOURIER}/checks.runs.csv",
    log:
        "logs/{scale}/fourier_attention/{model}/inspect.log",
    benchmark:
        "benchmarks/{scale}/fourier_attention/{model}/inspect.jsonl"
    threads: lambda wildcards: share(1)
    resources:
        mem_mb=6000,
        runtime=60,
        gpu=lambda wildcards: min(1, gpus_of("fourier_attention")(wildcards)),
    params:
        out=lambda wildcards, output: Path(output.rows).parent,
        corpus=lambda wildcards, input: Path(input.calibration).parent,
        flags=plan_flags("fourier_attention"),
        device=device_flag("fourier_attention"),
        plan=part(
            "models",
            "calibration",
            "sinks",
            "local",
            "local_fraction",
            "local_min",
            "orders",
            "reals_fraction",
            "max_new_tokens",
            "data_seed",
            recipe="fourier_attention",
        ),
        code=code("galley.papers.fourier_attention.checks"),
    shell:
        "galley fourier-attention inspect --scale {wildcards.scale} --model {wildcards.model} {params.flags}"
        " {params.device} --base {input.base} --out {params.out} --corpus {params.corpus} &> {log}"


rule fourier_attention_needles:
    """Sections 4.2 and 5: the needle grid through every method's cache, one prefill a prompt."""
    input:
        base="results/{scale}/models/{model}",
        heldout="results/{scale}/corpus/heldout.jsonl",
        errors=f"{FOURIER}/errors.safetensors",
    output:
        rows=f"{FOURIER}/needles-{{shard}}.items.parquet",
        runs=f"{FOURIER}/needles-{{shard}}.runs.csv",
    log:
        "logs/{scale}/fourier_attention/{model}/needles-{shard}.log",
    benchmark:
        "benchmarks/{scale}/fourier_attention/{model}/needles-{shard}.jsonl"
    threads: lambda wildcards: share(plan_of("fourier_attention", wildcards.scale).shards)
    resources:
        mem_mb=6000,
        runtime=lambda wildcards: 120 if wildcards.scale != "paper" else 24 * 60,
        gpu=gpus_of("fourier_attention"),
    params:
        out=lambda wildcards, output: Path(output.rows).parent,
        corpus=lambda wildcards, input: Path(input.heldout).parent,
        flags=plan_flags("fourier_attention"),
        device=device_flag("fourier_attention"),
        plan=part(
            "models",
            "methods",
            "needles",
            "words",
            "needlebench",
            "sinks",
            "local",
            "local_fraction",
            "local_min",
            "orders",
            "reals_fraction",
            "max_new_tokens",
            "shards",
            "data_seed",
            recipe="fourier_attention",
        ),
        code=code("galley.papers.fourier_attention.experiment"),
    shell:
        "galley fourier-attention needles --scale {wildcards.scale} --model {wildcards.model} --shard {wildcards.shard} {params.flags}"
        " {params.device} --base {input.base} --out {params.out} --corpus {params.corpus} &> {log}"


rule fourier_attention_tasks:
    """Section 4.2 and Table 3: LongBench and RULER through every method's cache, one prefill a prompt."""
    input:
        base="results/{scale}/models/{model}",
        heldout="results/{scale}/corpus/heldout.jsonl",
        errors=f"{FOURIER}/errors.safetensors",
        sources=longbench_of,
    output:
        rows=f"{FOURIER}/tasks-{{shard}}.items.parquet",
        runs=f"{FOURIER}/tasks-{{shard}}.runs.csv",
    log:
        "logs/{scale}/fourier_attention/{model}/tasks-{shard}.log",
    benchmark:
        "benchmarks/{scale}/fourier_attention/{model}/tasks-{shard}.jsonl"
    threads: lambda wildcards: share(plan_of("fourier_attention", wildcards.scale).shards)
    resources:
        mem_mb=6000,
        runtime=lambda wildcards: 120 if wildcards.scale != "paper" else 24 * 60,
        gpu=gpus_of("fourier_attention"),
    params:
        out=lambda wildcards, output: Path(output.rows).parent,
        corpus=lambda wildcards, input: Path(input.heldout).parent,
        sources=lambda wildcards, input: Path(input.sources[0]).parent,
        flags=plan_flags("fourier_attention"),
        device=device_flag("fourier_attention"),
        plan=part(
            "models",
            "methods",
            "longbench",
            "ruler",
            "words",
            "sinks",
            "local",
            "local_fraction",
            "local_min",
            "orders",
            "reals_fraction",
            "max_new_tokens",
            "shards",
            "data_seed",
            recipe="fourier_attention",
        ),
        code=code("galley.papers.fourier_attention.tasks"),
    shell:
        "galley fourier-attention tasks --scale {wildcards.scale} --model {wildcards.model} --shard {wildcards.shard} {params.flags}"
        " {params.device} --base {input.base} --out {params.out} --corpus {params.corpus} --sources {params.sources} &> {log}"
