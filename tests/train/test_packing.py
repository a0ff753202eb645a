import pytest
import torch

from galley.artifact import GalleyError
from galley.models.scratch import train_tokenizer
from galley.train import packing
from galley.train.packing import batch, pack_file, packed, write_packed

TEXTS = [f"text {i} " * (1 + i % 9) for i in range(90)] + [""] + ["long " * 700]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(TEXTS, vocab_size=300)


def slow(texts, tokenizer):
    """All ids in order, an EOS after each text: what packing cuts into sequences."""
    ids = []
    for text in texts:
        ids += [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    return torch.tensor(ids, dtype=torch.int32)


@pytest.mark.parametrize("documents", [1, 7, 256])
def test_a_stream_packs_to_the_ids_of_its_texts_in_order(tokenizer, tmp_path, monkeypatch, documents):
    monkeypatch.setattr(packing, "DOCUMENTS", documents)
    want = slow(TEXTS, tokenizer)
    n = len(want) // 16
    got = pack_file(iter(TEXTS), tokenizer, tmp_path / "p.bin", seq_len=16, max_tokens=10**9)
    assert torch.equal(got, want[: n * 16].view(n, 16))
    few = pack_file(iter(TEXTS), tokenizer, tmp_path / "few.bin", seq_len=16, max_tokens=100)
    assert torch.equal(few, got[:6])  # 96 of at most 100 tokens
    assert torch.equal(batch(few, step=1, batch_size=4, seed=0), batch(got[:6].clone(), step=1, batch_size=4, seed=0))


def test_long_texts_are_tokenised_in_pieces(tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(packing, "PIECE", 100)  # a multiple of "long ", so that the pieces join to the same ids
    got = pack_file(iter(["long " * 700, "b"]), tokenizer, tmp_path / "p.bin", seq_len=1, max_tokens=10**9).flatten()
    want = slow(["long " * 700, "b"], tokenizer)
    assert tokenizer.decode(got) == tokenizer.decode(want) and (got == tokenizer.eos_token_id).sum() == 2


def test_a_packed_file_is_made_once_and_never_half(tokenizer, tmp_path):
    path = tmp_path / "p.bin"

    def broken():
        yield from TEXTS
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="disk"):
        pack_file(broken(), tokenizer, path, seq_len=8, max_tokens=10**9)
    assert not path.exists() and not list(tmp_path.glob("*.part"))
    first = pack_file(iter(TEXTS), tokenizer, path, seq_len=8, max_tokens=10**9)
    again = pack_file(broken(), tokenizer, path, seq_len=8, max_tokens=10**9)  # not read: the file is there
    assert torch.equal(first, again)
    with pytest.raises(GalleyError, match="fewer than one sequence of seq_len 99"):
        pack_file(iter(["a"]), tokenizer, tmp_path / "q.bin", seq_len=99, max_tokens=10**9)


def test_written_ids_are_read_back(tmp_path):
    data = torch.randint(0, 49152, (5, 12))
    write_packed(data, tmp_path / "d.bin")
    assert torch.equal(packed(tmp_path / "d.bin", seq_len=12).long(), data)
