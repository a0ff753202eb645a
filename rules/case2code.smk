"""Case2Code: functions become cases, cases become prompts; the official test; small models learn induction from them."""


pathvars:
    stage="case2code/synthesize",


use rule stage as case2code_synthesize with:
    """Section 3: filter functions, write inputs, run twice, select cases, split, export the training file."""
    input:
        sources=sources_of("case2code", "synthesize"),
    output:
        **LEAVES,
        cases="results/{scale}/case2code/cases.jsonl",
        sft="results/{scale}/case2code/sft.jsonl",
    threads: lambda wildcards: share(1) if wildcards.scale == "paper" else 1
    resources:
        mem_mb=2000,
        runtime=hours(1, paper=48),
    params:
        **declared("case2code", "synthesize"),


pathvars:
    stage="case2code/check",


use rule stage as case2code_check with:
    """E1 to E4: stable outputs, prompts, ceilings and baselines, a strict scorer; and the official test."""
    input:
        cases="results/{scale}/case2code/cases.jsonl",
        sources=sources_of("case2code", "check"),
    resources:
        mem_mb=2000,
        runtime=hours(1, paper=12),
    params:
        **declared("case2code", "check"),


pathvars:
    stage="case2code/sequences-{shard}",


use rule stage as case2code_sequences with:
    """D2 to D4: character models from scratch on integer programs, dealt to shards by arm and seed."""
    threads: shard_threads("case2code")
    resources:
        mem_mb=2000,
        runtime=hours(2, paper=4),
    params:
        **declared("case2code", "sequences"),


pathvars:
    stage="case2code/{model}/tune-{shard}",


use rule stage as case2code_tune with:
    """D1, D4 to D6: a real model on functions with their own cases, with another's and with none, dealt to shards."""
    input:
        **BASE,
        cases="results/{scale}/case2code/cases.jsonl",
        sources=sources_of("case2code", "tune"),
    threads: shard_threads("case2code")
    resources:
        mem_mb=memory("case2code", copies=5, beside=4000),
        runtime=model_hours("case2code", "tune", least=2),
        gpu=gpus_of("case2code"),
    params:
        **declared("case2code", "tune"),
