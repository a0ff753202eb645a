"""UnitCoder: filter the corpus, run the pipeline on it, and see what tests, model-written tests and debug rounds are worth.

The stages after the corpus are independent of each other; each keeps its sandbox's runners to its threads.
"""


pathvars:
    stage="unitcoder/corpus",


use rule stage as unitcoder_corpus with:
    """Stage 1: functions by package, without copies and without the benchmarks."""
    input:
        sources=sources_of("unitcoder", "corpus"),
    output:
        **LEAVES,
        functions="results/{scale}/unitcoder/functions.jsonl",
    resources:
        mem_mb=lambda wildcards: 16000 if wildcards.scale == "paper" else 2000,
        runtime=hours(1, paper=12),
    params:
        **declared("unitcoder", "corpus"),


pathvars:
    stage="unitcoder/pipeline",


use rule stage as unitcoder_pipeline with:
    """Stages 2 and 3: tests, execution, debug rounds and refinement of the corpus's functions; the exact claims."""
    input:
        functions="results/{scale}/unitcoder/functions.jsonl",
        agent=agent_of("unitcoder"),
    output:
        **LEAVES,
        passed="results/{scale}/unitcoder/pipeline/passed.jsonl",
        failed="results/{scale}/unitcoder/pipeline/failed.jsonl",
        polished="results/{scale}/unitcoder/pipeline/polished.jsonl",
        sft="results/{scale}/unitcoder/pipeline/sft.jsonl",
    threads: lambda wildcards: share(2)
    resources:
        mem_mb=3000,
        runtime=hours(1, paper=7 * 24),
    params:
        **declared("unitcoder", "pipeline"),


pathvars:
    stage="unitcoder/mutants",


use rule stage as unitcoder_mutants with:
    """D1 and D4: mutants that pass k tests, judged by all."""
    input:
        functions="results/{scale}/unitcoder/functions.jsonl",
        sources=sources_of("unitcoder", "mutants"),
    threads: lambda wildcards: share(2)
    resources:
        mem_mb=4000,
        runtime=hours(2, paper=24),
    params:
        **declared("unitcoder", "mutants"),


pathvars:
    stage="unitcoder/model_tests",


use rule stage as unitcoder_model_tests with:
    """D2 and D4: a model's solutions under the same model's tests."""
    input:
        sources=sources_of("unitcoder", "model_tests"),
    output:
        **LEAVES,
        programs="results/{scale}/unitcoder/programs.jsonl",
    priority: 2  # the fine-tuning waits for it
    threads: lambda wildcards: share(2)
    resources:
        mem_mb=3000,
        runtime=hours(2, paper=24),
    params:
        **declared("unitcoder", "model_tests"),


pathvars:
    stage="unitcoder/debugging",


use rule stage as unitcoder_debugging with:
    """D3 and D4: real programs through the debug rounds, judged by hidden tests."""
    input:
        sources=sources_of("unitcoder", "debugging"),
    priority: 1  # the longest stage that waits for none
    threads: lambda wildcards: share(2)
    resources:
        mem_mb=3000,
        runtime=hours(2, paper=24),
    params:
        **declared("unitcoder", "debugging"),


pathvars:
    stage="unitcoder/demo",


use rule stage as unitcoder_demo with:
    """A1 to A3: the authors' released demo, counted and run again."""
    input:
        sources=sources_of("unitcoder", "demo"),
    resources:
        mem_mb=3000,
        runtime=hours(1, paper=1),
    params:
        **declared("unitcoder", "demo"),


pathvars:
    stage="unitcoder/{model}/tuning",


use rule stage as unitcoder_tuning with:
    """M1 and M2: fine-tuning on filtered, unfiltered and failing programs, equal tokens; likelihood of held-out programs, and answers."""
    input:
        **BASE,
        programs="results/{scale}/unitcoder/programs.jsonl",
        sources=sources_of("unitcoder", "tuning"),
    threads: 2
    resources:
        mem_mb=memory("unitcoder", copies=5, beside=6000),
        runtime=model_hours("unitcoder", "tuning", least=2),
        gpu=gpus_of("unitcoder"),
    params:
        **declared("unitcoder", "tuning"),


pathvars:
    stage="unitcoder/{model}/post_training",


use rule stage as unitcoder_post_training with:
    """N and T: fine-tuning on the pipeline's programs, whole and with a part of it left out; answers to code benchmarks."""
    input:
        **BASE,
        functions="results/{scale}/unitcoder/functions.jsonl",
        passed="results/{scale}/unitcoder/pipeline/passed.jsonl",
        failed="results/{scale}/unitcoder/pipeline/failed.jsonl",
        sources=sources_of("unitcoder", "post_training"),
    threads: 2
    resources:
        mem_mb=memory("unitcoder", copies=5, beside=6000),
        runtime=model_hours("unitcoder", "post_training", least=2),
        gpu=gpus_of("unitcoder"),
    params:
        **declared("unitcoder", "post_training"),
