"""How many token ids a model will have, said before there is any data: for `size` and `bench`, which need none."""

from pathlib import Path

from inkling.data.mixture import parse_mixture
from inkling.data.shards import open_dataset
from inkling.text.tokenizer import ByteTokenizer

GPT2 = 50257
# Data sets whose tokenizer `prepare` knows without being told; the number of characters is that of the one text.
KNOWN = {
    "bundled": (ByteTokenizer.vocab_size, "bytes"),
    "shakespeare_char": (65, "the characters of the tiny Shakespeare text"),
    "shakespeare": (GPT2, "GPT-2's tokens"),
    "openwebtext": (GPT2, "GPT-2's tokens"),
    "fineweb_edu": (GPT2, "GPT-2's tokens"),
}


def vocabulary_for(dataset: str, vocab_size: int) -> tuple[int, str]:
    """(V, where it is from): the prepared data set, else `vocab_size`, else what `prepare` would make of its text."""
    names = parse_mixture(dataset)[0] if dataset else []
    for name in names:  # all parts of a mixture have one tokenizer
        for folder in (Path("data") / name, Path(name)):
            if (folder / "meta.json").is_file():
                return open_dataset(folder).meta.vocab_size, f"of the data set {folder}"
    if vocab_size:
        return vocab_size, "as asked for"
    known = [KNOWN[name] for name in names if name in KNOWN]
    if known:
        size, what = known[0]
        return size, f"{what}: {names[0]} is not prepared here"
    return GPT2, f"GPT-2's tokens: {names[0]} is not prepared here" if names else "GPT-2's tokens"
