"""CodeSeq: sequences become verified problems with solutions; small models learn induction from them; a real model is tuned on functions.

The trainings of a scale are dealt to `shards` jobs, each of which keeps what it finished.
"""

CODESEQ = "results/{scale}/codeseq"


rule codeseq_synthesize:
    """Section 3: problems, their solutions with reflections, solvability, RL data, the GTG test, and the exact claims."""
    input:
        sources=codeseq_sources,
    output:
        problems=f"{CODESEQ}/problems.jsonl",
        sft=f"{CODESEQ}/sft.jsonl",
        plain=f"{CODESEQ}/sft_plain.jsonl",
        rl=f"{CODESEQ}/rl.jsonl",
        gtg=f"{CODESEQ}/gtg.jsonl",
        functions=f"{CODESEQ}/functions.jsonl",
        counts=f"{CODESEQ}/synthesis.json",
        rows=f"{CODESEQ}/synthesis.items.parquet",
        runs=f"{CODESEQ}/synthesis.runs.csv",
    log:
        "logs/{scale}/codeseq/synthesize.log",
    benchmark:
        "benchmarks/{scale}/codeseq/synthesize.jsonl"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=lambda wildcards: 60 if wildcards.scale != "paper" else 24 * 60,
    params:
        out=lambda wildcards, output: Path(output.rows).parent,
        sources=lambda wildcards, input: f"--sources {Path(input.sources[0]).parent}" if input.sources else "",
        flags=plan_flags("codeseq"),
        plan=part("synthesis", "functions", "data_seed", recipe="codeseq"),
        code=code("galley.papers.codeseq.synthesis"),
    shell:
        "galley codeseq synthesize --out {params.out} --scale {wildcards.scale} {params.flags} {params.sources}"
        " --workers {threads} &> {log}"


rule codeseq_induce:
    """D1 and D2: character models from scratch, one shard of the trainings."""
    output:
        rows=f"{CODESEQ}/induce-{{shard}}.items.parquet",
        runs=f"{CODESEQ}/induce-{{shard}}.runs.csv",
    log:
        "logs/{scale}/codeseq/induce-{shard}.log",
    benchmark:
        "benchmarks/{scale}/codeseq/induce-{shard}.jsonl"
    threads: lambda wildcards: share(plan_of("codeseq", wildcards.scale).shards)
    resources:
        mem_mb=2000,
        runtime=120,
    params:
        out=lambda wildcards, output: Path(output.rows).parent,
        flags=plan_flags("codeseq"),
        plan=part(
            "induction",
            "reflection",
            "seeds",
            "shards",
            "data_seed",
            recipe="codeseq",
        ),
        code=code("galley.papers.codeseq.induce"),
    shell:
        "galley codeseq induce --out {params.out} --shard {wildcards.shard} --scale {wildcards.scale} {params.flags} &> {log}"


rule codeseq_tune:
    """M1 and M2: a real model tuned on functions of sequences and on solutions, one shard of the arms."""
    input:
        base="results/{scale}/models/{model}",
        functions=f"{CODESEQ}/functions.jsonl",
        gtg=f"{CODESEQ}/gtg.jsonl",
        sft=f"{CODESEQ}/sft.jsonl",
        plain=f"{CODESEQ}/sft_plain.jsonl",
    output:
        rows=f"{CODESEQ}/{{model}}/tune-{{shard}}.items.parquet",
        runs=f"{CODESEQ}/{{model}}/tune-{{shard}}.runs.csv",
    log:
        "logs/{scale}/codeseq/{model}/tune-{shard}.log",
    benchmark:
        "benchmarks/{scale}/codeseq/{model}/tune-{shard}.jsonl"
    threads: lambda wildcards: share(plan_of("codeseq", wildcards.scale).shards)
    resources:
        mem_mb=6000,
        runtime=lambda wildcards: 120 if wildcards.scale != "paper" else 24 * 60,
        gpu=gpus_of("codeseq"),
    params:
        out=lambda wildcards, output: Path(output.rows).parent,
        synthesis=lambda wildcards, input: Path(input.sft).parent,
        flags=plan_flags("codeseq"),
        device=device_flag("codeseq"),
        plan=part(
            "models",
            "functions",
            "tuning",
            "seeds",
            "shards",
            "data_seed",
            recipe="codeseq",
        ),
        code=code("galley.papers.codeseq.tune"),
    shell:
        "galley codeseq tune --model {wildcards.model} --base {input.base}"
        " --synthesis {params.synthesis} --out {params.out} --shard {wildcards.shard}"
        " --scale {wildcards.scale} {params.flags} {params.device} &> {log}"
