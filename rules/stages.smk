"""The shape of a stage's rule: what it leaves, where it logs, how it is called; a recipe's rules say the rest.

`pathvars: stage=...` before a rule names the stage and its wildcards. (Not in the rule: Snakemake 9.27 does not fill a rule's own in
files of a default storage, as on Kubernetes.) Inputs go to the command's options of the same name, of several files the folder; the
others are waited for.
"""


pathvars:
    stage="none",


rule stage:
    """Leave a stage's rows (every rule of a recipe is made of this one; by itself it makes nothing)."""
    output:
        **LEAVES,
    log:
        "logs/{scale}/<stage>.log",
    benchmark:
        "benchmarks/{scale}/<stage>.jsonl"
    shell:
        "galley {params.command} {params.options} &> {log}"
