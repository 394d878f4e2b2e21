"""The directives that go through a file from its first line to its last, to begin an analysis with."""

from book.machine.spans import SourceFile

LONG = 60  # lines; a longer class is taken apart, a longer function is marked


def outline(source: SourceFile) -> list[str]:
    """One `code` directive for each symbol, each with its number of lines; long classes by their members."""
    if not source.symbols:
        return [f"<!-- code: {source.path} -->  ({len(source.lines)} lines)"]
    lines: list[str] = []
    end = 0
    for name, span in _pieces(source):
        if span.first <= end:
            continue  # a second name for the same lines
        size = span.last - span.first + 1
        is_long = size > LONG and f"{name}:head" in source.symbols
        hint = f', long: cut it with {name} from "…" before "…"' if is_long else ""
        lines.append(f"<!-- code: {source.path} {name} -->  ({size} lines{hint})")
        end = span.last
    return lines


def _pieces(source: SourceFile) -> list:
    """(name, span) in the file's order: what stands at the top, and instead of a long class its parts."""
    symbols = source.symbols
    top = {name: span for name, span in symbols.items() if "." not in name and ":" not in name}
    pieces = []
    for name, span in top.items():
        members = [
            (n, s) for n, s in symbols.items() if n.startswith(f"{name}.") and n.count(".") == 1 and ":" not in n
        ]
        if members and span.last - span.first + 1 > LONG:
            pieces += [(f"{name}:head", symbols[f"{name}:head"]), *members]
        else:
            pieces.append((name, span))
    return sorted(pieces, key=lambda piece: piece[1].first)
