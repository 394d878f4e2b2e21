"""Texts from the hub, against a server in this process that speaks its protocol and can fail in every way."""

import hashlib
import json
import math
import re
import threading
import urllib.parse
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from inkling.data.shards import check_dataset, open_dataset
from inkling.data.sources import hub, openwebtext
from inkling.errors import UserError
from inkling.stages import tokenizer
from inkling.stages.prepare import PrepareSettings, main

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
pytest.importorskip("huggingface_hub")

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """`files` are those of a repository; `faults` says for a file what goes wrong with each GET, in order."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repo = ""
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, list[str]] = {}
        self.gets: Counter[str] = Counter()
        self.ranges: list[str] = []
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def handle_error(self, *args) -> None:
        pass  # the client has hung up, as it may


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        hub, path = self.server, urllib.parse.unquote(self.path.partition("?")[0])
        if path == f"/api/datasets/{hub.repo}":
            self.send_json({"id": hub.repo, "sha": COMMIT})
        elif path.startswith(tree := f"/api/datasets/{hub.repo}/tree/{COMMIT}"):
            self.send_json(
                [entry(name, hub.files[name]) for name in hub.files if name.startswith(path[len(tree) + 1 :])]
            )
        elif (
            path.startswith(resolve := f"/datasets/{hub.repo}/resolve/{COMMIT}/") and path[len(resolve) :] in hub.files
        ):
            self.send_file(path[len(resolve) :])
        else:
            self.send_json({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})

    def send_json(self, value, status=200, headers=None) -> None:
        self.send(status, {"Content-Type": "application/json"} | (headers or {}), json.dumps(value).encode())

    def send_file(self, name: str) -> None:
        hub = self.server
        content = hub.files[name]
        about = {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha256(content).hexdigest()}"', "Accept-Ranges": "bytes"}
        fault = ""
        if self.command == "GET":
            hub.gets[name] += 1
            fault = hub.faults[name].pop(0) if hub.faults.get(name) else ""
        if fault == "404":
            self.send_json({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound"})
            return
        if fault in ("429", "500", "503"):
            self.send_json({"error": "not now"}, int(fault), {"Retry-After": "0"} if fault == "429" else {})
            return
        if fault == "damaged":
            content = content[:-9] + b"x" + content[-8:]
        if fault == "short":
            content = content[:-9]
        status, start = 200, 0
        if (asked := self.headers.get("Range")) and self.command == "GET":
            hub.ranges.append(asked)
            status, start = 206, int(re.match(r"bytes=(\d+)-", asked)[1])
            about["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self.send(status, about, content[start:], stop=len(content[start:]) // 2 if fault == "cut" else None)

    def send(self, status: int, headers: dict[str, str], body: bytes, stop: int | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[:stop])
        if stop is not None:
            self.close_connection = True


def entry(name: str, content: bytes) -> dict:
    blob = {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
    if name.endswith(".parquet"):
        blob["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
    return blob


def parquet(first: int, rows: int) -> bytes:
    sink = pa.BufferOutputStream()
    texts = [f"document {i} of many <|endoftext|> {'words ' * (i % 9)}" for i in range(first, first + rows)]
    pq.write_table(pa.table({"text": texts, "url": ["x"] * rows}), sink, row_group_size=30)
    return sink.getvalue().to_pybytes()


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A hub that has a small OpenWebText, and nothing of which is in the cache yet."""
    server = Hub()
    server.repo = hub.KNOWN["openwebtext"].repo
    server.files = {f"plain_text/train-{i:05d}-of-00003.parquet": parquet(100 * i, 100) for i in range(3)}
    server.files |= {"README.md": b"# read me", "plain_text/notes.txt": b"no parquet"}
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 500)
    monkeypatch.setattr(hub, "PAUSE", 0.01)
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between the library's own tries
    monkeypatch.setattr("logging.raiseExceptions", False)  # its log goes to a stream that an earlier test has closed
    monkeypatch.chdir(tmp_path)
    yield server
    server.shutdown()
    server.server_close()


def prepare(name="openwebtext", **settings):
    return main(name, PrepareSettings(**{"tokenizer": "byte"} | settings))


def first_file(server) -> str:
    return min(name for name in server.files if name.endswith(".parquet"))


def cached(tmp_path) -> dict[str, bytes]:
    """The files that the cache takes for whole."""
    return {file.name: file.read_bytes() for file in (tmp_path / "cache").rglob("*.parquet")}


# --- the texts -------------------------------------------------------------------------------------------


def test_openwebtext_is_split_as_nanogpt_does(server, capsys):
    dataset = prepare()
    rows = np.random.default_rng(2357).permutation(300)[: math.ceil(0.0005 * 300)].tolist()
    assert dataset.meta.val.documents == len(rows) and dataset.meta.train.documents == 300 - len(rows)
    assert bytes(dataset.val.tolist()).decode().startswith(f"document {rows[0]} of many")
    assert dataset.meta.source == f"Skylion007/openwebtext at {COMMIT}"
    assert "3 files, 11 kB to download" in (err := capsys.readouterr().err) and "are free" in err
    check_dataset(dataset)
    # A second time nothing is fetched; from the same files by hand it is the same.
    before = server.gets.copy()
    again = (dataset.path / "train.bin").read_bytes()
    prepare()
    assert server.gets == before
    folder = Path("elsewhere")
    for name, content in server.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    by_hand = prepare(input="elsewhere/plain_text/*.parquet", data_dir="by_hand")
    assert (by_hand.path / "train.bin").read_bytes() == again


def test_a_vocabulary_is_learned_from_the_first_file(server, tmp_path, capsys):
    """The one that `prepare` needs as well, and finds in the cache."""
    tokenizer.main("web", tokenizer.TokenizerSettings(input="openwebtext", vocab_size=280))
    assert Path("tokenizers/web/tokenizer.json").exists()
    assert "to download" in capsys.readouterr().err
    assert list(cached(tmp_path)) == ["train-00000-of-00003.parquet"]
    before = server.gets.copy()
    prepare(tokenizer="tokenizers/web", limit="1")
    assert server.gets == before


def test_the_share_of_nanogpt_is_four_thousand_and_seven_documents():
    assert math.ceil(openwebtext.VAL_FRACTION * 8_013_769) == 4_007


@pytest.mark.parametrize(("limit", "files"), [("1", 1), ("2", 2), ("9", 3), ("1.5k", 2), ("1k", 1), ("9B", 3)])
def test_a_limit_takes_the_first_files(server, limit, files):
    listing = hub.find("openwebtext", limit)
    assert [file.path[-22:-17] for file in listing.files] == [f"{i:05d}" for i in range(files)]
    assert listing.tokens == pytest.approx(0.37 * listing.size) and listing.commit == COMMIT


@pytest.mark.parametrize("limit", ["0", "-1", "x", "5 files", "1T"])
def test_a_senseless_limit_is_refused(server, limit):
    with pytest.raises(UserError, match="--limit does not take"):
        prepare(limit=limit)
    with pytest.raises(UserError, match="for texts on the hub"):
        prepare("mine", input="x.txt", limit="1")


def test_climbmix_is_validated_on_its_last_file(server):
    server.repo = hub.KNOWN["climbmix"].repo
    server.files = {f"shard_{i:05d}.parquet": parquet(50 * i, 50) for i in range(5)}
    dataset = prepare("climbmix", limit="2")
    assert sorted(server.gets) == ["shard_00000.parquet", "shard_00001.parquet", "shard_00004.parquet"]
    assert (dataset.meta.train.documents, dataset.meta.val.documents) == (100, 50)
    assert bytes(dataset.val.tolist()).decode().startswith("document 200 of many")


def test_fineweb_edu_takes_its_sample(server):
    server.repo = hub.KNOWN["fineweb_edu"].repo
    server.files = {f"sample/10BT/{i:03d}_00000.parquet": parquet(99 * i, 99) for i in range(2)} | {
        "data/x.parquet": b""
    }
    dataset = prepare("fineweb_edu", val_fraction=0.2)
    assert dataset.meta.train.documents + dataset.meta.val.documents == 198 and dataset.meta.val.documents > 10


# --- what can go wrong -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("faults", "gets"),
    [(["cut"], 2), (["cut", "cut", "cut"], 4), (["short"], 2), (["damaged"], 2), (["429"], 2), (["429", "cut"], 3),
     (["500"], 2), (["503", "damaged", "cut"], 4)],
)  # fmt: skip
def test_what_fails_once_is_tried_again(server, tmp_path, faults, gets):
    name = first_file(server)
    server.faults[name] = list(faults)
    dataset = prepare()
    assert server.gets[name] == gets and not server.faults[name]
    assert dataset.meta.train.documents + dataset.meta.val.documents == 300
    assert cached(tmp_path) == {Path(n).name: c for n, c in server.files.items() if n.endswith(".parquet")}
    if faults == ["cut"]:  # and then only what is missing is sent
        assert server.ranges == [f"bytes={len(server.files[name]) // 2 // 500 * 500}-"]


@pytest.mark.parametrize("fault", ["short", "damaged", "500"])
def test_what_always_fails_is_given_up_and_nothing_half_is_kept(server, tmp_path, fault):
    name = first_file(server)
    server.faults[name] = [fault] * 99
    with pytest.raises(UserError, match=f"{name} of Skylion007/openwebtext could not be fetched whole") as error:
        prepare()
    assert "hf download" in error.value.remedy and "--input=openwebtext" in error.value.remedy
    assert Path(name).name not in cached(tmp_path)
    assert not list(tmp_path.rglob("*.incomplete")) and not list((tmp_path / "data").rglob("*"))
    # Run again when it has recovered, it fetches that file and no other.
    del server.faults[name]
    before = server.gets.copy()
    prepare()
    assert (server.gets - before).keys() <= {name} | (server.files.keys() - {Path(n).name for n in cached(tmp_path)})
    check_dataset(open_dataset("openwebtext"))


def test_a_missing_file_is_said_at_once(server, tmp_path):
    name = first_file(server)
    server.faults[name] = ["404"] * 99
    with pytest.raises(UserError, match="cannot be read from the hub"):
        prepare()
    assert server.gets[name] == 1


def test_a_missing_repository_and_an_empty_one(server):
    files, server.files = server.files, {"README.md": b""}
    with pytest.raises(UserError, match="has no parquet files in plain_text"):
        prepare()
    server.files, server.repo = files, "someone/else"
    with pytest.raises(UserError, match=r"Skylion007/openwebtext cannot be read from the hub: .*404"):
        prepare()


def test_a_cached_file_that_was_damaged_is_fetched_again(server, tmp_path):
    prepare()
    name = first_file(server)
    (file,) = [file for file in (tmp_path / "cache").rglob("*.parquet") if file.name == Path(name).name]
    content = file.read_bytes()
    file.write_bytes(content[:500] + b"xxxx" + content[504:])
    prepare()
    assert server.gets[name] == 2 and cached(tmp_path)[Path(name).name] == content


def test_without_a_network_it_says_what_to_do(server, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match="cannot be read from the hub") as error:
        prepare()
    assert (
        "hf download --repo-type dataset Skylion007/openwebtext --include 'plain_text/*.parquet'" in error.value.remedy
    )
    assert "inkling prepare openwebtext --input=openwebtext" in error.value.remedy
    assert not list((tmp_path / "data").rglob("*"))


def test_what_does_not_fit_on_the_disk_is_not_begun(server, monkeypatch):
    from inkling.data import estimate

    monkeypatch.setattr(estimate, "free_space", lambda folder: 1000)
    with pytest.raises(UserError, match="The download of openwebtext needs about"):
        prepare()
    assert not server.gets
