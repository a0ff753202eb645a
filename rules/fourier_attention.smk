"""FourierAttention: what its authors published; then the channels, and needles, LongBench and RULER through every cache.

A prompt is prefilled once and all methods are scored on it, so prompts are spread over `shards`.
"""


pathvars:
    stage="fourier_attention/published",


use rule stage as fourier_attention_published with:
    """Tables 1 and 2, the later version's, and the shipped lists of channels: no model is read."""
    input:
        paper=local("recipes/fourier_attention/paper_values.csv"),
        sources=sources_of("fourier_attention", "published"),
    output:
        **LEAVES,
    resources:
        mem_mb=2000,
        runtime=hours(1, paper=1),
    params:
        **declared("fourier_attention", "published"),


pathvars:
    stage="fourier_attention/{model}/inspect",


use rule stage as fourier_attention_inspect with:
    """Section 3: the compressed channels from calibration text, and the claims that need one prompt."""
    input:
        **BASE,
        corpus=text("fourier_attention", "calibration"),
    output:
        **LEAVES,
        errors="results/{scale}/fourier_attention/{model}/errors.safetensors",
    threads: lambda wildcards: share(1)
    resources:
        mem_mb=memory("fourier_attention", copies=1.2, beside=5500),
        runtime=hours(1, paper=12),
        gpu=gpus_of("fourier_attention", most=1),
    params:
        **declared("fourier_attention", "inspect"),


pathvars:
    stage="fourier_attention/{model}/needles-{shard}",


use rule stage as fourier_attention_needles with:
    """Sections 4.2 and 5: the needle grid through every method's cache, one prefill a prompt."""
    input:
        **BASE,
        corpus=text("fourier_attention", "heldout"),
        errors="results/{scale}/fourier_attention/{model}/errors.safetensors",
    threads: shard_threads("fourier_attention")
    resources:
        mem_mb=memory("fourier_attention", copies=1.2, beside=5500),
        runtime=model_hours("fourier_attention", "needles", least=2),
        gpu=gpus_of("fourier_attention"),
    params:
        **declared("fourier_attention", "needles"),


pathvars:
    stage="fourier_attention/{model}/tasks-{shard}",


use rule stage as fourier_attention_tasks with:
    """Section 4.2 and Table 3: LongBench and RULER through every method's cache, one prefill a prompt."""
    input:
        **BASE,
        corpus=text("fourier_attention", "heldout"),
        errors="results/{scale}/fourier_attention/{model}/errors.safetensors",
        sources=sources_of("fourier_attention", "tasks"),
    threads: shard_threads("fourier_attention")
    resources:
        mem_mb=memory("fourier_attention", copies=1.2, beside=5500),
        runtime=model_hours("fourier_attention", "tasks", least=2),
        gpu=gpus_of("fourier_attention"),
    params:
        **declared("fourier_attention", "tasks"),
