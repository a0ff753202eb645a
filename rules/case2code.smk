"""Case2Code: functions become cases, cases become prompts; the official test; small models learn induction from them."""

CASE2CODE = "results/{scale}/case2code"
CASE2CODE_SOURCES = expand("results/sources/{source}", source=plan_module("case2code").SOURCES)


rule case2code_synthesize:
    """Section 3: filter functions, write inputs, run twice, select cases, split, export the training file."""
    input:
        sources=CASE2CODE_SOURCES,
    output:
        cases=f"{CASE2CODE}/cases.jsonl",
        sft=f"{CASE2CODE}/sft.jsonl",
        rows=f"{CASE2CODE}/synthesis.items.parquet",
        runs=f"{CASE2CODE}/synthesis.runs.csv",
    log:
        "logs/{scale}/case2code/synthesize.log",
    benchmark:
        "benchmarks/{scale}/case2code/synthesize.jsonl"
    threads: lambda wildcards: share(1) if wildcards.scale == "paper" else 1
    resources:
        mem_mb=2000,
        runtime=lambda wildcards: 60 if wildcards.scale != "paper" else 48 * 60,
    params:
        out=lambda wildcards, output: Path(output.rows).parent,
        sources=lambda wildcards, input: Path(input.sources[0]).parent,
        flags=plan_flags("case2code"),
        plan=part("functions", "inputs", "heldout", "data_seed", recipe="case2code"),
        code=code("galley.papers.case2code.build"),
    shell:
        "galley case2code synthesize --out {params.out} --sources {params.sources} --workers {threads}"
        " --scale {wildcards.scale} {params.flags} &> {log}"


rule case2code_check:
    """E1 to E4: stable outputs, prompts, ceilings and baselines, a strict scorer; and the official test."""
    input:
        cases=f"{CASE2CODE}/cases.jsonl",
        sources=CASE2CODE_SOURCES,
    output:
        rows=f"{CASE2CODE}/checks.items.parquet",
        runs=f"{CASE2CODE}/checks.runs.csv",
    log:
        "logs/{scale}/case2code/check.log",
    benchmark:
        "benchmarks/{scale}/case2code/check.jsonl"
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        out=lambda wildcards, output: Path(output.rows).parent,
        sources=lambda wildcards, input: Path(input.sources[0]).parent,
        flags=plan_flags("case2code"),
        plan=part("inputs", "heldout", "data_seed", recipe="case2code"),
        code=code("galley.papers.case2code.checks"),
    shell:
        "galley case2code check --cases {input.cases} --out {params.out} --sources {params.sources}"
        " --workers {threads} --scale {wildcards.scale} {params.flags} &> {log}"


rule case2code_sequences:
    """D2 to D4: character models from scratch on integer programs, dealt to shards by arm and seed."""
    output:
        rows=f"{CASE2CODE}/sequences-{{shard}}.items.parquet",
        runs=f"{CASE2CODE}/sequences-{{shard}}.runs.csv",
    log:
        "logs/{scale}/case2code/sequences-{shard}.log",
    benchmark:
        "benchmarks/{scale}/case2code/sequences-{shard}.jsonl"
    threads: lambda wildcards: share(plan_of("case2code", wildcards.scale).sequences.shards)
    resources:
        mem_mb=2000,
        runtime=120,
    params:
        out=lambda wildcards, output: Path(output.rows).parent,
        flags=plan_flags("case2code"),
        plan=part("sequences", "seeds", "data_seed", recipe="case2code"),
        code=code("galley.papers.case2code.sequences"),
    shell:
        "galley case2code sequences --out {params.out} --shard {wildcards.shard}" " --scale {wildcards.scale} {params.flags} &> {log}"


rule case2code_tune:
    """D1, D4 to D6: a real model on functions with their own cases, with another's and with none, dealt to shards."""
    input:
        base="results/{scale}/models/{model}",
        cases=f"{CASE2CODE}/cases.jsonl",
        sources=CASE2CODE_SOURCES,
    output:
        rows=f"{CASE2CODE}/{{model}}/tune-{{shard}}.items.parquet",
        runs=f"{CASE2CODE}/{{model}}/tune-{{shard}}.runs.csv",
    log:
        "logs/{scale}/case2code/{model}/tune-{shard}.log",
    benchmark:
        "benchmarks/{scale}/case2code/{model}/tune-{shard}.jsonl"
    threads: lambda wildcards: share(plan_of("case2code", wildcards.scale).tuning.shards)
    resources:
        mem_mb=6000,
        runtime=lambda wildcards: 120 if wildcards.scale != "paper" else 24 * 60,
        gpu=gpus_of("case2code"),
    params:
        out=lambda wildcards, output: Path(output.rows).parent,
        sources=lambda wildcards, input: Path(input.sources[0]).parent,
        flags=plan_flags("case2code"),
        device=device_flag("case2code"),
        plan=part("models", "tuning", "zero_shot", "inputs", "heldout", "seeds", "data_seed", recipe="case2code"),
        code=code("galley.papers.case2code.tune"),
    shell:
        "galley case2code tune --model {wildcards.model} --base {input.base} --cases {input.cases}"
        " --out {params.out} --sources {params.sources} --shard {wildcards.shard}"
        " --scale {wildcards.scale} {params.flags} {params.device} &> {log}"
