"""What the authors published: printed averages, orders and memory from the recipe's own table, lists of channels read and refused."""

import json
import os
from pathlib import Path

import pytest

from galley.artifact import GalleyError, digest, sha256_file, write_json
from galley.data.fetch import check
from galley.data.sources import load_sources
from galley.papers.fourier_attention.lists import BY_HEAD, HEADS, LISTS, SIDES, SOURCE, WIDTH, list_rows, read_list
from galley.papers.fourier_attention.published import average_rows, lead_rows, memory_rows
from galley.papers.fourier_attention.selection import compressed_shares
from galley.papers.fourier_attention.stages import stage
from galley.plan import read_plan_of
from galley.tables.claims import load_claims
from galley.tables.judge import judge
from galley.tables.paper_values import read_paper_values
from galley.tables.rows import complete, read_items

RECIPE = Path("recipes/fourier_attention")
REAL = Path(os.environ.get("GALLEY_MIRROR", "/no/mirror")) / SOURCE
CLAIMS = [claim for claim in load_claims(RECIPE / "claims.yaml") if claim.id.split(".")[0] in ("E6", "E7", "M1", "L1", "L2", "L3")]


@pytest.fixture
def values():
    return read_paper_values(RECIPE / "paper_values.csv")


@pytest.fixture
def shipped(tmp_path):
    """A source of lists that follow the paper's ratios, the smallest channels by frequency first."""
    folder = tmp_path / SOURCE
    fast_first = sorted(range(HEADS * WIDTH), key=lambda i: (i % WIDTH) % (WIDTH // 2))
    for file, model, scheme in LISTS:
        shares = compressed_shares(32 if "8B" in model else 28, scheme=scheme)
        raw = {f"Layer_{layer}": {side: fast_first[: int(share * HEADS * WIDTH)] for side, share in zip(SIDES, pair, strict=True)}
               for layer, pair in enumerate(shares)}  # fmt: skip
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(json.dumps(raw))
    for states in (512, 1024, 2048):
        (folder / BY_HEAD.format(states=states)).write_text("one" if states == 1024 else "other")
    return sealed(folder)


def sealed(folder):
    """Write the record of a fetched source."""
    files = {str(path.relative_to(folder)): sha256_file(path) for path in folder.rglob("*.json") if path.name != "source.json"}
    write_json(folder / "source.json", {"status": "ok", "source": SOURCE, "sha256": files})
    return folder.parent


def verdicts(rows):
    frame = complete(rows, model="published", paper="fourier_attention", scale="smoke", run_id=digest([]), backend="none", device="cpu")
    return judge(CLAIMS, frame, scale="smoke").set_index("claim_id")


def all_rows(values, sources):
    return [*average_rows(values), *lead_rows(values), *memory_rows(values), *list_rows(sources)]


def test_the_stage_leaves_rows_by_which_every_claim_is_judged_and_flipped(shipped, tmp_path):
    job = stage["published"].job(read_plan_of("fourier_attention", "smoke"), scale="smoke", out=tmp_path / "out")
    stage["published"].run(job, paper=RECIPE / "paper_values.csv", sources=shipped)
    found = judge(CLAIMS, read_items([tmp_path / "out/published.items.parquet"]), scale="smoke").set_index("claim_id")
    for claim in CLAIMS:
        assert found.loc[claim.id, "verdict"] in claim.expect["smoke"], found.loc[claim.id].to_dict()
        assert found.loc[claim.id, "controls_flipped"] == found.loc[claim.id, "controls_run"] == len(claim.controls)


def test_other_printed_numbers_refute_them(values, shipped):
    """SnapKV a point lower, FourierAttention's cells four points higher and its memory flat: nothing of E6, E7 and M1 is left."""
    ours, cells = values["method"] == "FourierAttention", ~values["benchmark"].isin(["LongBench", "NIAH", "peak memory"])
    other = values.copy()
    other.loc[(values["method"] == "SnapKV") & (values["benchmark"] == "LongBench"), "value"] -= 1
    other.loc[ours & cells, "value"] += 4
    other.loc[ours & (values["benchmark"] == "peak memory"), "value"] = 20.0
    found = verdicts(all_rows(other, shipped))["verdict"]
    assert found.loc["E6"] == "contradicted" and set(found.loc[["E7.best", "E7.plain", "M1"]]) == {"refuted"}


def test_other_lists_contradict_them(values, shipped):
    """Slow pairs first, one channel too few in the last layer, and a list of its own for 2,048 states."""
    folder = shipped / SOURCE
    for file, _, _ in LISTS:
        raw = json.loads((folder / file).read_text())
        for layer in raw.values():
            for side in SIDES:
                n = len(layer[side])
                layer[side] = sorted(range(HEADS * WIDTH), key=lambda i: -((i % WIDTH) % (WIDTH // 2)))[:n]
        raw[f"Layer_{len(raw) - 1}"][SIDES[1]].pop()
        (folder / file).write_text(json.dumps(raw))
    (folder / BY_HEAD.format(states=2048)).write_text("its own")
    found = verdicts(all_rows(values, sealed(folder)))["verdict"]
    assert found.loc["L1.layers"] == "contradicted" and found.loc["L3"] == "refuted"
    assert set(found.loc[["L2.8B", "L2.3B"]]) == {"contradicted"}


def test_without_the_lists_their_claims_say_what_is_out_of_reach(values, tmp_path):
    found = verdicts(all_rows(values, tmp_path))
    lists = found[found.index.str.startswith("L")]
    assert set(lists["verdict"]) == {"not_run"} and lists["reason"].str.contains(f"the source {SOURCE} is out of reach").all()
    assert found.loc["E6", "verdict"] == "reproduced"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no list of channels by layer"),
        ('{"Layer_0": {"self_attn.k_proj": [1]}}', "is no list of channels by layer"),
        ('{"Layer_0": {"self_attn.k_proj": [1, 1], "self_attn.v_proj": []}}', "has a channel twice or beyond 1023"),
        ('{"Layer_0": {"self_attn.k_proj": [1], "self_attn.v_proj": [1024]}}', "has a channel twice or beyond 1023"),
    ],
)
def test_a_file_that_is_no_list_is_refused(tmp_path, text, message):
    path = tmp_path / "list.json"
    path.write_text(text)
    with pytest.raises(GalleyError, match=message):
        read_list(path)


@pytest.mark.skipif(not REAL.is_dir(), reason=f"the mirror has no {SOURCE} (galley fetch {SOURCE})")
def test_the_authors_lists_are_the_registered_ones_and_bear_the_claims(values, tmp_path):
    files = load_sources(Path("recipes/sources.yaml"))[SOURCE].files
    for file, entry in files.items():
        check(REAL / file, entry, what=file)
        (tmp_path / SOURCE / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / SOURCE / file).symlink_to(REAL / file)
    found = verdicts(all_rows(values, sealed(tmp_path / SOURCE)))
    assert set(found["verdict"]) == {"reproduced", "confirmed"}
    assert found.loc["L2.8B", "estimate"] == pytest.approx(0.335, abs=5e-4) and found.loc["L2.3B", "estimate"] == pytest.approx(
        0.208, abs=5e-4
    )
