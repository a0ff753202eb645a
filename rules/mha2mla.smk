"""MHA2MLA, as the paper's method section: inspect the base model, convert and fine-tune each arm, evaluate.

Every job of a scale reads one plan (recipes/mha2mla/recipe.yaml). The arms are spread over `shards`
jobs; what an arm needs shares a process, because importing torch costs more than a small stage.
"""


pathvars:
    stage="mha2mla/{model}/inspect",


use rule stage as mha2mla_inspect with:
    """Section 2: the exact claims on real tensors, and the mean norms of every rotary pair on training text."""
    input:
        **BASE,
        corpus=text("mha2mla", "calibration"),
    output:
        **LEAVES,
        norms="results/{scale}/mha2mla/{model}/norms.safetensors",
    threads: lambda wildcards: share(1)
    resources:
        mem_mb=memory("mha2mla", copies=2.2, beside=5500),
        runtime=hours(1, paper=24),
        gpu=gpus_of("mha2mla", most=1),
    params:
        **declared("mha2mla", "inspect"),


pathvars:
    stage="mha2mla/{model}/arms-{shard}",


use rule stage as mha2mla_arms with:
    """Sections 2.2, 2.4 and 4: convert each arm, fine-tune it on the same tokens, score it as it goes, benchmark it."""
    input:
        **BASE,
        corpus=text("mha2mla", "train", "heldout"),
        norms="results/{scale}/mha2mla/{model}/norms.safetensors",
        sources=sources_of("mha2mla", "arms"),
        paper=local("recipes/mha2mla/paper_values.csv"),
    threads: shard_threads("mha2mla")
    resources:
        mem_mb=memory("mha2mla", copies=6, a_process=3000),
        runtime=model_hours("mha2mla", "arms", least=2),
        gpu=gpus_of("mha2mla"),
    params:
        **declared("mha2mla", "arms"),
