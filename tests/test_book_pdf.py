"""The guide as a PDF: from a small guide made for the purpose, and the real one."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import book.machine.pdf as pdf
from book.machine.book import Book
from book.machine.pdf import NAME, build_pdf, guide_pages
from book.machine.pdf_text import Chapters
from conftest import ROOT
from inkling.errors import UserError

pytest.importorskip("typst")
pytest.importorskip("pypandoc")

FRONT = """# The guide

<!-- make: about -->

[Book](../README.md) · level

<!-- /make -->

See [softmax](01_one.md#the-softmax), [chapter one](01_one.md), [elsewhere](../concepts/x.md) and
[a site](https://example.org/).
"""
ONE = r"""# One

## The softmax

<!-- concept: softmax, entropy -->

$$ \operatorname{softmax}(z)_i = \frac{e^{z_i}}{\sum_j e^{z_j}}, \quad x \odot y $$

A hidden <!-- num: x --> comment, 日 and 👍, `<!-- shown -->`.

<!-- code: src/a.py work -->

[`src/a.py:1–2`](../../src/a.py#L1-L2)

```python
def work():
    return "graph TB"
```

<!-- /code 1 2 -->

| a | b |
| --- | --- |
| `x` | $y^2$ |

```mermaid
graph TB
    A["text"] --> B["ids"]
```

![A curve](pictures/curve.svg)

<details><summary>Answer</summary>

It is *so*: see [the front](README.md#the-guide).

</details>

<details>
<summary>Another</summary>

1. one
2. two

</details>
"""
CURVE = '<svg xmlns="http://www.w3.org/2000/svg" width="40" height="20"><path d="M0 20L40 0" stroke="black"/></svg>'


@pytest.fixture
def guide(tmp_path):
    folder = tmp_path / "book" / "guide"
    (folder / "pictures").mkdir(parents=True)
    (folder / "README.md").write_text(FRONT, encoding="utf-8")
    (folder / "01_one.md").write_text(ONE, encoding="utf-8")
    (folder / "pictures" / "curve.svg").write_text(CURVE, encoding="utf-8")
    order = '[order]\n"The guide" = ["guide/README.md", "guide/01_one.md", "guide/02_not_there.md"]\n'
    (tmp_path / "book" / "book.toml").write_text(order, encoding="utf-8")
    return tmp_path


def test_a_guide_becomes_pages_with_formulas_diagrams_links_and_an_index(guide):
    out = guide / "out" / NAME
    pages = build_pdf(Book(guide), out)
    assert out.read_bytes().startswith(b"%PDF-") and 4 <= pages <= 6
    body = (guide / "build" / "pdf" / "main.typ").read_text(encoding="utf-8")
    assert "frac(" in body and "dot.o" in body and "\\frac" not in body
    assert "graph TB" in body and body.count("graph TB") == 1, "in the listing, not as a diagram's source"
    assert body.count("#diagram(") == 1 and len(list((guide / "build/pdf/diagrams").glob("*.pdf"))) == 1
    assert body.count("#answer(") == 2 and "details" not in body and '#indexed("softmax", "entropy")' in body
    assert "#link(<01-the-softmax>)" in body and "#link(<01-one>)" in body and "#link(<00-the-guide>)" in body
    assert "elsewhere" in body and "concepts/x" not in body and "https://example.org/" in body
    assert "num: x" not in body and "shown" in body
    assert "U+65E5" in body and "U+1F44D" in body and "日" not in body


def test_the_same_guide_gives_the_same_pages(guide):
    found = []
    for name in ("a.pdf", "b.pdf"):
        build_pdf(Book(guide), guide / name)
        found.append((guide / "build/pdf/main.typ").read_bytes())
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda text: text.replace(r"\frac{e^{z_i}}", r"\frac{e^{z_i}"), "braces in pairs"),
        (lambda text: text.replace(r"\frac", r"\fraction"), "pandoc could not turn the guide"),
        (lambda text: text.replace("pictures/curve.svg", "pictures/gone.svg"), "gone.svg"),
        (lambda text: text.replace('A["text"] -->', "A[[["), "cannot be drawn"),
    ],
)
def test_what_cannot_be_set_is_named(guide, spoil, says):
    file = guide / "book/guide/01_one.md"
    file.write_text(spoil(file.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(Exception, match=re.escape(says)):
        build_pdf(Book(guide), guide / "x.pdf")


def test_what_is_not_installed_is_named_with_the_command(guide, monkeypatch):
    real = pdf.importlib.util.find_spec
    monkeypatch.setattr(pdf.importlib.util, "find_spec", lambda name: None if name == "typst" else real(name))
    with pytest.raises(UserError, match="The PDF needs typst") as caught:
        build_pdf(Book(guide), guide / "x.pdf")
    assert "pip install" in str(caught.value)
    monkeypatch.setattr(pdf.shutil, "which", lambda program: None)
    with pytest.raises(UserError, match="needs xelatex") as caught:
        build_pdf(Book(guide), guide / "x.pdf", latex=True)
    assert "apt install" in str(caught.value) and "brew install" in str(caught.value)


def test_every_character_of_the_guide_can_be_drawn(tmp_path):
    """Typst brings DejaVu Sans Mono along, as matplotlib does: what is in its table is no empty box."""
    matplotlib = pytest.importorskip("matplotlib")
    from fontTools.ttLib import TTFont

    font = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSansMono.ttf"
    drawn = set(TTFont(font).getBestCmap())
    pages = guide_pages(Book(ROOT))
    chapters = Chapters(pages, tmp_path)
    for page in pages:
        missing = {
            character for character in chapters.text(page) if character.isprintable() and ord(character) not in drawn
        }
        assert not missing, page.path


@pytest.mark.slow
def test_the_guide_itself(tmp_path):
    command = [sys.executable, str(ROOT / "book/guide/compile_to_pdf.py"), f"--out={tmp_path / NAME}"]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", cwd=tmp_path, timeout=600)
    assert done.returncode == 0, done.stderr
    assert int(re.search(r"(\d+) pages", done.stdout)[1]) > 100
