"""Sources: the only rules that use the network; each checks what it got. An absent one is reported, and what needs it is `not_run`."""


rule fetch_source:
    """Fetch one source from the first origin that answers: a mirror, a package, a repository, the hub."""
    output:
        folder=directory("results/sources/{source}"),
        record="results/sources/{source}.json",
    log:
        "logs/sources/{source}.log",
    retries: 1
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        registered=registered,
        code=lambda wildcards: code("galley.data.hub_benchmarks" if wildcards.source.startswith("hub_") else "galley.data.fetch"),
    shell:
        "galley fetch {wildcards.source} --out {output.folder} --record {output.record} --optional &> {log}"


rule prepare_corpus:
    """Split the text into train, calibration and held-out documents."""
    input:
        sources=fetched("shakespeare", "paul_graham_essays"),
    output:
        corpus="results/{scale}/{corpus}/corpus.json",
        train="results/{scale}/{corpus}/train.jsonl",
        calibration="results/{scale}/{corpus}/calibration.jsonl",
        heldout="results/{scale}/{corpus}/heldout.jsonl",
    log:
        "logs/{scale}/{corpus}.log",
    resources:
        mem_mb=2000,
        runtime=hours(1, paper=48),
    params:
        out=lambda wildcards, output: Path(output.corpus).parent,
        recipe=lambda wildcards, output: recipe_with(corpora_of, wildcards.corpus, wildcards.scale),
        made=lambda wildcards: made_of(corpora_of, wildcards.corpus, wildcards.scale),
        missing=lambda wildcards, output: config["missing"],
        code=code("galley.data.corpus") + code("galley.data.mixture"),
    shell:
        "galley prepare-corpus {params.out} --recipe {params.recipe} --scale {wildcards.scale}"
        " --shakespeare {input.sources[0]} --essays {input.sources[1]} --missing {params.missing} &> {log}"
