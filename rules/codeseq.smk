"""CodeSeq: sequences become verified problems with solutions; small models learn induction from them; a real model is tuned on functions.

The trainings of a scale are dealt to `shards` jobs, each of which keeps what it finished.
"""


pathvars:
    stage="codeseq/synthesize",


use rule stage as codeseq_synthesize with:
    """Section 3: problems, their solutions with reflections, solvability, RL data, the GTG test, and the exact claims."""
    input:
        sources=sources_of("codeseq", "synthesize"),
    output:
        **LEAVES,
        problems="results/{scale}/codeseq/problems.jsonl",
        sft="results/{scale}/codeseq/sft.jsonl",
        plain="results/{scale}/codeseq/sft_plain.jsonl",
        rl="results/{scale}/codeseq/rl.jsonl",
        gtg="results/{scale}/codeseq/gtg.jsonl",
        functions="results/{scale}/codeseq/functions.jsonl",
        counts="results/{scale}/codeseq/synthesis.json",
    resources:
        mem_mb=2000,
        runtime=hours(1, paper=24),
    params:
        **declared("codeseq", "synthesize"),


pathvars:
    stage="codeseq/induce-{shard}",


use rule stage as codeseq_induce with:
    """D1 and D2: character models from scratch, one shard of the trainings."""
    threads: shard_threads("codeseq")
    resources:
        mem_mb=2000,
        runtime=hours(2, paper=4),
    params:
        **declared("codeseq", "induce"),


pathvars:
    stage="codeseq/{model}/tune-{shard}",


use rule stage as codeseq_tune with:
    """M1 and M2: a real model tuned on functions of sequences and on solutions, one shard of the arms."""
    input:
        **BASE,
        synthesis=expand("results/{{scale}}/codeseq/{name}.jsonl", name=["functions", "gtg", "sft", "sft_plain"]),
        sources=sources_of("codeseq", "tune"),
    threads: shard_threads("codeseq")
    resources:
        mem_mb=memory("codeseq", copies=5, beside=4000),
        runtime=model_hours("codeseq", "tune", least=2),
        gpu=gpus_of("codeseq"),
    params:
        **declared("codeseq", "tune"),
