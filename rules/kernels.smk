"""Kernels: ahead-of-time builds for GPUs that need not be there, a tidy row each."""

KERNELS = [
    "flash_fourier.project_query",
    "flash_fourier.scores",
    "flash_fourier.project_weights",
    "flash_fourier.merge",
    "flash_fourier.rebuild_scores",
    "mla_decode.attend",
    "mla_decode.merge",
]
TARGETS = ["sm_80", "sm_90", "gfx942"]


rule build_kernel:
    """Compile one kernel for one GPU: registers, spills and shared memory at each head size."""
    output:
        "results/kernels/{kernel}-{target}.csv",
    log:
        "logs/kernels/{kernel}-{target}.log",
    wildcard_constraints:
        kernel="|".join(KERNELS),
        target="|".join(TARGETS),
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        code=code("galley.kernels.build"),
    shell:
        "galley build-kernel {wildcards.kernel} --target {wildcards.target} --out {output} &> {log}"


rule kernels_table:
    """All builds, and what a decode step must at least take on each GPU by its data sheet."""
    input:
        expand("results/kernels/{kernel}-{target}.csv", kernel=KERNELS, target=TARGETS),
    output:
        "results/table_kernels.csv",
    log:
        "logs/table_kernels.log",
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        code=code("galley.kernels.roofline"),
    shell:
        "galley kernels-table {input} --out {output} &> {log}"
