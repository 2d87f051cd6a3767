"""What `mkdocs build` adds to docs/: README, CONTRIBUTING, CHANGELOG, the gallery, linked files.

The pages are the files of the repository themselves, their links turned so that they work in the
site; the same links work where the repository is looked at. Of other files of the repository those
that a page links to become part of the site. Notebooks of the gallery are pages as
`site_gallery.py` has executed them, in build/gallery.
"""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "examples/gallery/README.md": "gallery/index.md",
}
NOTEBOOKS = ROOT / "examples" / "gallery"
EXECUTED = ROOT / "build" / "gallery"
LINK = re.compile(r"(\]\()(?!\w+:|#)([^)#\s]+)")


def _in_site(target: Path) -> str:
    """Where a file of the repository lies in the site, beside the pages of docs/."""
    path = target.relative_to(ROOT)
    if str(path) in PAGES:
        return PAGES[str(path)]
    if target.parent == NOTEBOOKS and target.suffix == ".py":
        return f"gallery/{target.stem}.md"
    return str(path.relative_to("docs") if path.parts[0] == "docs" else path)


def _linked(markdown: str, folder: Path) -> list[Path]:
    found = [(folder / link).resolve() for _, link in LINK.findall(markdown)]
    return [path for path in found if path.is_file()]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages of the root, and what they and the pages of docs/ link to outside docs/."""
    for name, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / name).read_text()))
    for path in sorted(path for path in EXECUTED.rglob("*") if path.is_file()):
        place = f"gallery/{path.relative_to(EXECUTED).as_posix()}"
        if path.suffix == ".md":
            files.append(File.generated(config, place, content=path.read_text(encoding="utf-8")))
        else:
            files.append(File.generated(config, place, abs_src_path=str(path)))
    for file in list(files.documentation_pages()):
        folder = _folder(file.src_uri)
        for target in _linked(file.content_string, folder):
            place = _in_site(target)
            if files.get_file_from_path(place) is None:
                files.append(File.generated(config, place, abs_src_path=str(target)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The text of a page with every link to a file of the repository as the site has it."""
    folder = _folder(page.file.src_uri)
    depth = "../" * page.file.src_uri.count("/")

    def turned(link: re.Match) -> str:
        target = (folder / link[2]).resolve()
        return f"{link[1]}{depth}{_in_site(target)}" if target.is_file() else link[0]

    markdown = LINK.sub(turned, markdown)
    return _cards(markdown) if page.file.src_uri == "gallery/index.md" else markdown


def _cards(markdown: str) -> str:
    """The list of notebooks as cards, each with the last figure of its page."""

    def card(item: re.Match) -> str:
        title, stem, text = item.groups()
        figures = (EXECUTED / f"{stem}_files").glob("*.png")
        last = max(figures, key=lambda path: [int(n) for n in re.findall(r"\d+", path.stem)])
        picture = f"![{title}]({stem}_files/{last.name})"
        return f"- [{picture}]({stem}.md)\n\n    [{title}]({stem}.md): {text}\n"

    items = re.compile(r"^- \[([^\]]+)\]\(\.\./gallery/(\w+)\.md\): (.+)$", re.MULTILINE)
    first, last = (list(items.finditer(markdown))[i] for i in (0, -1))
    cards = items.sub(card, markdown[first.start() : last.end()])
    return (
        f'{markdown[: first.start()]}<div class="grid cards" markdown>\n\n{cards}\n</div>\n'
        f"{markdown[last.end() :]}"
    )


def _folder(page: str) -> Path:
    """What the links of a page start from in the repository."""
    if page.startswith("gallery/"):
        return NOTEBOOKS
    return ROOT if page in PAGES.values() else (ROOT / "docs" / page).parent
