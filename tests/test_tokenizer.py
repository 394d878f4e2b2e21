"""Text to ids and back: against tiktoken and the `tokenizers` library, and on any text that can be thought of."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from inkling.errors import UserError
from inkling.text import cut, gpt2
from inkling.text.cut import cut_safely
from inkling.text.tokenizer import byte_symbols
from inkling.text.tokenizer_sources import (
    byte_tokenizer,
    char_tokenizer,
    gpt2_tokenizer,
    load_tokenizer,
    tokenizer_from_name,
)

DATA = Path(__file__).parents[1].parent / "shared" / "data"
needs_gpt2 = pytest.mark.skipif(
    not (DATA / "gpt2" / "vocab.bpe").exists(), reason="needs vocab.bpe and encoder.json in ../shared/data/gpt2"
)
needs_shakespeare = pytest.mark.skipif(
    not (DATA / "tinyshakespeare.txt").exists(), reason="needs ../shared/data/tinyshakespeare.txt"
)

AWKWARD = "I'll naïve  \t\n\n日本語 👩‍👩‍👧 \r\n<|endoftext|> 12345 \x00\ufeff\u2028 don't’s <|bos|>\n"
any_text = st.text(st.characters(exclude_categories=["Cs"]))
# Short words and much white space: where pre-tokens begin and end is where mistakes would be.
spaced_text = st.text(st.sampled_from("ab'st1. \n\r\t\u00a0\u3000é日👍"), max_size=60)


@pytest.fixture(scope="module")
def openai():
    return gpt2_tokenizer(DATA / "gpt2")


@pytest.fixture(scope="module")
def tiktoken_gpt2(tmp_path_factory):
    """tiktoken's own GPT-2, from a cache folder filled by hand."""
    import tiktoken

    cache = tmp_path_factory.mktemp("tiktoken")
    fill_tiktoken_cache(cache)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_CACHE_DIR", str(cache))
        return tiktoken.get_encoding("gpt2")


def fill_tiktoken_cache(folder: Path) -> None:
    for name in gpt2.SHA256:
        shutil.copy(DATA / "gpt2" / name, folder / hashlib.sha1((gpt2.URL + name).encode()).hexdigest())


def no_network(*args, **kwargs):
    raise requests.ConnectionError("no network here")


def same_ids_in_the_library(tokenizer, path: Path, text: str) -> None:
    from tokenizers import Tokenizer

    tokenizer.save(path)
    library = Tokenizer.from_file(str(path))
    assert library.encode(text).ids == tokenizer.encode(text)
    assert library.decode(tokenizer.encode(text), skip_special_tokens=False) == tokenizer.decode(tokenizer.encode(text))
    again = load_tokenizer(path)
    assert (again.name, again.vocab_size, again.separator) == (
        tokenizer.name,
        tokenizer.vocab_size,
        tokenizer.separator,
    )
    assert again.encode(text) == tokenizer.encode(text)
    assert again.sha256() == tokenizer.sha256() == hashlib.sha256(path.read_bytes()).hexdigest()


# --- characters ------------------------------------------------------------------------------------------


def test_characters_are_sorted_and_round_trip():
    tokenizer = char_tokenizer("hello 👍é")
    assert tokenizer.vocab_size == 7
    assert tokenizer.encode(" ehloé👍") == [0, 1, 2, 3, 4, 5, 6]
    assert tokenizer.decode([6, 5, 1]) == "👍ée"
    assert (tokenizer.separator, tokenizer.eot, tokenizer.bos) == ("none", None, None)
    assert tokenizer.encode("") == [] and tokenizer.decode([]) == ""


@pytest.mark.parametrize("text", ["hellx", "Hello", "hello👍", "\x00", "h\ud800"])
def test_a_character_outside_the_vocabulary_is_named(text):
    with pytest.raises(UserError) as error:
        char_tokenizer("hello").encode(text)
    missing = next(c for c in text if c not in "hello")
    assert f"U+{ord(missing):04X}" in error.value.problem
    assert "--tokenizer=byte" in error.value.remedy


def test_a_character_vocabulary_needs_characters():
    with pytest.raises(UserError, match="at least one"):
        char_tokenizer("")
    with pytest.raises(UserError, match="surrogate"):
        char_tokenizer("a\udc00")


@given(any_text.filter(bool))
@settings(max_examples=60, deadline=None)
def test_any_text_round_trips_through_its_own_characters(text):
    tokenizer = char_tokenizer(text)
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert max(tokenizer.encode(text)) == tokenizer.vocab_size - 1


def test_characters_on_disk(tmp_path):
    same_ids_in_the_library(char_tokenizer(AWKWARD + '"\\'), tmp_path / "tokenizer.json", AWKWARD + '"\\')


# --- bytes -----------------------------------------------------------------------------------------------


@given(any_text)
@settings(max_examples=60, deadline=None)
def test_the_id_of_a_byte_is_the_byte(text):
    tokenizer = byte_tokenizer()
    assert tokenizer.encode(text) == list(text.encode())
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_bytes_on_disk(tmp_path):
    same_ids_in_the_library(byte_tokenizer(), tmp_path / "tokenizer.json", AWKWARD)


def test_half_a_character_decodes_to_the_replacement_character():
    assert byte_tokenizer().decode([0xE2, 0x82]) == "\ufffd"
    assert byte_tokenizer().decode_bytes([0xE2, 0x82]) == b"\xe2\x82"


def test_a_lone_surrogate_is_refused():
    with pytest.raises(UserError, match=r"Character 2 .*U\+D83D"):
        byte_tokenizer().encode("ab\ud83d")


@pytest.mark.parametrize("wrong", [256, -1])
def test_an_id_outside_the_vocabulary_is_refused(wrong):
    with pytest.raises(UserError, match=f"no token {wrong}"):
        byte_tokenizer().decode([wrong])


def test_every_byte_has_its_own_symbol():
    assert len(set(byte_symbols())) == 256
    assert not any(symbol.isspace() for symbol in byte_symbols())


# --- GPT-2 -----------------------------------------------------------------------------------------------


@needs_gpt2
def test_gpt2_knows_itself(openai):
    assert (openai.name, openai.vocab_size, openai.eot) == ("gpt2", 50257, 50256)
    assert (openai.separator, openai.bos) == ("eot_after", None)
    assert openai.decode([openai.eot]) == "<|endoftext|>"
    assert openai.encode("") == [] and openai.encode_array("").dtype == np.uint32


@needs_gpt2
def test_a_special_token_in_a_text_is_plain_text(openai):
    assert openai.eot not in openai.encode("a<|endoftext|>b")
    assert openai.eot not in openai.encode_array("a<|endoftext|>b")


@needs_gpt2
@needs_shakespeare
def test_gpt2_equals_tiktoken_on_shakespeare(openai, tiktoken_gpt2):
    text = (DATA / "tinyshakespeare.txt").read_text(encoding="utf-8")
    assert openai.encode_array(text).tolist() == tiktoken_gpt2.encode_ordinary(text)


@needs_gpt2
@given(any_text | spaced_text)
@settings(max_examples=300, deadline=None)
def test_gpt2_equals_tiktoken_on_any_text(openai, tiktoken_gpt2, text):
    ids = openai.encode(text)
    assert ids == tiktoken_gpt2.encode_ordinary(text)
    assert openai.decode(ids) == text


@needs_gpt2
def test_every_gpt2_token_has_tiktokens_bytes(openai, tiktoken_gpt2):
    assert all(openai.decode_bytes([i]) == tiktoken_gpt2.decode_single_token_bytes(i) for i in range(openai.vocab_size))


@needs_gpt2
def test_gpt2_on_disk(openai, tmp_path):
    same_ids_in_the_library(openai, tmp_path / "tokenizer.json", AWKWARD.replace("<|endoftext|>", ""))


@needs_gpt2
def test_gpt2_refuses_a_lone_surrogate(openai):
    with pytest.raises(UserError, match="surrogate"):
        openai.encode("\udfff")
    with pytest.raises(UserError, match="surrogate"):
        openai.encode_array("\udfff")


@needs_gpt2
def test_gpt2_from_tiktokens_cache(openai, tmp_path, monkeypatch):
    fill_tiktoken_cache(tmp_path)
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(requests, "get", no_network)
    assert tokenizer_from_name("gpt2").sha256() == openai.sha256()


def test_gpt2_without_a_network_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(requests, "get", no_network)
    with pytest.raises(UserError) as error:
        tokenizer_from_name("gpt2")
    assert "--tokenizer=FOLDER" in error.value.remedy and "TIKTOKEN_CACHE_DIR" in error.value.remedy


def test_a_damaged_gpt2_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"Cannot read .*vocab\.bpe"):
        tokenizer_from_name(str(tmp_path))
    (tmp_path / "vocab.bpe").write_text("#version: 0.2\n")
    with pytest.raises(UserError, match="SHA-256 differs"):
        tokenizer_from_name(str(tmp_path))


# --- other tokenizer.json files --------------------------------------------------------------------------


def trained(path: Path, **byte_level) -> Path:
    """A tokenizer as the `tokenizers` library trains it, with a beginning of sequence."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, **byte_level)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|bos|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["the cat sat on the mat " * 20], trainer)
    tokenizer.enable_truncation(4)
    tokenizer.save(str(path))
    return path


def test_a_trained_tokenizer(tmp_path):
    folder = tmp_path / "словарь 词"
    folder.mkdir()
    file = trained(folder / "tokenizer.json")
    for tokenizer in (load_tokenizer(file), load_tokenizer(folder), tokenizer_from_name(str(folder))):
        assert (tokenizer.name, tokenizer.separator, tokenizer.bos) == ("bpe", "bos_before", 0)
        assert tokenizer.decode(tokenizer.encode(AWKWARD)) == AWKWARD
        assert tokenizer.bos not in tokenizer.encode("<|bos|>")
        assert tokenizer.to_json() == file.read_text(encoding="utf-8")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"model": 3}', '{"model": {"type": "BPE", "vocab": {}}}'])
def test_what_is_no_tokenizer_is_refused(tmp_path, content):
    file = tmp_path / "tokenizer.json"
    file.write_text(content)
    with pytest.raises(UserError):
        load_tokenizer(file)


def test_tokenizers_that_would_change_the_text_are_refused(tmp_path):
    file = trained(tmp_path / "tokenizer.json")
    described = json.loads(file.read_text(encoding="utf-8"))
    described["pre_tokenizer"]["add_prefix_space"] = True
    file.write_text(json.dumps(described))
    with pytest.raises(UserError, match="byte-level"):
        load_tokenizer(file)


def test_a_missing_tokenizer_names_the_choices(tmp_path):
    with pytest.raises(UserError, match="char, byte, gpt2"):
        tokenizer_from_name("bites")
    with pytest.raises(UserError, match="Cannot read"):
        load_tokenizer(tmp_path / "tokenizer.json")


# --- cutting ---------------------------------------------------------------------------------------------


@given(st.lists(spaced_text), st.integers(1, 20))
@settings(max_examples=200, deadline=None)
def test_pieces_are_the_text(texts, size):
    pieces = list(cut_safely(texts, size))
    assert "".join(pieces) == "".join(texts)
    assert all(pieces)


@needs_gpt2
@given(spaced_text, st.integers(1, 20))
@settings(max_examples=300, deadline=None)
def test_the_ids_of_the_pieces_are_the_ids_of_the_whole(openai, text, size):
    pieces = list(cut_safely([text], size))
    for tokenizer in (openai, byte_tokenizer(), char_tokenizer(text + "x")):
        assert [i for piece in pieces for i in tokenizer.encode(piece)] == tokenizer.encode(text)


@needs_gpt2
def test_many_documents_encode_as_each_alone(openai, monkeypatch):
    monkeypatch.setattr(type(openai), "PIECE", 7)
    texts = [AWKWARD * 5, "", "a", AWKWARD]
    expected = [openai.encode(text) for text in texts]
    assert [ids.tolist() for ids in openai.encode_documents(texts)] == expected
    assert [ids.tolist() for ids in openai._encode_in_pieces(texts)] == expected
    assert byte_tokenizer().encode_documents(["a", "é"])[1].tolist() == [0xC3, 0xA9]


def test_text_with_no_place_to_cut_is_cut_in_the_end(monkeypatch):
    monkeypatch.setattr(cut, "NO_SAFE_CUT", 10)
    assert list(cut_safely(["x" * 25], 4)) == ["x" * 10, "x" * 10, "x" * 5]
    assert list(cut_safely(["x" * 6, "\n", "y" * 6], 4)) == ["x" * 6 + "\n", "y" * 6]
