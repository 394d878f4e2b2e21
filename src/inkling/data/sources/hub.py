"""Texts on the Hugging Face hub, as parquet files: which files, how large, and fetched whole or not at all.

`huggingface_hub` downloads to its cache (~/.cache/huggingface, or where HF_HOME says) and goes on after a cut
connection; files that were under way when a process is killed are begun again, finished ones stay. It compares sizes;
the SHA-256 that the hub lists for each file is compared here, every time, so what was damaged on the way or on the disk
is fetched again.
"""

import hashlib
import math
import os
import queue
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from inkling.data.sources.opening import import_extra
from inkling.errors import UserError
from inkling.files import sha256_of

# Files that are fetched at once, and how often one is begun again before that is given up.
STREAMS, TRIES = 4, 4
PAUSE = 1.0  # seconds before the second try; twice as long before each further one


@dataclass(frozen=True)
class HubText:
    """A text on the hub."""

    repo: str
    folder: str
    """of the files in the repository; "" for its top"""
    density: float
    """GPT-2's tokens for each byte of the files, about"""
    default_files: int | None = None
    """how many files are taken unless --limit says otherwise; None: all"""
    val_is_last: bool = False
    """whether the last file is for validation and nothing else is; it is taken in any case"""
    nanogpt_split: bool = False
    """whether nanoGPT's choice of validation documents applies when all files are taken"""


KNOWN = {
    "openwebtext": HubText("Skylion007/openwebtext", "plain_text", 0.37, nanogpt_split=True),
    "fineweb_edu": HubText("HuggingFaceFW/fineweb-edu", "sample/10BT", 0.35),
    # nanochat's shuffled copy of NVIDIA's ClimbMix. 170 of its 6,543 files are 10 billion tokens.
    "climbmix": HubText("karpathy/climbmix-400b-shuffle", "", 0.65, default_files=170, val_is_last=True),
}


@dataclass(frozen=True)
class HubFile:
    """A file as the hub lists it. `digest` is the SHA-256 of its bytes, or git's hash of a small file."""

    path: str
    size: int
    digest: str


@dataclass(frozen=True)
class Listing:
    """The files that are wanted, at one commit."""

    repo: str
    commit: str
    files: tuple[HubFile, ...]
    tokens: float
    """in them, about; 0 where nobody counts them"""
    by_hand: str
    """how to do without a network here"""

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)


def find(name: str, limit: str) -> Listing:
    """Ask the hub for the files of a known text, as many as `limit` says."""
    text = KNOWN[name]
    listing = find_files(text.repo, text.folder, "", by_hand(name))
    wanted = tuple(_limited(listing.files, text, limit))
    return replace(listing, files=wanted, tokens=text.density * sum(file.size for file in wanted))


def find_files(repo: str, folder: str, start: str, by_hand: str) -> Listing:
    """The parquet files in a folder of a repository, "" for its top, whose names begin with `start`.

    Raises UserError, with the remedy `by_hand`, where the hub is out of reach or has none.
    """
    hub = import_extra("huggingface_hub")
    api = hub.HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
    try:
        commit = api.dataset_info(repo).sha
        entries = api.list_repo_tree(repo, folder or None, revision=commit, repo_type="dataset", recursive=bool(folder))
        found = sorted(
            (
                HubFile(entry.path, entry.size, entry.lfs.sha256 if entry.lfs else entry.blob_id)
                for entry in entries
                if entry.path.endswith(".parquet")
                and entry.path.rpartition("/")[2].startswith(start)
                and hasattr(entry, "blob_id")
            ),
            key=lambda file: file.path,
        )
    except Exception as error:  # its own, or of the HTTP library behind it, whose name changes with its version
        raise _unreachable(repo, by_hand, error) from None
    if not found:
        raise UserError(f"{repo} has no parquet files in {folder or 'its top folder'}.", by_hand)
    return Listing(repo, commit, tuple(found), 0.0, by_hand)


def _limited(files: Sequence[HubFile], text: HubText, limit: str) -> list[HubFile]:
    """The first files, as many as asked for; and the last where that is the one to validate on."""
    count = text.default_files or len(files)
    if limit:
        match = re.fullmatch(r"(\d+(?:\.\d+)?)([kKmMbB]?)", limit)
        if not match or float(match[1]) <= 0:
            raise UserError(
                f"--limit does not take {limit!r}.",
                "It wants a number of files, 20, or of tokens, 500M or 2B.",
                status=2,
            )
        amount = float(match[1]) * {"": 1, "k": 1e3, "m": 1e6, "b": 1e9}[match[2].lower()]
        tokens_in_file = text.density * sum(file.size for file in files) / len(files)
        count = math.ceil(amount / tokens_in_file) if match[2] else int(amount)
    if text.val_is_last:
        return [*files[:-1][: max(1, count)], files[-1]]
    return list(files[: max(1, count)])


def cached_bytes(listing: Listing) -> int:
    """How much of it an earlier download has left in the cache."""
    hub = import_extra("huggingface_hub")
    total = 0
    for file in listing.files:
        found = hub.try_to_load_from_cache(listing.repo, file.path, revision=listing.commit, repo_type="dataset")
        total += file.size if isinstance(found, str) else 0
    return total


def cache_folder() -> Path:
    """Where downloads go."""
    return Path(import_extra("huggingface_hub.constants").HF_HUB_CACHE)


def fetch(listing: Listing, advance: Callable[[int], None]) -> list[Path]:
    """All files, whole: downloaded, some at a time, or found in the cache. `advance` gets bytes as they come."""
    todo: queue.SimpleQueue[int] = queue.SimpleQueue()
    results: queue.SimpleQueue[tuple[int, Path | BaseException]] = queue.SimpleQueue()
    for number in range(len(listing.files)):
        todo.put(number)

    def work() -> None:
        """Fetch one file after the other until none is left, or one fails."""
        while True:
            try:
                number = todo.get_nowait()
            except queue.Empty:
                return
            try:
                results.put((number, _fetch_one(listing, listing.files[number], advance)))
            except BaseException as error:
                results.put((number, error))
                return

    # Daemons, so that Ctrl-C does not wait for what is half fetched.
    for _ in range(min(STREAMS, len(listing.files))):
        threading.Thread(target=work, daemon=True).start()
    paths: dict[int, Path] = {}
    while len(paths) < len(listing.files):
        number, result = results.get()
        if isinstance(result, BaseException):
            raise result
        paths[number] = result
    return [paths[number] for number in sorted(paths)]


def _fetch_one(listing: Listing, file: HubFile, advance: Callable[[int], None]) -> Path:
    hub, errors = import_extra("huggingface_hub"), import_extra("huggingface_hub.errors")
    seen = 0  # bytes of this file that were counted

    def count(step: float) -> None:
        nonlocal seen
        step = int(min(step, file.size - seen))
        seen += step
        advance(step)

    problem: Exception | None = None
    for attempt in range(TRIES):
        if attempt:
            time.sleep(PAUSE * 2 ** (attempt - 1))
        try:
            path = Path(
                hub.hf_hub_download(
                    listing.repo,
                    file.path,
                    repo_type="dataset",
                    revision=listing.commit,
                    endpoint=os.environ.get("HF_ENDPOINT"),
                    force_download=attempt > 0,
                    tqdm_class=_counting_bar(count),
                )
            )
        except (errors.EntryNotFoundError, errors.RepositoryNotFoundError) as error:
            raise _unreachable(listing.repo, listing.by_hand, error) from None
        except Exception as error:  # see above
            problem = error
            continue
        if path.stat().st_size == file.size and _digest(path, len(file.digest)) == file.digest:
            count(file.size)
            return path
        problem = ValueError("its bytes are not those that the hub lists")
        _forget(path)
    raise UserError(
        f"{file.path} of {listing.repo} could not be fetched whole in {TRIES} tries: {_in_words(problem)}.",
        "Run the same command again: what is here already stays.\n" + listing.by_hand,
    )


def _digest(path: Path, length: int) -> str:
    if length == 64:
        return sha256_of(path)
    header = f"blob {path.stat().st_size}\0".encode()  # git's, for files too small to be stored apart
    return hashlib.sha1(header + path.read_bytes()).hexdigest()


def _forget(path: Path) -> None:
    """Delete a cached file: the link under its name, and what it links to."""
    target = path.resolve()
    path.unlink(missing_ok=True)
    target.unlink(missing_ok=True)


def _counting_bar(count: Callable[[float], None]) -> type:
    """A bar class for the library that shows nothing and passes on what it is told."""
    from tqdm import tqdm

    class CountingBar(tqdm):
        """Counts instead of showing."""

        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options | {"disable": True})

        def update(self, n: float | None = 1) -> bool | None:
            count(n or 0)
            return None

    return CountingBar


def by_hand(name: str) -> str:
    """How to do without a network here."""
    text = KNOWN[name]
    pattern = f"{text.folder}/*.parquet" if text.folder else "*.parquet"
    return (
        f"Or fetch it on a machine that has a network:\n"
        f"  hf download --repo-type dataset {text.repo} --include '{pattern}' --local-dir {name}\n"
        f"bring that folder here, and run: inkling prepare {name} --input={name}"
    )


def _unreachable(repo: str, by_hand: str, error: Exception) -> UserError:
    return UserError(f"{repo} cannot be read from the hub: {_in_words(error)}.", by_hand)


def _in_words(error: Exception | None) -> str:
    """The first line of an error, or its kind where it says nothing."""
    lines = [line.strip().rstrip(".") for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
