"""The guide as one PDF: python book/guide/compile_to_pdf.py [--out=FILE] [--latex]

Pandoc turns the chapters into Typst, and Typst sets them; pip installs both:

    pip install -c constraints.txt -e '.[docs]'

With --latex it is XeLaTeX that sets them, which has to be on the machine; what is missing is said, with how to get it.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    """Make it; the exit status is 1 where that cannot be done."""
    sys.path[:0] = [str(ROOT), str(ROOT / "src")]
    from book.machine.book import Book
    from book.machine.pdf import NAME, build_pdf
    from book.machine.problem import Wrong
    from inkling.errors import UserError

    parser = argparse.ArgumentParser(description="Write the guide as one PDF.")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / NAME, help="the file; default: build/%(default)s")
    parser.add_argument("--latex", action="store_true", help="by LaTeX and not by Typst")
    words = parser.parse_args()
    try:
        pages = build_pdf(Book(ROOT), words.out, words.latex)
    except (UserError, Wrong) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    size = words.out.stat().st_size / 2**20
    print(f"→ {words.out}: {f'{pages} pages, ' if pages else ''}{size:.1f} MiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
