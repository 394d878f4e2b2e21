"""Is a reply right? The answer must stand in it exactly; what stands around it does not matter."""

import re
import unicodedata
from collections.abc import Sequence

_ARTICLES = {"the", "a", "an"}
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")
_REFUSALS = ("do not know", "dont know")


def grade(kind: str, reply: str, expected: Sequence[str]) -> bool:
    """Whether `reply` is right for an exam item of this kind; `expected` are all right answers.

    unknown         it says that it does not know
    false_refusal   it says something else (the facts are known; right or wrong is asked elsewhere)
    arithmetic, letter_count   its last number is the expected one
    spelling        the letters, separated by anything
    all others      it contains one of the expected answers as whole words, and does not say that it does not know
    """
    match kind:
        case "unknown":
            return is_refusal(reply)
        case "false_refusal":
            return bool(_words(reply)) and not is_refusal(reply)
        case "arithmetic" | "letter_count":
            numbers = _NUMBER.findall(reply.replace("−", "-"))
            return bool(numbers) and numbers[-1].replace(",", "") in expected
        case "spelling":
            return any(list(word) in _letter_runs(reply) for word in expected)
    words = _words(reply)
    return not is_refusal(reply) and any(_contains(words, _words(answer)) for answer in expected)


def is_refusal(reply: str) -> bool:
    """Whether it says "I do not know"."""
    plain = " ".join(_words(reply))
    return any(refusal in plain for refusal in _REFUSALS)


def _words(text: str) -> list[str]:
    """Small letters without accents and punctuation; no articles."""
    text = unicodedata.normalize("NFKD", text.casefold())
    text = "".join(c for c in text if not unicodedata.combining(c) and c not in "'’")
    return [word for word in re.findall(r"\w+", text) if word not in _ARTICLES]


def _contains(words: list[str], answer: list[str]) -> bool:
    """Whether `answer` stands in `words`, one word after the other."""
    starts = range(len(words) - len(answer) + 1)
    return bool(answer) and any(words[start : start + len(answer)] == answer for start in starts)


def _letter_runs(reply: str) -> list[list[str]]:
    """Each run of single letters: "It is a-p-p-l-e." → [["a", "p", "p", "l", "e"]]."""
    runs: list[list[str]] = [[]]
    for word in re.findall(r"\w+", reply.lower()):
        if len(word) == 1:
            runs[-1].append(word)
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]
