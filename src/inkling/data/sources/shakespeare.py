"""The tiny Shakespeare file: the 1,115,394 characters that every tutorial on small GPTs trains on."""

import hashlib
from pathlib import Path

from inkling.errors import UserError
from inkling.files import part_of, replace_file, sha256_of

URL = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
SIZE = 1_115_394


def fetch(folder: Path) -> Path:
    """The file as `folder`/input.txt, downloaded unless it is already there and whole."""
    file = folder / "input.txt"
    if file.exists() and sha256_of(file) == SHA256:
        return file
    folder.mkdir(parents=True, exist_ok=True)
    _download(part_of(file))
    replace_file(part_of(file), file)
    return file


def _download(part: Path) -> None:
    import requests

    digest = hashlib.sha256()
    received = 0
    try:
        with requests.get(URL, stream=True, timeout=30) as response, part.open("wb") as file:
            response.raise_for_status()
            for block in response.iter_content(1 << 16):
                received += len(block)
                if received > SIZE:
                    break
                digest.update(block)
                file.write(block)
    except requests.RequestException as error:
        part.unlink(missing_ok=True)
        raise _not_fetched(f"could not be downloaded ({type(error).__name__})") from None
    if received != SIZE or digest.hexdigest() != SHA256:
        part.unlink(missing_ok=True)
        raise _not_fetched("came damaged, or is another file now")


def _not_fetched(what: str) -> UserError:
    return UserError(
        f"The tiny Shakespeare text {what}.",
        f"Fetch it on a machine with a network and name it: --input FILE\nIt is at {URL}\n"
        "With no network at all, the text of the Python installation will do: inkling prepare bundled",
    )
