"""Sources: the only rules that use the network; each checks what it got."""

# What the recipes can do without: an absent source is reported, and what needs it is `not_run`.
OPTIONAL = ["paul_graham_essays", "piqa_valid", "hellaswag_fixture", "longbench_config", "longbench_multi_news", "shakespeare"]


rule fetch_source:
    """Fetch one optional source from the first origin that answers."""
    output:
        "results/sources/{source}/source.json",
    log:
        "logs/sources/{source}.log",
    retries: 1
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        folder=lambda wildcards, output: Path(output[0]).parent,
        mirror=mirror_flag,
        code=code("galley.data.fetch"),
    wildcard_constraints:
        source="|".join(OPTIONAL),
    shell:
        "galley fetch {wildcards.source} --out {params.folder} --optional {params.mirror} &> {log}"


rule prepare_corpus:
    """Split the text into train, calibration and held-out documents."""
    input:
        shakespeare="results/sources/shakespeare/source.json",
        essays="results/sources/paul_graham_essays/source.json",
    output:
        corpus="results/{scale}/corpus/corpus.json",
        train="results/{scale}/corpus/train.jsonl",
        calibration="results/{scale}/corpus/calibration.jsonl",
        heldout="results/{scale}/corpus/heldout.jsonl",
    log:
        "logs/{scale}/corpus.log",
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        flags=plan_flags(),
        plan=part("corpus", "data_seed"),
        code=code("galley.data.corpus"),
    shell:
        "galley prepare-corpus results/{wildcards.scale}/corpus --scale {wildcards.scale} {params.flags}"
        " --shakespeare results/sources/shakespeare --essays results/sources/paul_graham_essays &> {log}"
