"""Tables: tidy rows, claims with verdicts, renderings, figures and the certificate page."""

# What the evaluators outside code are certified on.
CERTIFIED = ["paul_graham_essays", "piqa_valid", "hellaswag_fixture", "longbench_config", "longbench_multi_news", "shakespeare"]


localrules:
    table,


rule table:
    """Judge every claim and render the table; all forms are pure functions of the two csv files."""
    input:
        rows=lambda wildcards: parts(wildcards.recipe, "items.parquet"),
        runs=lambda wildcards: parts(wildcards.recipe, "runs.csv"),
        recipe=local("recipes/{recipe}/recipe.yaml"),
        claims=local("recipes/{recipe}/claims.yaml"),
        paper=local("recipes/{recipe}/paper_values.csv"),
        metrics=local("recipes/metrics.yaml"),
        figures=lambda wildcards: [local(path) for path in [f"recipes/{wildcards.recipe}/figures.yaml"] if Path(path).exists()],
        readme=local("recipes/{recipe}/README.md"),
        records=lambda wildcards: records_of(wildcards.recipe),
    output:
        table=report("results/table_{recipe}.csv", category="{recipe}", labels={"what": "table"}),
        claims=report("results/claims_{recipe}.csv", category="{recipe}", labels={"what": "claims"}),
        markdown="results/table_{recipe}.md",
        latex="results/table_{recipe}.tex",
        html=report("results/table_{recipe}.html", category="{recipe}", labels={"what": "paper form"}),
        certificate_md="results/certificate_{recipe}.md",
        certificate=report("results/certificate_{recipe}.html", category="{recipe}", labels={"what": "certificate"}),
        figures=directory("results/figures/{recipe}"),
    log:
        "logs/table_{recipe}.log",
    params:
        scale=config["scale"],
        asked=lambda wildcards: asked_of(wildcards.recipe),
        results=lambda wildcards, output: Path(output.table).parent,
        sources=lambda wildcards, input: f"--sources {folder_of(input.records)}" if input.records else "",
        code=code("galley.tables.publish"),
    shell:
        "galley table {wildcards.recipe} --scale {params.scale} {params.asked} --results {params.results} {params.sources}"
        " --items {input.rows} --runs {input.runs} &> {log}"


rule certificates:
    """Score every evaluator on gold and on corrupted answers: what it gives must be 1 and near 0."""
    input:
        sources=fetched(*CERTIFIED, *CODE),
    output:
        "results/table_certificates.csv",
    log:
        "logs/certificates.log",
    resources:
        mem_mb=3000,
        runtime=20,
    params:
        sources=lambda wildcards, input: Path(input.sources[0]).parent,
        code=code("galley.evaluate.certify"),
    shell:
        "galley certify --sources {params.sources} --out {output} &> {log}"
