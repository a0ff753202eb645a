import re

import pandas as pd
import pytest
import yaml

from galley.tables.certificate import certificate, data_used, write_certificate
from galley.tables.machine import FACTS
from galley.tables.publish import publish
from galley.tables.rows import write_items, write_runs

README = "# P\n\n## Deviations\n\n- smaller <models>\n\n## Ambiguities settled\n\n- the seed is 42\n\n## Cost\n\nminutes\n"
HERE = {"commit": "0123456789ab", "galley": "0.1.0", "torch": "2.13.0+cpu", "transformers": "5.23.0", "snakemake": "9.27.1",
        "python": "3.11.7", "cpu": "AMD EPYC", "cores": "2", "memory_gib": "24", "gpu": "",
        "os": "Debian GNU/Linux 12, Linux 6.1"}  # fmt: skip
NODE = HERE | {"commit": "0123456789ab-dirty", "gpu": "8 x NVIDIA H200", "cores": "128"}
P = {"paper": "p", "scale": "smoke"}
RUNS = [
    {**P, "run_id": "r1", "stage": "adapt", "wall_s": 60.4, "cpu_s": 59.0, "peak_rss_mib": 700.0, **NODE},
    {**P, "run_id": "r2", "stage": "adapt", "wall_s": 30.0, "cpu_s": 29.0, "peak_rss_mib": 900.0, **NODE},
    {**P, "run_id": "r3", "stage": "structure", "wall_s": 5.0, "cpu_s": 4.0, "peak_rss_mib": 300.0, **HERE},
]


@pytest.fixture
def text(table, judged, items):
    return certificate(table, judged, pd.DataFrame(RUNS), README, data=data_used(items), recipe="p", scale="smoke", here=HERE)


def test_it_counts_verdicts_and_controls(text):
    assert text.startswith("# Certificate: p at smoke scale\n")
    assert "- Experiments: 1, 1 proxy_agrees\n" in text and "1 claims agree; 1 of the 1 controls beside them flipped." in text


def test_kinds_of_evidence_stand_apart_experiments_first_and_self_checks_last(table, judged, items):
    kinds = [("self_check", "paper", "holds"), ("printed", "paper", "reproduced"), ("experiment", "critique", "proxy_agrees"),
             ("artefact", "paper", "contradicted"), ("experiment", "paper", "inconclusive")]  # fmt: skip
    rows = [judged.assign(claim_id=f"C{n}", evidence=e, stance=s, verdict=v) for n, (e, s, v) in enumerate(kinds)]
    claims, data = pd.concat(rows, ignore_index=True), data_used(items)
    text = certificate(table, claims, pd.DataFrame(RUNS), README, data=data, recipe="p", scale="smoke", here=HERE)
    titles = ["Experiments", "Artefacts of the authors", "Printed numbers, derived again", "Findings against the paper",
              "Self-checks: identities of this code"]  # fmt: skip
    assert re.findall(r"^## (.*)$", text, re.MULTILINE)[:5] == titles
    order = [re.findall(r"^\| \S* \| (C\d) \|", part, re.MULTILINE) for part in text.split("\n## ")[1:6]]
    assert order == [["C4"], ["C3"], ["C1"], ["C2"], ["C0"]]
    counted = ("1, 1 inconclusive", "1, 1 contradicted", "1, 1 reproduced", "1, 1 proxy_agrees", "1, 1 holds")
    for title, n in zip(titles, counted, strict=True):
        assert f"- {title}: {n}\n" in text
    assert "3 claims agree; 3 of the 3 controls beside them flipped. The other 2 have nothing" in text


def test_it_carries_the_recipe_s_deviations_and_nothing_of_its_other_sections(text):
    assert "## Deviations\n\n- smaller &lt;models&gt;" in text and "## Ambiguities settled\n\n- the seed is 42" in text
    assert "minutes" not in text


def test_it_says_what_was_not_run_and_why(text):
    part = text.split("## Not run\n\n")[1].split("\n\n##")[0]
    assert "- data: out of reach: 1 numbers" in part and "- needs the paper's models and budget: 2 numbers" in part


def test_it_adds_up_the_cost_by_stage(text):
    rows = dict(re.findall(r"^\| (adapt|structure) \| (.*) \|$", text, re.MULTILINE))
    assert [float(x) for x in rows["adapt"].split(" | ")] == [90.0, 88.0, 900.0]
    assert [float(x) for x in rows["structure"].split(" | ")] == [5.0, 4.0, 300.0]


def test_it_says_how_many_seeds_each_method_s_numbers_rest_on_where_they_differ(text, table, judged, items):
    assert "## Seeds" not in text
    more = table.assign(n_seeds=table["n_seeds"].where(table["method"] != "original", 2.0))
    page = certificate(more, judged, pd.DataFrame(RUNS), README, data=data_used(items), recipe="p", scale="smoke", here=HERE)
    assert "## Seeds\n\n- 1: a&amp;b_50%\\|x\n- 2: original\n\n" in page


def test_it_ends_with_the_command_that_makes_it_again(text):
    assert text.rstrip().endswith("snakemake --cores all results/table_p.csv --config scale=smoke")


def test_it_says_with_what_commit_versions_and_machine_each_stage_was_made(text, table, judged, items):
    assert set(HERE) == set(FACTS)
    said = text.split("## Made with\n\n")[1].split("\n\n##")[0].splitlines()
    packages = "python 3.11.7, torch 2.13.0+cpu, transformers 5.23.0, snakemake 9.27.1; AMD EPYC"
    assert said == [
        f"- adapt: galley 0.1.0, commit 0123456789ab-dirty; {packages}, 128 cores, 24 GiB, 8 x NVIDIA H200; Debian GNU/Linux 12, Linux 6.1",
        f"- structure, table: galley 0.1.0, commit 0123456789ab; {packages}, 2 cores, 24 GiB, no GPU; Debian GNU/Linux 12, Linux 6.1",
    ]
    bare = pd.DataFrame([{"stage": "adapt", "wall_s": 1.0, "cpu_s": 1.0, "peak_rss_mib": 1.0}])
    here = HERE | {"commit": ""}
    text = certificate(table, judged, bare, README, data=data_used(items), recipe="p", scale="smoke", here=here)
    assert "- adapt: not recorded\n- table: galley 0.1.0, no git checkout; python" in text


def test_it_names_the_data_and_where_windows_of_text_came_from(items):
    windows = (
        items[items["benchmark"] == "heldout"].head(4).assign(item_id=["essays/gap/0", "essays/gap/1", "stdlib/ast.py", "essays/gap/0"])
    )
    data = data_used(pd.concat([items[items["benchmark"] == "commonsense_piqa"], windows])).set_index("benchmark")
    assert data.loc["heldout", "items"] == 3 and data.loc["heldout", "text from"] == "essays (2), stdlib (1)"
    assert data.loc["commonsense_piqa", "items"] == 4 and data.loc["commonsense_piqa", "text from"] == ""


def test_both_files_are_written_and_the_page_is_escaped(table, judged, items, tmp_path):
    write_items(items, tmp_path / "i.parquet")
    table.to_csv(tmp_path / "t.csv", index=False)
    judged.to_csv(tmp_path / "c.csv", index=False)
    write_runs(pd.DataFrame(RUNS), tmp_path / "r.csv")
    (tmp_path / "README.md").write_text(README)
    write_certificate(
        tmp_path / "t.csv",
        tmp_path / "c.csv",
        items=[tmp_path / "i.parquet"],
        runs=[tmp_path / "r.csv"],
        readme=tmp_path / "README.md",
        recipe="p",
        scale="smoke",
        out=tmp_path / "certificate_p",
        absent=[("shakespeare", "nobody answers")],
    )
    page = (tmp_path / "certificate_p.html").read_text()
    assert "smaller &lt;models&gt;" in page and "<models>" not in page
    assert "smaller &lt;models&gt;" in (tmp_path / "certificate_p.md").read_text()
    assert "Sources out of reach" in page and "nobody answers" in page


def test_one_call_makes_everything_and_the_same_bytes_twice(items, claims, paper, metrics, figures, tmp_path):
    folder = tmp_path / "recipes/p"
    folder.mkdir(parents=True)
    (tmp_path / "recipes/metrics.yaml").write_text(yaml.safe_dump({name: metric.model_dump() for name, metric in metrics.items()}))
    (folder / "claims.yaml").write_text(yaml.safe_dump({"claims": [c.model_dump(exclude_none=True) for c in claims]}))
    (folder / "README.md").write_text(README)
    (folder / "figures.yaml").write_text(figures.read_text())
    paper.to_csv(folder / "paper_values.csv", index=False)
    write_items(items, tmp_path / "i.parquet")
    write_runs(pd.DataFrame(RUNS), tmp_path / "r.csv")
    made = []
    for turn in ("a", "b"):
        out = tmp_path / turn
        publish("p", items=[tmp_path / "i.parquet"], runs=[tmp_path / "r.csv"], scale="smoke", folder=folder, results=out)
        made.append({str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()})
    assert made[0] == made[1]
    assert set(made[0]) == {
        "table_p.csv", "claims_p.csv", "table_p.md", "table_p.tex", "table_p.html", "certificate_p.md", "certificate_p.html",
        "figures/p/recovered_fraction_m_1.svg", "figures/p/needles_m_1.svg",
    }  # fmt: skip
