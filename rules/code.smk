"""Code benchmarks: their sources, certificates of all their tasks, and verdicts beside evalplus's own."""

CODE = ["humaneval", "mbpp", "humaneval_plus", "mbpp_plus", "bigcodebench"]
PUBLISHED = {"humaneval_plus": "codet", "mbpp_plus": "llmdebugger"}


rule code_certificates:
    """Run every canonical solution, wrong program and attack: 1, near 0 and 0, or the benchmark is not scored."""
    input:
        sources=fetched(*CODE),
    output:
        "results/table_code_certificates.csv",
    log:
        "logs/code_certificates.log",
    threads: 2
    resources:
        mem_mb=8000,
        runtime=120,
    params:
        sources=lambda wildcards, input: Path(input.sources[0]).parent,
        code=code("galley.evaluate.code.certify"),
    shell:
        "galley code-certify --sources {params.sources} --workers {threads} --out {output} &> {log}"


rule code_parity:
    """Judge programs that models wrote by our comparison and by evalplus's own."""
    input:
        sources=lambda wildcards: fetched(wildcards.benchmark, PUBLISHED[wildcards.benchmark]),
    output:
        table="results/code_parity/{benchmark}/agreement.csv",
        differences="results/code_parity/{benchmark}/differences.jsonl",
    log:
        "logs/code_parity/{benchmark}.log",
    wildcard_constraints:
        benchmark="|".join(PUBLISHED),
    threads: 2
    resources:
        mem_mb=8000,
        runtime=240,
    params:
        sources=lambda wildcards, input: Path(input.sources[0]).parent,
        out=lambda wildcards, output: Path(output.table).parent,
        code=code("galley.evaluate.code.parity"),
    shell:
        "galley code-parity {wildcards.benchmark} --sources {params.sources} --workers {threads} --out {params.out} &> {log}"
