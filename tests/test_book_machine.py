"""The machine of the book, rule by rule, on small books made for the purpose; and the real book's check."""

import re
import tempfile
from itertools import pairwise
from pathlib import Path

import pytest

from book.machine.__main__ import main
from book.machine.book import Book
from book.machine.links import headings, resolve, slug, targets
from book.machine.outline import outline
from book.machine.parts import read_page
from book.machine.problem import Wrong
from book.machine.sameness import same_output
from book.machine.site_lists import for_site
from book.machine.spans import SourceFile
from conftest import ROOT

SOURCE = '''"""A module.

It has a docstring."""

import os
import sys

# Why three: it is enough.
LIMIT = 3


class Thing:
    """A thing."""

    size: int = 1
    """how large"""

    def grow(self) -> None:
        self.size += 1

    # A remark about shrinking.
    @property
    def half(self) -> float:
        """Half of it."""
        begin = self.size
        return begin / 2


def work(n):
    """Work."""
    total = 0
    for i in range(n):
        total += i
    return total
'''

PAGE = """# Title

<!-- page
level: beginner
purpose: to be a test
tags: loss
-->

<!-- make: about -->

## The code

<!-- code: src/inkling/thing.py from docstring to LIMIT -->

Words about the beginning, which are long enough to be an explanation.

<!-- code: src/inkling/thing.py Thing -->

Words about the thing, which are long enough to be an explanation.

<!-- code: src/inkling/thing.py work -->

Words about the work, which are long enough to be an explanation.
"""

LISTS = """not_written_yet = ["later.md"]
not_covered_yet = []
required = ["README.md#the-code", "later.md#soon"]
[order]
Home = ["README.md", "later.md"]
[analysis]
"README.md" = ["src/inkling/thing.py"]
[tags]
training = ["loss"]
"""


class Small:
    """A small repository with a book of one page, and the commands on it."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture) -> None:
        self.root, self.capsys = root, capsys
        self.write("src/inkling/thing.py", SOURCE)
        self.write("book/README.md", PAGE)
        self.write("book/book.toml", LISTS)

    def write(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    def read(self, path: str = "book/README.md") -> str:
        return (self.root / path).read_text(encoding="utf-8")

    def replace(self, old: str, new: str, path: str = "book/README.md") -> None:
        text = self.read(path)
        assert old in text
        self.write(path, text.replace(old, new, 1))

    def run(self, *words: str) -> tuple[int, str]:
        """Status and what was said."""
        self.capsys.readouterr()
        status = main(["--root", str(self.root), *words])
        out, err = self.capsys.readouterr()
        return status, err + out

    def fails(self, *parts: str) -> str:
        """The check fails, changes nothing, and says all of `parts`."""
        before = self.read()
        status, said = self.run("check")
        assert status == 1, said
        assert self.read() == before
        for part in parts:
            assert part in said, said
        return said

    def passes(self) -> None:
        status, said = self.run("check")
        assert status == 0, said


@pytest.fixture
def small(tmp_path, capsys):
    book = Small(tmp_path, capsys)
    assert book.run("build")[0] == 0, book.run("build")[1]
    return book


# --- listings and their explanations -----------------------------------------------------------------------


def test_build_fills_in_and_the_second_build_changes_nothing(small):
    text = small.read()
    assert "[`src/inkling/thing.py:12–26`](../src/inkling/thing.py#L12-L26)" in text
    assert "```python\nclass Thing:\n" in text
    assert "**Level**: beginner · **Time**: 2 min · **Tags**: `loss`" in text
    small.passes()
    assert "0 of 1 pages changed" in small.run("build")[1]


def test_moved_lines_change_the_place_and_ask_nobody_to_read_again(small):
    small.replace("import os\n", "import os\nimport re\n", "src/inkling/thing.py")
    small.replace(" from docstring to LIMIT", " docstring")  # the code above `Thing` is not the matter here
    small.fails("the code of src/inkling/thing.py Thing is not what it should be any more", "Run `make book`")
    _, said = small.run("build")
    assert "thing.py Thing changed" not in said and "thing.py work changed" not in said
    assert "thing.py:13–27`" in small.read()


@pytest.mark.parametrize(
    "change", [("total += i", "total += i + 1"), ("    total = 0", "    # from nothing\n    total = 0")]
)
def test_changed_code_fails_until_its_words_are_changed(small, change):
    small.replace(*change, "src/inkling/thing.py")
    says = "the code of src/inkling/thing.py work changed and its words were not read again"
    small.fails("book/README.md:", says, 'SYMBOL="work"')
    status, said = small.run("build")  # the listing follows, the explanation still waits
    assert status == 1 and says in said and change[1] in small.read()
    small.fails(says)
    small.replace("Words about the work", "New words about the work")
    assert small.run("build")[0] == 0
    small.passes()


def test_changed_code_is_accepted_with_a_reason_that_stays(small):
    small.replace("total += i", "total += 2 * i", "src/inkling/thing.py")
    small.run("build")
    status, said = small.run("accept", "--page", "book/README.md", "--symbol", "work", "--reason", " ")
    assert status == 1 and "An acceptance needs a reason" in said
    status, said = small.run("accept", "--page", "README.md", "--symbol", "Thing", "--reason", "x")
    assert status == 1 and "Waiting in this page: work" in said
    status, _ = small.run("accept", "--page", "README.md", "--symbol", "work", "--reason", "doubling is no news")
    assert status == 0
    small.passes()
    assert small.run("build")[0] == 0
    assert "accepted: doubling is no news -->" in small.read()


def test_better_words_for_the_same_code_are_always_welcome(small):
    small.replace("Words about the work", "Better words about the work")
    assert small.run("build")[0] == 0
    small.replace("total += i", "total += 3 * i", "src/inkling/thing.py")  # those words count as the ones not read
    small.fails("work changed and its words were not read again")


def test_code_without_explanation_fails(small):
    small.replace("Words about the thing, which are long enough to be an explanation.", "Nice.")
    small.fails("src/inkling/thing.py Thing is shown and not explained")


def test_edited_listing_fails(small):
    small.replace("        total += i", "        total -= i")
    small.fails("the code of src/inkling/thing.py work is not what it should be any more")


def test_missing_symbol_names_those_that_are_there(small):
    small.replace("thing.py work -->", "thing.py wrok -->")
    small.fails("src/inkling/thing.py has no wrok", "It has: docstring, imports, LIMIT, Thing")


# --- which lines -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "first", "last"),
    [
        ("docstring", 1, 3),
        ("imports", 5, 6),
        ("LIMIT", 8, 9),
        ("Thing", 12, 26),
        ("Thing:head", 12, 13),
        ("Thing.size", 15, 16),
        ("Thing.grow", 18, 19),
        ("Thing.half", 21, 26),
        ("from Thing.size to Thing.grow", 15, 19),
        ('work from "total = 0" to "total += i"', 31, 33),
        ('work from "for i" before "return"', 32, 33),
        ('work to "total = 0"', 29, 31),
        ('from "# Why" to "LIMIT"', 8, 9),
    ],
)
def test_spans(tmp_path, where, first, last):
    (tmp_path / "thing.py").write_text(SOURCE, encoding="utf-8")
    span = SourceFile(tmp_path, "thing.py").locate(where)
    assert (span.first, span.last) == (first, last)


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("from work to Thing", "Thing stands above work"),
        ("from work", "is not understood"),
        ('work from "total"', "lines 31, 33, 34 of thing.py hold 'total'"),
        ('work from "nothing like it"', "no line from 29 to 34"),
        ('work from "total', "without its partner"),
        ('work by "total"', "is not understood"),
    ],
)
def test_spans_that_mean_nothing(tmp_path, where, says):
    (tmp_path / "thing.py").write_text(SOURCE, encoding="utf-8")
    with pytest.raises(Wrong, match=says):
        SourceFile(tmp_path, "thing.py").locate(where)


def test_outline_goes_through_every_file_of_inkling_without_a_gap():
    book = Book(ROOT)
    for file in book.source_files():
        source = book.source(file)
        lines = [line.split(" -->")[0].split(f"{file} ")[1] for line in outline(source)]
        spans = [source.locate(where) for where in lines]
        assert all(one.last < other.first for one, other in pairwise(spans)), file
        owned = {n for span in spans for n in range(span.first, span.last + 1)}
        assert all(n in owned or not line.strip() for n, line in enumerate(source.lines, 1)), file


# --- coverage ----------------------------------------------------------------------------------------------


def test_uncovered_lines_are_named(small):
    small.replace("thing.py Thing -->", "thing.py Thing:head -->")
    small.fails(
        "src/inkling/thing.py: lines 15–26 (Thing.size) stand in no block", "below src/inkling/thing.py Thing:head"
    )


def test_doubly_covered_lines_are_named(small):
    small.replace("thing.py work -->", "thing.py from Thing.half to work -->")
    small.fails("lines 21–26 stand in src/inkling/thing.py from Thing.half to work and in src/inkling/thing.py Thing")


def test_blocks_out_of_order_are_named(small):
    text = small.read()
    small.write(
        "book/README.md", text.replace("thing.py Thing -->", "X").replace("thing.py work -->", "thing.py Thing -->")
    )
    small.replace("X", "thing.py work -->")
    small.run("build")
    small.fails("src/inkling/thing.py Thing is shown after src/inkling/thing.py work")


def test_the_list_of_files_not_covered_yet_only_shrinks(small):
    small.write("src/inkling/other.py", '"""Other."""\n')
    small.replace('["src/inkling/thing.py"]', '["src/inkling/*.py"]', "book/book.toml")
    small.fails("no block shows src/inkling/other.py")
    small.replace("not_covered_yet = []", 'not_covered_yet = ["src/inkling/other.py"]', "book/book.toml")
    small.passes()
    small.replace('["src/inkling/other.py"]', '["src/inkling/other.py", "src/inkling/thing.py"]', "book/book.toml")
    small.fails("src/inkling/thing.py is covered and still in not_covered_yet")


# --- snippets ----------------------------------------------------------------------------------------------


def add(small, text: str) -> None:
    small.write("book/README.md", small.read() + "\n## Try it\n\n" + text)


def test_snippets_run_in_one_folder_and_their_output_is_shown(small):
    add(
        small,
        '```python\nopen("x.txt", "w").write("hello")\na = 2\nprint("one", a)\n```\n\n<!-- continue -->\n'
        '```python\nprint(open("x.txt").read(), a + 1)\n```\n\n```console\n$ inkling --version\n```\n',
    )
    small.fails("the output is not generated yet")
    assert small.run("build")[0] == 0
    text = small.read()
    assert "```text\none 2\n```" in text and "```text\nhello 3\n```" in text and "```text\ninkling " in text
    small.passes()
    assert "0 of 1 pages changed" in small.run("build")[1]


def test_files_that_a_page_brings_along(small):
    small.write("parts/greet.py", 'WORDS = "hello"\nprint(WORDS)\n')
    add(small, "<!-- files: parts -->\n\n```console\n$ python greet.py\n```\n")
    assert small.run("build")[0] == 0
    assert "```text\nhello\n```" in small.read()
    small.passes()
    small.replace('"hello"', '"good day"', "parts/greet.py")
    small.fails("the output is not what it should be any more")
    assert small.run("build")[0] == 0 and "good day" in small.read()
    small.replace("files: parts", "files: nowhere")
    small.fails("there is no folder nowhere")


def test_outputs_do_not_say_where_the_book_was_built(small):
    small.write("src/helper.py", "def work():\n    raise ValueError(__file__)\n")
    add(small, "<!-- fails -->\n```python\nimport os\nimport helper\nprint(os.getcwd())\nhelper.work()\n```\n")
    assert small.run("build")[0] == 0
    text = small.read()
    assert str(small.root) not in text and tempfile.gettempdir() not in text
    assert f'File "{Path("src/helper.py")}", line 2, in work' in text
    assert "```text\n.\n" in text


def test_a_snippet_reaches_this_machine_and_no_other(small):
    add(
        small,
        "```python\n"
        "import threading\n"
        "from http.server import HTTPServer, SimpleHTTPRequestHandler\n"
        "from urllib.request import urlopen\n"
        "\n"
        'with HTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as server:\n'
        "    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()\n"
        '    for host in (f"127.0.0.1:{server.server_port}", "example.org"):\n'
        "        try:\n"
        '            print(host.partition(":")[0], urlopen(f"http://{host}/").status)\n'
        "        except OSError as error:\n"
        "            print(host, type(error).__name__)\n"
        "    server.shutdown()\n"
        "```\n",
    )
    small.run("build")
    assert "127.0.0.1 200\nexample.org URLError" in small.read()


def test_edited_output_fails_and_a_changed_snippet_runs_again(small):
    add(small, "```python\nprint(6 * 7)\n```\n")
    small.run("build")
    small.replace("```text\n42\n```", "```text\n43\n```")
    small.fails("the output is not what it should be any more")
    small.run("build")
    assert "```text\n42\n```" in small.read()
    small.replace("6 * 7", "6 * 8")
    small.fails("the output is not what it should be any more")


def test_failing_snippets_and_those_that_should_fail(small):
    add(small, "```console\n$ inkling nonsense\n```\n")
    small.fails("this snippet ended with status 2", "There is no verb 'nonsense'")
    small.replace("```console", "<!-- fails -->\n```console")
    assert small.run("build")[0] == 0
    assert "error: There is no verb 'nonsense'" in small.read()
    small.replace("$ inkling nonsense", "$ inkling --version")
    small.fails("marked `fails` and ended well")


@pytest.mark.parametrize(
    ("block", "says"),
    [
        ("```console\n$ rm -r x\n```\n", "'rm -r x' cannot be run everywhere"),
        ("```console\ninkling --version\n```\n", "has no `$ ` before it"),
        ("```bash\nls\n```\n", "neither run nor read"),
        ("```\nls\n```\n", "names no language"),
        ("<!-- norun -->\n```console\n$ rm x\n```\n", "norun needs a reason"),
        ("<!-- keep: ../x.svg -->\n```python\nprint(1)\n```\n", "keep needs the name of a picture"),
        ("<!-- limit: 1 -->\n```python\nimport time\ntime.sleep(30)\n```\n", "took longer than 1 s"),
        ("```python\nprint(1)\n", "this fenced block has no end"),
        ("- a\n\n  ```python\n  print(1)\n  ```\n", "a fenced block inside a list is neither run nor read"),
    ],
)
def test_snippets_that_cannot_be_run_say_what_to_do(small, block, says):
    add(small, block)
    small.fails(says)


def test_an_output_that_varies_stands_while_the_snippet_ends_well(small):
    add(small, "<!-- varies -->\n```python\nimport time\nprint('at', time.time_ns())\n```\n")
    small.run("build")
    before = small.read()
    assert small.run("build", "--again")[0] == 0 and small.read() == before
    small.replace("time.time_ns()", "1 / 0")
    small.fails("ZeroDivisionError")


def test_a_picture_that_a_snippet_makes_is_kept(small):
    block = '```python\nopen("x.svg", "w").write("<svg/>")\n```\n\n![x](pictures/x.svg)\n'
    add(small, f"<!-- keep: x.svg -->\n{block}")
    small.fails("pictures/x.svg leads to nothing")
    assert small.run("build")[0] == 0
    small.passes()
    assert small.read("book/pictures/x.svg") == "<svg/>"
    (small.root / "book/pictures/x.svg").unlink()
    assert small.run("build")[0] == 0 and small.read("book/pictures/x.svg") == "<svg/>"
    small.replace("<!-- keep: x.svg -->", "<!-- keep: y.svg -->")
    small.fails("this snippet was to leave y.svg, and did not")


def test_norun_with_a_reason_is_left_alone(small):
    add(small, "<!-- norun: needs eight GPUs -->\n```console\n$ torchrun x\n```\n")
    small.run("build")
    small.passes()


def test_sameness_forgives_clocks_and_last_digits_only():
    assert same_output("loss 1.6370, 40.1 ms, 3,000 tok/s, 9s left", "loss 1.6391, 55 ms, 99 tok/s, 8s left")
    assert not same_output("loss 1.637", "loss 1.737")
    assert not same_output("3 layers", "4 layers")
    assert not same_output("a run", "a sun")


# --- generated parts, numbers, links -----------------------------------------------------------------------


def test_numbers_are_computed_and_wrong_ones_fail(small):
    add(
        small,
        "It has <!-- num: parameters gpt2_124m --> parameters and <!-- num: lines src/inkling/thing.py --> lines.\n",
    )
    small.fails("a number in this line is not what it should be")
    small.run("build")
    assert "-->124,373,760<!-- /num -->" in small.read() and "-->34<!-- /num -->" in small.read()
    small.passes()
    small.replace("124,373,760", "124,000,000")
    small.fails("a number in this line is not what it should be")


def test_numbers_from_benchmark_tables(small):
    table = "# One\n\n| who | ms | s |\n| --- | --- | --- |\n| a | 39.6 (38 to 42) | 5 |\n| b | 7 | 1 |\n"
    small.write("benchmarks/speed.md", table)
    add(small, 'It takes <!-- num: bench speed a ms --> ms, at most <!-- num: bench speed "One > a" ms 3 -->.\n')
    small.run("build")
    assert "-->39.6<!--" in small.read() and "-->42<!--" in small.read()
    small.passes()
    small.replace("bench speed a ms", "bench speed c ms")
    small.fails("0 cells in benchmarks/speed.md are 'c', 'ms'")


@pytest.mark.parametrize(
    ("number", "says"),
    [
        ("guess", "there is no number 'guess'"),
        ("parameters no_such", "There is no recipe"),
        ("recipe demo dropuot", "does not set dropuot"),
        ("count sheep", "'sheep' is not counted"),
        ("lines", "lines does not take nothing"),
    ],
)
def test_numbers_that_cannot_be_had(small, number, says):
    add(small, f"It is <!-- num: {number} -->7<!-- /num -->.\n")
    small.fails(says)


@pytest.mark.parametrize(
    ("made", "shows"),
    [
        ("commands", "| `inkling train` |"),
        ("settings train schedule", "| 0 < x ≤ 1 | wsd: the share of all steps"),
        ("presets", "| `softcap` |"),
        ("families", "| `rope_direction` |  | `1` | `1` | `-1` |"),
        ("families", "| `mlp` | `gelu_tanh`; or `gelu`, `relu2` | `swiglu` | `swiglu` | `relu2` |"),
        ("families", "| a head size that is not width / heads | no | yes | yes | yes |"),
        ("families", "| `transformer.wpe.weight` | `transformer.wpe.weight` |  |  |  |"),
        ("recipe demo laptop", "| key | `demo` | `laptop` |"),
        ("modules", "| [`src/inkling/thing.py`](../src/inkling/thing.py) | A module. | [Title](README.md) |"),
        ("tags training", '- <a id="tag-loss"></a>`loss`: [Title](README.md)'),
    ],
)
def test_tables_are_made_and_edited_ones_fail(small, made, shows):
    add(small, f"<!-- make: {made} -->\n")
    small.fails(f"the part `{made}` is not what it should be")
    assert small.run("build")[0] == 0
    assert shows in small.read()
    small.passes()
    small.replace(shows, shows + " and more")
    small.fails(f"the part `{made}` is not what it should be any more")


def test_tables_that_cannot_be_made(small):
    add(small, "<!-- make: settings train nothing -->\n\n<!-- make: magic -->\n\n<!-- mkae: about -->\n")
    small.fails("no section 'nothing'", "nothing is made by 'magic'", "there is no directive 'mkae'")


MEASURED = (
    "# Speed\n\n## First\n\n| a |\n| --- |\n| 1 |\n\n"
    "## Second\n\nWords.\n\n| b |\n| --- |\n| 7 |\n\n| c |\n\n## Third\n"
)


def test_a_table_of_measurements_is_shown_whole(small):
    small.write("benchmarks/speed.md", MEASURED)
    add(small, "<!-- make: measured speed Second -->\n")
    assert small.run("build")[0] == 0
    assert "-->\n\n| b |\n| --- |\n| 7 |\n\n<!--" in small.read()
    small.passes()
    small.write("benchmarks/speed.md", MEASURED.replace("7", "8"))
    small.fails("the part `measured speed Second` is not what it should be any more")


@pytest.mark.parametrize(
    ("made", "says"),
    [
        ("speed", "a file and a heading, not 1 words"),
        ("speed Third", "benchmarks/speed.md has no table below a heading 'Third'"),
        ("speed Fourth", "benchmarks/speed.md has no table below a heading 'Fourth'"),
        ("nothing First", "there is no file benchmarks/nothing.md"),
    ],
)
def test_measurements_that_are_not_there(small, made, says):
    small.write("benchmarks/speed.md", MEASURED)
    add(small, f"<!-- make: measured {made} -->\n")
    small.fails(says)


GLOSSARY = """# Glossary

<!-- page
level: beginner
purpose: words
-->

<!-- make: about -->

### Loss

How wrong. [Theory](README.md), [code](../src/inkling/thing.py).

### Batch

Rows.
"""


def test_concepts_and_glossary(small):
    small.write("book/glossary.md", GLOSSARY)
    small.replace('["README.md", "later.md"]', '["README.md", "glossary.md", "later.md"]', "book/book.toml")
    add(small, "<!-- concept: Loss, Los -->\n\n<!-- make: concepts -->\n\n[words](glossary.md)\n")
    said = small.fails("the concept 'Los' is not in the glossary", "'batch' stands after 'loss'")
    assert "'Batch' has no link to code" in said and "'Batch' has no link to theory" in said
    assert "'Loss' has" not in said
    small.run("build")
    assert "| [Loss](glossary.md#loss) | [Title › Try it](README.md#try-it) |" in small.read()


@pytest.mark.parametrize(
    ("link", "says"),
    [
        ("gone.md", "the link gone.md leads to nothing"),
        ("#nowhere", "README.md has no anchor #nowhere"),
        ("README.md#the-cod", "It has, among others: the-code"),
        ("../src/inkling/thing.py#L99", "has no line 99"),
        ("../../elsewhere.md", "leads out of the repository"),
    ],
)
def test_broken_links(small, link, says):
    add(small, f"See [there]({link}).\n")
    small.fails(says)


def test_links_to_promised_pages_and_in_code_are_let_be(small):
    add(small, "See [there](later.md#soon), `[not a link](gone.md)` and\n\n```markdown\n[nor this](gone.md)\n```\n")
    small.run("build")
    small.passes()


def test_orphans_lists_and_metadata(small):
    small.write("book/extra.md", "# Extra\n\n<!-- page\ntags: sheep\n-->\n")
    said = small.fails("no page links to this one", "has no place in [order]", "does not say its level")
    assert "the tag 'sheep' is in no group" in said
    (small.root / "book/extra.md").unlink()
    small.replace('["later.md"]', '["later.md", "README.md"]', "book/book.toml")
    small.fails("README.md is written", "Take it from not_written_yet")


def test_required_anchors_must_be_there(small):
    small.replace("## The code", "## Other words")
    small.fails("README.md#the-code is required and not there")


@pytest.mark.parametrize(
    ("heading", "anchor"),
    [
        ("The `train` loop: why?", "the-train-loop-why"),
        ("A — B", "a--b"),
        ("GPT-2's *weights* (124M)", "gpt-2s-weights-124m"),
        ("snake_case and _stress_", "snake_case-and-stress"),
        ("Größe", "größe"),
        ("[Link](x.md) here", "link-here"),
    ],
)
def test_anchors_are_those_of_code_hosts(heading, anchor):
    assert slug(heading) == anchor


def test_a_heading_that_was_there_before_gets_a_number():
    page = read_page("x.md", "# A\n\n## B\n\n## B\n\n```text\n## B\n```\n\n## B\n")
    assert [anchor for *_, anchor in headings(page)] == ["a", "b", "b-1", "b-2"]


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        ("Words:\n- a\n- b", "Words:\n\n- a\n- b"),
        ("- a\n  - b\n    - c\n- d", "- a\n    - b\n        - c\n- d"),
        ("1. a\n   more\n\n   and more\n\nafter", "1. a\n    more\n\n    and more\n\nafter"),
        ("Words:\n| a |\n| - |", "Words:\n\n| a |\n| - |"),
    ],
)
def test_lists_and_tables_for_the_site(written, wanted):
    assert for_site(written) == wanted


def test_one_page_alone(small):
    small.write("book/later.md", "# Later\n\n[up](README.md)\n")
    add(small, "See [later](later.md).\n")
    assert small.run("build", "--page", "book/README.md")[0] == 0
    assert small.run("check", "--page", "README.md")[0] == 0
    assert small.run("check")[0] == 1
    status, said = small.run("check", "--page", "gone.md")
    assert status == 1 and "There is no page gone.md" in said


# --- the real thing ----------------------------------------------------------------------------------------


def test_what_the_reference_documents_link_to_is_required():
    folder = ROOT.parent / "shared" / "reference"
    if not folder.is_dir():
        pytest.skip("the reference documents are not here")
    required = set(Book(ROOT).lists["required"])
    for file in sorted(folder.glob("*.md")):
        start = "guide/" if file.name == "educational-guide.md" else ""  # where that document stands in the book
        page = read_page(file.name, file.read_text(encoding="utf-8"))
        wanted = {start + target for _, target in targets(page) if resolve(page, target)}
        assert wanted <= required, file.name


def test_the_machine_is_not_in_the_package():
    from setuptools import find_packages

    assert not [name for name in find_packages(str(ROOT / "src")) if "book" in name]


@pytest.mark.slow
def test_the_site_has_no_broken_links_and_loads_nothing_from_elsewhere(small):
    pytest.importorskip("zensical")
    add(
        small,
        "## A — B\n\nThe square\n$x^2$ is *at most\n$y$ or so*.\n\n"
        "$$\\frac{1}{2}$$\n\n```mermaid\ngraph LR\n  A --> B\n```\n\n[up](#a--b)\n\n"
        "<details>\n<summary>Answer</summary>\n\nIt is *so*.\n\n</details>\n",
    )
    small.run("build")
    status, said = small.run("site")
    assert status == 0, said
    html = (small.root / "build/book/site/index.html").read_text(encoding="utf-8")
    assert (
        "<em>so</em>" in html and 'id="a--b"' in html and "<msup>" in html and "<mfrac>" in html and "diagrams/" in html
    )
    for theme in ("default", "dark"):
        (drawn,) = (small.root / "build/book/site/diagrams").glob(f"*-{theme}.svg")
        assert re.search(r'<svg[^>]* width="[\d.]+" height="[\d.]+"', drawn.read_text(encoding="utf-8"))
    paragraph = re.search(r"<p>The square\n.*?</p>", html, re.DOTALL)
    assert paragraph is not None, "a formula at the beginning of a line is no block of its own"
    assert paragraph[0].count("<math") == 2 and "<em>at most" in paragraph[0]
    assert (small.root / "build/book/site/source/src/inkling/thing.py.html").is_file()


@pytest.mark.slow
def test_the_site_of_the_book(capsys):
    pytest.importorskip("zensical")
    assert main(["--root", str(ROOT), "site"]) == 0, capsys.readouterr().err
