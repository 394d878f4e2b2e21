"""Byte-pair encoding at the size in which it is used: 5 MB of text, a vocabulary of 32,768, and GPT-2's own."""

import argparse
import hashlib
import json
from pathlib import Path

import pytest

from conftest import SHARED
from inkling.text import bpe, bpe_fast, count_fast
from inkling.text.gpt2 import SHA256
from inkling.text.split import PATTERNS
from inkling.text.tokenizer_json import CHAT_TOKENS
from inkling.text.tokenizer_sources import gpt2_tokenizer, trained_tokenizer
from test_bpe import library_trained

pytestmark = pytest.mark.slow

SIZE = 5_000_000
MERGES = 32_768 - 256 - len(CHAT_TOKENS)


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """Sources of Python's own library, in an order that a hash decides, so that its parts are mixed."""
    files = Path(argparse.__file__).parent.rglob("*.py")
    texts, size = [], 0
    for file in sorted(files, key=lambda file: hashlib.md5(file.name.encode()).digest()):
        texts.append(file.read_bytes().decode("utf-8", errors="replace"))
        size += len(texts[-1].encode())
        if size > SIZE:
            return texts
    raise AssertionError(f"Python's library has only {size:,} bytes of source")


@pytest.fixture(scope="module", params=PATTERNS)
def learned(request, texts):
    """(pattern, the counted chunks, the merges that the fast path learns from them)."""
    counts = count_fast.count_chunks(texts, request.param)
    return request.param, counts, bpe_fast.learn_merges(counts, MERGES)


def test_the_plain_twin_learns_the_same(learned, texts):
    pattern, counts, merges = learned
    assert len(merges) == MERGES
    assert counts == bpe.count_chunks(texts, pattern)
    assert merges == bpe.learn_merges(counts, MERGES)


def test_the_library_learns_the_same(learned, texts):
    pattern, _, merges = learned
    assert merges == library_trained(texts, 256 + MERGES, pattern)[1]


def test_all_ways_to_encode_are_equal(learned, texts, tmp_path):
    """The fast path, the plain twin, and transformers from the saved file, on every fifth document."""
    from transformers import PreTrainedTokenizerFast

    pattern, _, merges = learned
    tokenizer = trained_tokenizer(merges, pattern)
    twin = bpe.BytePairEncoding(pattern, merges, CHAT_TOKENS)
    tokenizer.save(tmp_path / "tokenizer.json")
    theirs = PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"))
    sample = texts[::5]
    assert len(theirs) == tokenizer.vocab_size == 32_768 and len(sample) > 20
    for text, ids in zip(sample, tokenizer.encode_documents(sample), strict=True):
        assert ids.tolist() == theirs.encode(text) == twin.encode(text)
        assert tokenizer.decode(ids) == text


@pytest.mark.skipif(
    not all((SHARED / "gpt2" / name).exists() for name in SHA256) or not (SHARED / "tinyshakespeare.txt").exists(),
    reason="needs tinyshakespeare.txt, and vocab.bpe and encoder.json in gpt2, in ../shared/data",
)
def test_the_plain_twin_with_gpt2s_merges_gives_nanogpts_counts():
    described = json.loads(gpt2_tokenizer(SHARED / "gpt2").to_json())["model"]
    ids = described["vocab"]
    merges = [(ids[left], ids[right]) for left, right in described["merges"]]
    twin = bpe.BytePairEncoding("gpt2", merges, ("<|endoftext|>",))
    text = (SHARED / "tinyshakespeare.txt").read_text(encoding="utf-8")
    cut = int(len(text) * 0.9)
    train, val = twin.encode(text[:cut]), twin.encode(text[cut:])
    assert (len(train), len(val)) == (301_966, 36_059)
    assert train == gpt2_tokenizer(SHARED / "gpt2").encode(text[:cut])
