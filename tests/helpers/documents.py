"""What the pages of the documentation hold: code, commands, links, anchors, quoted messages."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
SOURCES = [path for path in sorted((ROOT / "jaxad").rglob("*.py")) if "configs" not in path.parts]

_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
_SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)")
_COMMAND = re.compile(
    r"(?:(?<![\w./-])(?:python -m )?jaxad (?P<verb>[a-z]\w*)|python (?P<script>[\w/]+\.py))"
    r"(?P<rest>[^\n;|&`]*)"
)
HOLE = "\0"
"""Stands for what differs from message to message."""


class Command(NamedTuple):
    """A command of jaxad as a page shows it."""

    program: str  # "jaxad VERB", or a script
    words: list[str]

    @property
    def flags(self) -> set[str]:
        return {word.partition("=")[0] for word in self.words if word.startswith("--")}

    @property
    def config(self) -> str:
        """Name of the config in configs/, "" where there is none or the shell makes it."""
        given = next((w for w in self.words if w.startswith("--config=")), "--config=")
        name = Path(given.removeprefix("--config=").partition(":")[0]).name.removesuffix(".py")
        return name if re.fullmatch(r"\w+", name) else ""


def blocks(text: str, *languages: str) -> list[str]:
    """The fenced blocks of a page in one of the languages, without their indentation."""
    return [
        re.sub(rf"^{indent}", "", code, flags=re.MULTILINE)
        for indent, language, code in _FENCE.findall(text)
        if language in languages
    ]


def spans(text: str) -> list[str]:
    """The `code` of a page outside its blocks, on one line each."""
    return [" ".join(span.split()) for span in _SPAN.findall(_FENCE.sub("", text))]


def commands(text: str) -> Iterator[Command]:
    """The commands in the shell blocks of a page, and those in the text that are `commands`."""
    shell = [re.sub(r"\\\n\s*", " ", block) for block in blocks(text, "sh", "bash")]
    alone = [span for span in spans(text) if _COMMAND.match(span)]
    for code in [*shell, *alone]:
        for found in _COMMAND.finditer(code):
            words = found["rest"].partition(" #")[0].split()
            program = found["script"] or f"jaxad {found['verb']}"
            if program == "jaxad data" and words:
                program = f"jaxad data {words[0]}"
            yield Command(program, [word.strip("\"'[]()") for word in words])


def links(text: str) -> list[tuple[str, str]]:
    """(path, anchor) of the relative links of a page; of figures too."""
    targets = re.findall(r"\]\(([^)\s]+)\)", _FENCE.sub("", text))
    split = [target.partition("#") for target in targets if not re.match(r"\w+:", target)]
    return [(path, anchor) for path, _, anchor in split]


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as code hosts and MkDocs make them."""
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", text), re.MULTILINE)
    plain = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in headings]
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", h).strip().lower()) for h in plain}


def messages() -> str:
    """Every text in the package, a line each, with a hole for each value that is put in."""

    def text(node: ast.AST) -> str:
        if isinstance(node, ast.Constant):
            return str(node.value).replace("{}", HOLE)
        return HOLE if isinstance(node, ast.FormattedValue) else "".join(map(text, node.values))

    found = [
        text(node)
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.JoinedStr)
        or (isinstance(node, ast.Constant) and isinstance(node.value, str))
    ]
    return "\n".join(message.replace("\n", " ") for message in found)


def quoted(message: str) -> re.Pattern:
    """Matches the text in the source that says `message`; `<...>` is whatever differs."""
    literal = [re.escape(part) for part in re.split(r"<[^<>]*>", message)]
    start = f"{HOLE}[^\n]*?" if message.startswith("<") else ""
    return re.compile(start + f"[^\n]*?{HOLE}[^\n]*?".join(filter(None, literal)))


def examples() -> Iterator[tuple[Path, str, int, str]]:
    """(file, name, line, docstring) of every function and class whose docstring has an example."""
    documented = (ast.FunctionDef, ast.ClassDef, ast.Module)
    for path in SOURCES:
        text = path.read_text()
        for node in ast.walk(ast.parse(text)) if ">>>" in text else ():
            doc = ast.get_docstring(node) if isinstance(node, documented) else None
            if doc and ">>>" in doc:
                yield path, getattr(node, "name", ""), getattr(node, "lineno", 1), doc


def module_of(path: Path) -> str:
    """Name of the module in a file of the package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: Path) -> set[str]:
    """Modules of jaxad that a file imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "jaxad":
            found |= {f"jaxad.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return {name for name in found if name.startswith("jaxad.")}
