"""The bundle of CORE, from a folder, a zip file, or the network.

A download that was cut goes on where it stopped. No hash of it is published, so it is checked by its length and by the
checksum that the zip keeps of each file.
"""

import re
import shutil
import zipfile
import zlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from inkling.errors import UserError
from inkling.evals.core.bundle import BASELINES, CONFIG, DATA
from inkling.files import part_of, replace_file

URL = "https://karpathy-public.s3.us-west-2.amazonaws.com/eval_bundle.zip"
HOME = Path("data") / "eval_bundle"
"""where the bundle lies once it is fetched"""

Bar = Callable[[int], AbstractContextManager[Callable[[int], None]]]
"""bytes to come → what is told of them as they come"""


def _no_bar(size: int) -> AbstractContextManager[Callable[[int], None]]:
    return nullcontext(lambda step: None)


def find_bundle(where: str, bar: Bar = _no_bar) -> Path:
    """The folder with core.yaml: `where`, a folder or a zip file; "": the fetched one, fetched if needed."""
    if where:
        path = Path(where)
        if path.suffix == ".zip" and path.is_file():
            return _unpack(path, path.with_suffix(""))
        for folder in (path, path / HOME.name):
            if (folder / CONFIG).is_file():
                return folder
        raise UserError(f"There is no {CONFIG} in {path}.", f"Give the folder that holds {CONFIG} and {DATA}/.")
    if (HOME / CONFIG).is_file():
        return HOME
    return _unpack(_download(HOME.with_suffix(".zip"), bar), HOME)


def _download(file: Path, bar: Bar) -> Path:
    """The zip, whole. What an earlier try has left is gone on with."""
    import requests

    if file.is_file():
        return file
    file.parent.mkdir(parents=True, exist_ok=True)
    part = part_of(file)
    have = part.stat().st_size if part.is_file() else 0
    try:
        with requests.get(URL, stream=True, timeout=30, headers={"Range": f"bytes={have}-"}) as response:
            if response.status_code == 416 and have:  # nothing is left to fetch
                have = size = part.stat().st_size
            else:
                response.raise_for_status()
                have, size = _sizes(response.status_code, response.headers, have)
                if not have:
                    part.unlink(missing_ok=True)
                with part.open("ab") as out, bar(size - have) as advance:
                    for block in response.iter_content(1 << 20):
                        out.write(block)
                        have += len(block)
                        advance(len(block))
    except requests.RequestException as error:
        raise _not_fetched(f"could not be fetched ({type(error).__name__})") from None
    if have < size:
        raise _not_fetched(f"was cut: {have:,} of {size:,} bytes came")
    replace_file(part, file)
    return file


def _sizes(status: int, headers: Mapping[str, str], have: int) -> tuple[int, int]:
    """(bytes to keep of what is here, bytes in all): 206 goes on, 200 begins anew."""
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", headers.get("Content-Range", ""))
    if status == 206 and match and int(match[1]) == have:
        return have, int(match[2])
    return 0, int(headers.get("Content-Length", "0"))


def _unpack(archive: Path, folder: Path) -> Path:
    """The bundle's files as `folder`, whole or not at all. A damaged zip that we have fetched is deleted."""
    if (folder / CONFIG).is_file():
        return folder
    part = part_of(folder)
    shutil.rmtree(part, ignore_errors=True)
    try:
        with zipfile.ZipFile(archive) as packed:
            wanted = [name for name in packed.namelist() if _is_wanted(name)]
            packed.extractall(part, wanted)  # which compares checksums, and keeps every name inside the folder
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        shutil.rmtree(part, ignore_errors=True)
        if folder == HOME:
            archive.unlink()
        raise UserError(f"{archive} is damaged: {error}.", "Fetch it again.") from None
    inner = next((path.parent for path in sorted(part.rglob(CONFIG))), None)
    if inner is None:
        shutil.rmtree(part)
        raise UserError(f"{archive} holds no {CONFIG}.", "Is it the bundle of CORE?")
    inner.replace(folder)
    shutil.rmtree(part, ignore_errors=True)
    return folder


def _is_wanted(name: str) -> bool:
    """Not what macOS adds, for one."""
    parts = name.split("/")
    return parts[0] != "__MACOSX" and (parts[-1] in (CONFIG, BASELINES) or DATA in parts[:-1])


def _not_fetched(what: str) -> UserError:
    return UserError(
        f"The bundle of CORE's tasks {what}.",
        f"Run the same command again: what is here already stays. Or fetch it where there is a network,\n{URL}\n"
        "and name the file or its unpacked folder: --bundle=PATH",
    )
