"""The structure of an HTML page, by the standard library's parser."""

from html.parser import HTMLParser

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Elements as (tag, attributes, path of open tags); `problems` of nesting, ids and addresses.

    `tables` holds, table by table, the cells' texts of every row.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None], tuple[str, ...]]] = []
        self.problems: list[str] = []
        self.tables: list[list[list[str]]] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        self.problems += [f"not closed: {tag}" for tag in self._open]
        ids = [a["id"] for _, a, _ in self.elements if "id" in a]
        self.problems += [f"twice: {name}" for name in set(ids) if ids.count(name) > 1]
        for tag, found, _ in self.elements:
            for name in ("src", "href", "action", "data", "poster", "srcset"):
                address = found.get(name) or ""
                if name in found and not (address.startswith("data:") or address[1:] in ids):
                    self.problems.append(f"{tag} leads to {address}")

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """Attributes of every element of this name."""
        return [attributes for name, attributes, _ in self.elements if name == tag]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs), tuple(self._open)))
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("th", "td"):
            self.tables[-1][-1].append("")
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            self.problems.append(f"out of place: /{tag}")

    def handle_data(self, text: str) -> None:
        if self._open and self._open[-1] in ("th", "td"):
            self.tables[-1][-1][-1] += text
