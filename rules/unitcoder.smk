"""UnitCoder: filter the corpus, run the pipeline on it, and see what tests, model-written tests and debug rounds are worth.

The stages after the corpus are independent of each other; each keeps its sandbox's runners to its threads.
"""

from galley.papers.unitcoder.plan import SOURCES as UNITCODER_SOURCES

UNITCODER = "results/{scale}/unitcoder"


rule unitcoder_corpus:
    """Stage 1: functions by package, without copies and without the benchmarks."""
    input:
        sources=expand("results/sources/{source}", source=UNITCODER_SOURCES),
    output:
        functions=f"{UNITCODER}/functions.jsonl",
        rows=f"{UNITCODER}/corpus.items.parquet",
        runs=f"{UNITCODER}/corpus.runs.csv",
    log:
        "logs/{scale}/unitcoder/corpus.log",
    benchmark:
        "benchmarks/{scale}/unitcoder/corpus.jsonl"
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        out=lambda wildcards, output: Path(output.rows).parent,
        sources=lambda wildcards, input: Path(input.sources[0]).parent,
        flags=plan_flags("unitcoder"),
        plan=part("source_corpus", "data_seed", recipe="unitcoder"),
        code=code("galley.papers.unitcoder.corpus"),
    shell:
        "galley unitcoder corpus --scale {wildcards.scale} {params.flags} --sources {params.sources} --out {params.out} &> {log}"


rule unitcoder_pipeline:
    """Stages 2 and 3: tests, execution, debug rounds and refinement of the corpus's functions; the exact claims."""
    input:
        functions=f"{UNITCODER}/functions.jsonl",
        model=unitcoder_agent,
    output:
        passed=f"{UNITCODER}/pipeline/passed.jsonl",
        failed=f"{UNITCODER}/pipeline/failed.jsonl",
        polished=f"{UNITCODER}/pipeline/polished.jsonl",
        sft=f"{UNITCODER}/pipeline/sft.jsonl",
        rows=f"{UNITCODER}/pipeline.items.parquet",
        runs=f"{UNITCODER}/pipeline.runs.csv",
    log:
        "logs/{scale}/unitcoder/pipeline.log",
    benchmark:
        "benchmarks/{scale}/unitcoder/pipeline.jsonl"
    threads: lambda wildcards: share(2)
    resources:
        mem_mb=3000,
        runtime=lambda wildcards: 60 if wildcards.scale != "paper" else 7 * 24 * 60,
    params:
        out=lambda wildcards, output: Path(output.rows).parent,
        flags=plan_flags("unitcoder"),
        model=lambda wildcards, input: f"--model {input.model}" if input.get("model") else "",
        plan=part("limits", "agents", "pipeline", "data_seed", recipe="unitcoder"),
        code=code("galley.papers.unitcoder.synthesis"),
    shell:
        "galley unitcoder pipeline --scale {wildcards.scale} {params.flags} {params.model} --workers {threads}"
        " --corpus {input.functions} --out {params.out} &> {log}"


rule unitcoder_mutants:
    """D1 and D4: mutants that pass k tests, judged by all."""
    input:
        functions=f"{UNITCODER}/functions.jsonl",
        sources="results/sources/humaneval_plus",
    output:
        rows=f"{UNITCODER}/mutants.items.parquet",
        runs=f"{UNITCODER}/mutants.runs.csv",
    log:
        "logs/{scale}/unitcoder/mutants.log",
    benchmark:
        "benchmarks/{scale}/unitcoder/mutants.jsonl"
    threads: lambda wildcards: share(2)
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        out=lambda wildcards, output: Path(output.rows).parent,
        sources=lambda wildcards, input: Path(input.sources).parent,
        flags=plan_flags("unitcoder"),
        plan=part("limits", "mutants", "pipeline", "data_seed", recipe="unitcoder"),
        code=code("galley.papers.unitcoder.mutation"),
    shell:
        "galley unitcoder mutants --scale {wildcards.scale} {params.flags} --workers {threads}"
        " --corpus {input.functions} --sources {params.sources} --out {params.out} &> {log}"


rule unitcoder_model_tests:
    """D2 and D4: a model's solutions under the same model's tests."""
    input:
        sources=expand("results/sources/{source}", source=["humaneval_plus", "codet"]),
    output:
        programs=f"{UNITCODER}/programs.jsonl",
        rows=f"{UNITCODER}/model_tests.items.parquet",
        runs=f"{UNITCODER}/model_tests.runs.csv",
    log:
        "logs/{scale}/unitcoder/model_tests.log",
    benchmark:
        "benchmarks/{scale}/unitcoder/model_tests.jsonl"
    priority: 2  # the fine-tuning waits for it
    threads: lambda wildcards: share(2)
    resources:
        mem_mb=3000,
        runtime=120,
    params:
        out=lambda wildcards, output: Path(output.rows).parent,
        sources=lambda wildcards, input: Path(input.sources[0]).parent,
        flags=plan_flags("unitcoder"),
        plan=part("limits", "model_tests", "data_seed", recipe="unitcoder"),
        code=code("galley.papers.unitcoder.model_tests"),
    shell:
        "galley unitcoder model-tests --scale {wildcards.scale} {params.flags} --workers {threads}"
        " --sources {params.sources} --out {params.out} &> {log}"


rule unitcoder_debugging:
    """D3 and D4: real programs through the debug rounds, judged by hidden tests."""
    input:
        sources=expand("results/sources/{source}", source=["llmdebugger", "mbpp", "mbpp_plus"]),
    output:
        rows=f"{UNITCODER}/debugging.items.parquet",
        runs=f"{UNITCODER}/debugging.runs.csv",
    log:
        "logs/{scale}/unitcoder/debugging.log",
    benchmark:
        "benchmarks/{scale}/unitcoder/debugging.jsonl"
    priority: 1  # the longest stage that waits for none
    threads: lambda wildcards: share(2)
    resources:
        mem_mb=3000,
        runtime=120,
    params:
        out=lambda wildcards, output: Path(output.rows).parent,
        sources=lambda wildcards, input: Path(input.sources[0]).parent,
        flags=plan_flags("unitcoder"),
        plan=part("limits", "debugging", "pipeline", "data_seed", recipe="unitcoder"),
        code=code("galley.papers.unitcoder.debugging"),
    shell:
        "galley unitcoder debugging --scale {wildcards.scale} {params.flags} --workers {threads}"
        " --sources {params.sources} --out {params.out} &> {log}"


rule unitcoder_tuning:
    """M1: fine-tuning on filtered, unfiltered and failing programs, equal tokens; likelihood of held-out programs."""
    input:
        base="results/{scale}/models/{model}",
        programs=f"{UNITCODER}/programs.jsonl",
        sources=expand("results/sources/{source}", source=["humaneval_plus", "mbpp"]),
    output:
        rows=f"{UNITCODER}/{{model}}/tuning.items.parquet",
        runs=f"{UNITCODER}/{{model}}/tuning.runs.csv",
    log:
        "logs/{scale}/unitcoder/{model}/tuning.log",
    benchmark:
        "benchmarks/{scale}/unitcoder/{model}/tuning.jsonl"
    threads: 2
    resources:
        mem_mb=12000,
        runtime=lambda wildcards: 120 if wildcards.scale != "paper" else 48 * 60,
        gpu=gpus_of("unitcoder"),
    params:
        out=lambda wildcards, output: Path(output.rows).parent,
        sources=lambda wildcards, input: Path(input.sources[0]).parent,
        flags=plan_flags("unitcoder"),
        device=device_flag("unitcoder"),
        plan=part("models", "tuning", "seeds", "data_seed", recipe="unitcoder"),
        code=code("galley.papers.unitcoder.tuning"),
    shell:
        "galley unitcoder tuning --scale {wildcards.scale} --model {wildcards.model} {params.flags} {params.device}"
        " --base {input.base} --programs {input.programs} --sources {params.sources} --out {params.out} &> {log}"
