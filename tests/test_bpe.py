"""Byte-pair encoding: the fast paths against the plain ones, and both against `tokenizers` and transformers."""

import argparse
import json
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inkling.errors import UserError
from inkling.text import bpe, bpe_fast, count_fast, encode_fast
from inkling.text.samples import SAMPLES
from inkling.text.split import PATTERNS, code_points, has_new_letters, new_letters, split
from inkling.text.split_fast import chunks_of_block, pairs_of_digits
from inkling.text.tokenizer_json import CHAT_TOKENS, pattern_of, split_stage
from inkling.text.tokenizer_sources import load_tokenizer, trained_tokenizer

# Text of many kinds that every Python has: about 100 KB of code, and samples of English and other languages.
CORPUS = [Path(argparse.__file__).read_text(encoding="utf-8"), *SAMPLES.values()]
AWKWARD = (
    "I'll IT'S 'ſ'Re'x naïve  \t\n\n日 👩‍👩‍👧 \r\n;\n  \n (a) <|endoftext|> 12345678 ½²٣ \x00\ufeff\u2028 <|bos|>\n "
)
EDGES = ["", " ", "a", "a" * 1000, "ab" * 500, "aab" * 300, "\n" * 50, "é" * 99, "\U0010ffff", "\x00\xff", AWKWARD * 3]

all_patterns = pytest.mark.parametrize("pattern", PATTERNS)
any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)
# Where chunks begin and end is where mistakes would be, so: much white space, apostrophes, digits, letters that are
# new to one library or the other.
PARTS = ["a", "S", "s", "t", "ll", "VE", "re", "d", "1", "22", "½", " ", "  ", "\n", "\r", "\t", "'", "!", "(", ";"]
PARTS += ["\u3000", "\u00a0", "\x85", "\x1c", "é", "日", "ſ", "👍", "\u0301", "\u088f", "\U0003d000", "<|bos|>", "\x00"]
tricky_text = st.lists(st.sampled_from(PARTS), max_size=30).map("".join)


def library_trained(texts, vocab_size: int, pattern: str):
    """The vocabulary that `tokenizers` learns, as (tokens by id, merges as pairs of ids)."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

    library = Tokenizer(models.BPE())
    by_pattern = pre_tokenizers.Split(Regex(PATTERNS[pattern]), "isolated")
    as_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    library.pre_tokenizer = pre_tokenizers.Sequence([by_pattern, as_bytes])
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, initial_alphabet=alphabet, show_progress=False)
    library.train_from_iterator(texts, trainer)
    model = json.loads(library.to_str())["model"]
    ids = model["vocab"]
    return ids, [(ids[left], ids[right]) for left, right in model["merges"]]


@pytest.fixture(scope="module")
def tokenizers():
    """One tokenizer for each pattern, with its plain twin: pattern → (tokenizer, twin)."""
    made = {}
    for pattern in PATTERNS:
        merges = bpe_fast.learn_merges(count_fast.count_chunks(CORPUS, pattern), 2000)
        made[pattern] = trained_tokenizer(merges, pattern), bpe.BytePairEncoding(pattern, merges, CHAT_TOKENS)
    return made


# --- splitting -------------------------------------------------------------------------------------------


def fast_split(texts: list[str], pattern: str) -> list[str]:
    raw, starts, stops = chunks_of_block(texts, pattern)
    return [raw[start:stop].decode("utf-8") for start, stop in zip(starts, stops, strict=True)]


@all_patterns
@given(st.lists(tricky_text | any_text, max_size=4))
@settings(max_examples=150, deadline=None)
def test_fast_splitting_equals_the_pattern(pattern, texts):
    assert fast_split(texts, pattern) == [chunk for text in texts for chunk in split(text, pattern)]


@all_patterns
@given(tricky_text | any_text)
@settings(max_examples=150, deadline=None)
def test_the_library_splits_the_same(pattern, text):
    from tokenizers import Regex, pre_tokenizers

    pieces = pre_tokenizers.Split(Regex(PATTERNS[pattern]), "isolated").pre_tokenize_str(text)
    assert split(text, pattern) == [piece for piece, _ in pieces]
    assert "".join(split(text, pattern)) == text


@all_patterns
def test_much_text_splits_the_same(pattern):
    assert fast_split(CORPUS, pattern) == [chunk for text in CORPUS for chunk in split(text, pattern)]


def test_what_the_patterns_do():
    text = "(self.x1234 = 'it''S;\n\n  y"
    assert split(text, "gpt2") == ["(", "self", ".", "x", "1234", " =", " '", "it", "''", "S", ";", "\n\n ", " y"]
    assert split(text, "cl100k") == ["(self", ".x", "123", "4", " =", " '", "it", "''", "S", ";\n\n", " ", " y"]
    assert split("it'S 12345", "cl100k") == ["it", "'S", " ", "123", "45"]
    assert split("it'S 12345", "nanochat") == ["it", "'S", " ", "12", "34", "5"]
    assert split("it'S 12345", "qwen") == ["it", "'S", " ", "1", "2", "3", "4", "5"]


def test_an_unknown_pattern_names_the_choices():
    with pytest.raises(UserError, match="no split pattern 'gpt5'"):
        split("a", "gpt5")


def test_the_libraries_disagree_exactly_about_the_new_letters():
    import regex
    from tokenizers import Regex, pre_tokenizers

    everything = bytes(np.arange(0xD800, dtype="<u4")).decode("utf-32-le")
    everything += bytes(np.arange(0xE000, 0x110000, dtype="<u4")).decode("utf-32-le")
    points = code_points(everything)
    disagree = np.zeros(0x110000, dtype=bool)
    for pattern in (r"\p{L}+", r"\p{N}+", r"\s+"):
        here, there = np.zeros(len(points), dtype=bool), np.ones(len(points), dtype=bool)
        for match in regex.finditer(pattern, everything):
            here[match.start() : match.end()] = True
        others = pre_tokenizers.Split(Regex(pattern), "removed")
        for at in range(0, len(everything), 1 << 14):  # the library is slower in one go
            for _, (start, stop) in others.pre_tokenize_str(everything[at : at + (1 << 14)]):
                there[at + start : at + stop] = False
        disagree[points] |= here != there
    assert np.array_equal(disagree, new_letters())


def check_gigatoken(pattern, points):
    """A vocabulary that joins "a" with the first byte of a character shows whether the two are one chunk."""
    ids = bpe.id_of_byte().tolist()
    merges = [(ids[ord(head)], ids[lead]) for head in "a1!\t" for lead in range(0xC2, 0xF5)]
    text = "".join(f"a{c} 1{c} !!{c}\t{c}\n" for c in map(chr, points))
    raw, starts, _ = chunks_of_block([text], pattern)
    within = np.ones(len(raw), dtype=bool)
    within[starts] = False
    data = np.frombuffer(raw, dtype=np.uint8)
    joined = np.isin(data[:-1], list(b"a1!\t")) & (data[1:] >= 0xC2) & within[1:]
    ends = np.flatnonzero(~joined)[1:]  # of tokens; without the mark before the text
    tokens = trained_tokenizer(merges, pattern)._fast.encode(text, text.encode())
    assert np.array_equal(np.cumsum(1 + (tokens >= 256)), ends)


OTHERS = [point for point in range(0x80, 0x110000) if not (0xD800 <= point < 0xE000 or new_letters()[point])]


@pytest.mark.parametrize("pattern", ["gpt2", "cl100k"])
def test_gigatoken_disagrees_about_no_other_letters(pattern):
    """The characters below U+3400, where scripts begin and end everywhere, and every 19th of the others."""
    check_gigatoken(pattern, [point for point in OTHERS if point < 0x3400 or point % 19 == 0])


@pytest.mark.slow
@pytest.mark.parametrize("pattern", ["gpt2", "cl100k"])
def test_gigatoken_disagrees_about_no_other_letter_at_all(pattern):
    check_gigatoken(pattern, OTHERS)


# --- learning --------------------------------------------------------------------------------------------


@all_patterns
@pytest.mark.parametrize("texts", [CORPUS, EDGES, [], [""], ["a"]], ids=["corpus", "edges", "none", "empty", "one"])
def test_fast_learning_equals_the_plain_one(pattern, texts):
    counts = count_fast.count_chunks(texts, pattern)
    assert counts == bpe.count_chunks(texts, pattern)
    assert bpe_fast.learn_merges(counts, 3000) == bpe.learn_merges(counts, 3000)


@all_patterns
def test_learning_equals_the_library(pattern):
    counts = count_fast.count_chunks(CORPUS, pattern)
    merges = bpe_fast.learn_merges(counts, 3000)
    ids, library_merges = library_trained(CORPUS, 3256, pattern)
    assert merges == library_merges
    assert len(ids) == 256 + len(merges), "no two merges make the same bytes"


@given(st.dictionaries(st.text("aab c", min_size=1, max_size=14).map(str.encode), st.integers(1, 9), max_size=12))
@settings(max_examples=300, deadline=None)
def test_learning_from_chunks_of_few_letters(counts):
    """Few letters make many ties, overlaps and merges of what was just merged."""
    merges = bpe.learn_merges(counts, 60)
    assert bpe_fast.learn_merges(counts, 60) == merges
    tokens = bpe.BytePairEncoding("gpt2", merges).tokens
    assert len(set(tokens)) == len(tokens), "no two merges make the same bytes"


@given(st.dictionaries(st.text("ab", min_size=1, max_size=10), st.integers(1, 5), min_size=1, max_size=8))
@settings(max_examples=100, deadline=None)
def test_ties_are_broken_as_the_library_does(words):
    texts = [" ".join([word] * times) for word, times in words.items()]
    assert bpe.learn_merges(bpe.count_chunks(texts, "gpt2"), 40) == library_trained(texts, 296, "gpt2")[1]


def test_the_most_frequent_pair_is_merged_first():
    counts = Counter({b"hug": 10, b"pug": 5, b"pun": 12, b"bun": 4, b"hugs": 5})
    merges = bpe.learn_merges(counts, 3)
    tokens = bpe.BytePairEncoding("gpt2", merges).tokens
    assert [tokens[256 + i] for i in range(3)] == [b"ug", b"un", b"hug"]


def test_chunks_of_every_length_are_counted(monkeypatch):
    monkeypatch.setattr(count_fast._Packed, "JOIN", 5)
    monkeypatch.setattr(count_fast, "_BLOCK", 40)
    texts = [" ".join("x" * length for length in range(1, 40)) for _ in range(3)]
    texts += ["\x00" * length for length in range(1, 20)] + ["é" * length + "\x00" for length in range(1, 20)]
    done = []
    assert count_fast.count_chunks(texts, "cl100k", done.append) == bpe.count_chunks(texts, "cl100k")
    assert sum(done) >= sum(len(text.encode()) for text in texts)


# --- encoding --------------------------------------------------------------------------------------------


@all_patterns
@given(st.lists(tricky_text | any_text, max_size=3))
@settings(max_examples=150, deadline=None)
def test_all_ways_to_encode_are_equal(tokenizers, pattern, texts):
    tokenizer, twin = tokenizers[pattern]
    expected = [tokenizer._library.encode(text, add_special_tokens=False).ids for text in texts]
    assert [ids.tolist() for ids in tokenizer.encode_documents(texts)] == expected
    assert [tokenizer.encode(text) for text in texts] == expected
    assert [twin.encode(text) for text in texts] == expected
    assert [ids.tolist() for ids in tokenizer._encode_in_pieces(texts)] == expected
    for text, ids in zip(texts, expected, strict=True):
        assert twin.decode(ids) == tokenizer.decode_bytes(ids) == text.encode()
        assert all(i < tokenizer.vocab_size - len(CHAT_TOKENS) for i in ids), "text makes no special token"


@all_patterns
def test_edge_cases_encode_the_same(tokenizers, pattern):
    tokenizer, twin = tokenizers[pattern]
    assert tokenizer._fast is not None, "gigatoken takes every pattern"
    for text in [*EDGES, *CORPUS, *CHAT_TOKENS]:
        ids = tokenizer.encode_array(text)
        assert ids.dtype == np.uint32
        assert ids.tolist() == tokenizer.encode(text) == twin.encode(text)


@pytest.mark.parametrize(("pattern", "unit"), [("gpt2", "x"), ("cl100k", "xyzzy"), ("qwen", " "), ("nanochat", "7")])
def test_a_megabyte_without_a_space(tokenizers, pattern, unit):
    """A second or so. Quadratic time would be hours."""
    tokenizer, _ = tokenizers[pattern]
    text = unit * (1_000_000 // len(unit))
    assert tokenizer.encode_array(text).tolist() == tokenizer.encode(text)


def test_the_plain_way_takes_no_quadratic_time(tokenizers):
    """A second. With 240,000 symbols in one chunk, quadratic time would be hours, and the suite has a limit."""
    tokenizer, twin = tokenizers["cl100k"]
    text = "xyz" * 80_000
    counts = bpe.count_chunks([text], "cl100k")
    assert bpe.learn_merges(counts, 5) == bpe_fast.learn_merges(counts, 5)
    assert twin.encode(text) == tokenizer.encode_array(text).tolist()


def test_new_letters_go_through_the_library(tokenizers):
    text = "abc\u088fdef"
    assert has_new_letters(text) and not has_new_letters(AWKWARD)
    for tokenizer, twin in tokenizers.values():
        assert tokenizer._fast.encode(text, text.encode()) is None
        assert tokenizer.encode_array(text).tolist() == tokenizer.encode(text) == twin.encode(text)


@given(tricky_text)
@settings(max_examples=100, deadline=None)
def test_digits_are_cut_where_nanochat_splits_them(text):
    places = [0, *pairs_of_digits(text), len(text)]
    pieces = [text[start:stop] for start, stop in pairwise(places)]
    assert [chunk for piece in pieces for chunk in split(piece, "cl100k")] == split(text, "nanochat")


def test_without_gigatoken_the_ids_are_the_same(tokenizers, monkeypatch, capfd):
    monkeypatch.setitem(sys.modules, "gigatoken", None)
    encode_fast._note.cache_clear()
    tokenizer, _ = tokenizers["cl100k"]
    other = type(tokenizer)(tokenizer.to_json())
    assert other._fast is None
    assert other.encode_array(AWKWARD).tolist() == tokenizer.encode_array(AWKWARD).tolist()
    assert "pip install gigatoken" in capfd.readouterr().err


def test_what_is_remembered_is_forgotten_in_time(tokenizers, monkeypatch):
    tokenizer, _ = tokenizers["gpt2"]
    monkeypatch.setattr(encode_fast, "_STRETCH", 10)
    # The whole process counts, and tests before this one may have made it grow: so limits that are surely kept, or not.
    monkeypatch.setattr(encode_fast, "_MEMORY", 1 << 40)
    engine = tokenizer._fast._engine
    tokenizer.encode_array(AWKWARD)
    assert tokenizer._fast._engine is engine
    monkeypatch.setattr(encode_fast, "_MEMORY", -(1 << 40))
    assert tokenizer.encode_array(AWKWARD).tolist() == tokenizer.encode(AWKWARD)
    assert tokenizer._fast._engine is not engine


@pytest.mark.parametrize(
    "change",
    [
        lambda file: file["model"].update(ignore_merges=True),
        lambda file: file["model"].update(dropout=0.1),
        lambda file: file["model"]["merges"].reverse(),
        lambda file: file.update(normalizer={"type": "NFC"}),
        lambda file: file["added_tokens"][0].update(special=False),
        lambda file: file["pre_tokenizer"]["pretokenizers"][0].update(pattern={"Regex": r"\S+|\s+"}),
        lambda file: file["pre_tokenizer"]["pretokenizers"][0].update(behavior="Removed"),
    ],
)
def test_unusual_files_go_through_the_library(tokenizers, change):
    file = json.loads(tokenizers["cl100k"][0].to_json())
    assert encode_fast.fast_encoder(file) is not None
    change(file)
    assert encode_fast.fast_encoder(file) is None


def test_known_patterns_are_recognised():
    for pattern in PATTERNS:
        assert pattern_of({"pre_tokenizer": split_stage(pattern)}) == pattern
    assert pattern_of({"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False}}) == "gpt2"
    assert pattern_of({"pre_tokenizer": None}) is None


# --- the file --------------------------------------------------------------------------------------------


@all_patterns
def test_the_file_gives_the_same_ids_in_transformers(tokenizers, pattern, tmp_path):
    from transformers import PreTrainedTokenizerFast

    tokenizer, _ = tokenizers[pattern]
    tokenizer.save(tmp_path / "tokenizer.json")
    theirs = PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"))
    assert len(theirs) == tokenizer.vocab_size
    assert theirs.convert_tokens_to_ids(list(CHAT_TOKENS)) == list(tokenizer.special_tokens.values())
    for text in (*CORPUS, *EDGES):
        text = text.replace("<|bos|>", "")  # which others read as the token, inkling never
        assert theirs.encode(text) == tokenizer.encode(text)
        assert theirs.decode(tokenizer.encode(text), clean_up_tokenization_spaces=False) == text
    again = load_tokenizer(tmp_path)
    assert again.sha256() == tokenizer.sha256()
    assert again.encode_array(AWKWARD).tolist() == tokenizer.encode(AWKWARD)


def test_the_chat_tokens_end_the_vocabulary(tokenizers):
    tokenizer, twin = tokenizers["cl100k"]
    assert tokenizer.vocab_size == 256 + 2000 + 9 == len(twin.tokens)
    assert tokenizer.special_tokens == {token: 2256 + i for i, token in enumerate(CHAT_TOKENS)}
    assert (tokenizer.bos, tokenizer.separator, tokenizer.eot) == (2256, "bos_before", None)
    assert tokenizer.decode([2257, *tokenizer.encode("hi"), 2258]) == "<|user_start|>hi<|user_end|>"
