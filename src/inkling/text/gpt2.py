"""The two files of OpenAI's GPT-2 vocabulary: where they come from, and that they are the real ones."""

import hashlib
from pathlib import Path

from inkling.errors import UserError

URL = "https://openaipublic.blob.core.windows.net/gpt-2/encodings/main/"
SHA256 = {
    "vocab.bpe": "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
    "encoder.json": "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
}


def vocabulary_files(folder: Path | None) -> tuple[bytes, bytes]:
    """The contents of (vocab.bpe, encoder.json): from `folder`, else from tiktoken's cache or OpenAI."""
    if folder is not None:
        return _from_folder(folder, "vocab.bpe"), _from_folder(folder, "encoder.json")
    from tiktoken.load import read_file_cached

    try:
        merges, encoder = (read_file_cached(URL + name, sha) for name, sha in SHA256.items())
    except (OSError, ValueError) as error:  # requests' errors are OSErrors; a wrong hash is a ValueError
        raise UserError(
            f"The GPT-2 vocabulary could not be downloaded ({type(error).__name__}).",
            f"With a network, try again. Without one, bring vocab.bpe and encoder.json from {URL} and give "
            "their folder with --tokenizer=FOLDER, or set TIKTOKEN_CACHE_DIR to a folder where tiktoken "
            "has stored them before.",
        ) from None
    return merges, encoder


def _from_folder(folder: Path, name: str) -> bytes:
    file = folder / name
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UserError(
            f"Cannot read {file}: {error.strerror}.",
            "A tokenizer folder has a tokenizer.json, or GPT-2's vocab.bpe and encoder.json.",
        ) from None
    if hashlib.sha256(content).hexdigest() != SHA256[name]:
        raise UserError(
            f"{file} is not the file that OpenAI published: its SHA-256 differs.",
            f"Download it again from {URL}{name}",
        )
    return content
