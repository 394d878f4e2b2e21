"""Exercise 1: against text/bpe.py, which numbers the bytes as GPT-2 does, and against cases made by hand."""

import random
from collections import Counter
from types import ModuleType

from inkling.learn.compare import right, same
from inkling.text.bpe import ALPHABET, BytePairEncoding, id_of_byte, learn_merges

TEXT = "The old king saw the old ships. The naïve cat, 猫 or 🐈, saw the king!\nOnce more: the old ships."


def check_count_pairs(mine: ModuleType) -> None:
    """count_pairs: every pair of neighbours, as often as it occurs"""
    got = mine.count_pairs({(7, 7, 7): 5, (1, 7): 2, (9,): 4})
    mistakes = {
        "Each chunk counts as often as it occurs: add `times`, not 1.": {(7, 7): 2, (1, 7): 1},
        "A pair counts at each place where it stands: (7, 7, 7) holds (7, 7) twice.": {(7, 7): 5, (1, 7): 2},
    }
    same("count_pairs({(7, 7, 7): 5, (1, 7): 2, (9,): 4})", dict(got), {(7, 7): 10, (1, 7): 2}, mistakes)


def check_merge(mine: ModuleType) -> None:
    """merge: a new id in the place of a pair, from the left"""
    mistakes = {
        "Begin at the left: the first two 7 are merged, the third is left over.": (7, 256),
        "After a merge go on behind it: an id that was merged is not there any more.": (256, 256, 7),
    }
    same("merge((7, 7, 7), (7, 7), 256)", tuple(mine.merge((7, 7, 7), (7, 7), 256)), (256, 7), mistakes)
    same("merge((1, 2, 3, 1, 2), (1, 2), 300)", tuple(mine.merge((1, 2, 3, 1, 2), (1, 2), 300)), (300, 3, 300))
    same("merge((1, 2), (2, 1), 300)", tuple(mine.merge((1, 2), (2, 1), 300)), (1, 2))


def check_train_by_hand(mine: ModuleType) -> None:
    """train: the most frequent pair, ties, borders, and the end"""
    across = "A pair lies across the border of two chunks. Count within the chunks of `split` only."
    mistakes = {
        "Of equally frequent pairs the smallest comes first, not the one seen first or last.": [(99, 100)],
        across: [(10, 97)],
    }
    same('train("cd\\nab\\ncd\\nab", 1)', _pairs(mine.train("cd\nab\ncd\nab", 1)), [(97, 98)], mistakes)
    got = _pairs(mine.train("xy\na\na\na\n", 1))
    same('train("xy\\na\\na\\na\\n", 1)', got, [(120, 121)], {across: [(10, 97)], across + " ": [(97, 10)]})
    same('train("ab", 10), where one pair is all there is', _pairs(mine.train("ab", 10)), [(97, 98)])


def check_train_on_words(mine: ModuleType) -> None:
    """train: 60 merges of 400 words, equal to inkling's own"""
    dice = random.Random(7)
    words = ["".join(dice.choice("abcde") for _ in range(dice.randint(2, 7))) for _ in range(400)]
    counts = Counter(word.encode("utf-8") for word in words)
    expected = [(_plain(left), _plain(right)) for left, right in learn_merges(counts, 60)]
    same("train on 400 words", _pairs(mine.train("\n".join(words), 60)), expected)


def check_encode(mine: ModuleType) -> None:
    """encode: the merges in the order in which they were learned"""
    leftmost = "The leftmost possible merge was done first. Do merge 256 everywhere, then 257, and so on."
    got = list(mine.encode("abc", [(98, 99), (97, 98)]))
    same('encode("abc", [(98, 99), (97, 98)])', got, [97, 256], {leftmost: [257, 99]})
    merges = [(116, 104), (256, 101), (32, 257), (111, 108), (259, 100), (32, 260), (107, 105), (262, 110)]
    reference = BytePairEncoding("gpt2", [(_coded(left), _coded(right)) for left, right in merges])
    expected = [_plain(i) for chunk in mine.split(TEXT) for i in reference.encode_chunk(chunk.encode("utf-8"))]
    same("encode of two sentences with 8 merges", list(mine.encode(TEXT, merges)), expected)
    same('encode("", …)', list(mine.encode("", merges)), [])


def check_decode(mine: ModuleType) -> None:
    """decode: the text again, whatever its characters; and no failure on broken bytes"""
    merges = [(116, 104), (256, 101), (0xC3, 0xAF), (0x9F, 0x90)]
    got = mine.decode(mine.encode(TEXT, merges), merges)
    apart = "Each token was decoded by itself, but a character may lie across two. Join the bytes, then decode."
    tokens = [*(bytes([byte]) for byte in range(256)), b"th", b"the", "ï".encode(), b"\x9f\x90"]
    pieces = "".join(tokens[i].decode("utf-8", errors="replace") for i in mine.encode(TEXT, merges))
    same("decode(encode(text))", got, TEXT, {apart: pieces})
    same("decode([72, 105, 255])", mine.decode([72, 105, 255], []), "Hi\N{REPLACEMENT CHARACTER}")


def check_it_shortens(mine: ModuleType) -> None:
    """all three together: fewer tokens than bytes, and the same text"""
    text = "the old king saw the old ships and the old ships saw the king. " * 5
    merges = mine.train(text, 40)
    ids = mine.encode(text, merges)
    same("decode(encode(text))", mine.decode(ids, merges), text)
    right(len(ids) < len(text) / 3, f"{len(text)} bytes became {len(ids)} tokens; 40 merges should give fewer.")


def _pairs(merges: list) -> list:
    return [tuple(pair) for pair in merges]


def _plain(number: int) -> int:
    """inkling's id → the exercise's, where a byte is its own id."""
    return ALPHABET[number] if number < 256 else number


def _coded(number: int) -> int:
    """The inverse of `_plain`."""
    return int(id_of_byte()[number]) if number < 256 else number
