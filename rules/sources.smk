"""Sources: the only rules that use the network; each checks what it got."""

# What the recipes can do without: an absent source is reported, and what needs it is `not_run`.
OPTIONAL = [
    "paul_graham_essays",
    "piqa_valid",
    "hellaswag_fixture",
    "longbench_config",
    "longbench_multi_news",
    "shakespeare",
]
HUB_BENCHMARKS = [
    "hub_mmlu",
    "hub_arc",
    "hub_openbookqa",
    "hub_hellaswag",
    "hub_winogrande",
    "hub_longbench",
]


rule fetch_source:
    """Fetch one optional source from the first origin that answers."""
    output:
        folder=directory("results/sources/{source}"),
    log:
        "logs/sources/{source}.log",
    retries: 1
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        mirror=mirror_flag,
        code=lambda wildcards: code("galley.data.hub_benchmarks" if wildcards.source in HUB_BENCHMARKS else "galley.data.fetch"),
    shell:
        "galley fetch {wildcards.source} --out {output.folder} --optional {params.mirror} &> {log}"


rule prepare_corpus:
    """Split the text into train, calibration and held-out documents."""
    input:
        shakespeare="results/sources/shakespeare",
        essays="results/sources/paul_graham_essays",
    output:
        corpus="results/{scale}/corpus/corpus.json",
        train="results/{scale}/corpus/train.jsonl",
        calibration="results/{scale}/corpus/calibration.jsonl",
        heldout="results/{scale}/corpus/heldout.jsonl",
    log:
        "logs/{scale}/corpus.log",
    resources:
        mem_mb=2000,
        runtime=lambda wildcards: 30 if wildcards.scale != "paper" else 48 * 60,
    params:
        out=lambda wildcards, output: Path(output.corpus).parent,
        flags=plan_flags(),
        plan=part("corpus", "data_seed"),
        code=code("galley.data.corpus") + code("galley.data.mixture"),
    shell:
        "galley prepare-corpus {params.out} --scale {wildcards.scale} {params.flags}"
        " --shakespeare {input.shakespeare} --essays {input.essays} &> {log}"
