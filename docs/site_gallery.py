"""Executes notebooks of examples/gallery, and writes each as a page with its figures.

    python docs/site_gallery.py OUT examples/gallery/toptagging.py ...

OUT gets NAME.md, NAME_files/*.png and the notebook itself, NAME.ipynb, without its outputs. Each
runs in an empty folder; a cell that fails ends all, with its traceback. Of a cell with the tag
"quiet" no output is shown, of others none that is on stderr, such as progress.
"""

import copy
import re
import shutil
import sys
import tempfile
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbconvert import MarkdownExporter
from nbconvert.writers import FilesWriter
from traitlets.config import Config


def build(source: Path, out: Path) -> None:
    """Execute a notebook, and write its page into the folder `out`."""
    notebook = jupytext.read(source)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    plain = copy.deepcopy(notebook)
    with tempfile.TemporaryDirectory() as folder:
        # By sockets in this folder, which nobody else reads, and not by ports.
        local = Config({"KernelManager": {"transport": "ipc", "ip": f"{folder}/kernel"}})
        options = {"resources": {"metadata": {"path": folder}}, "config": local}
        NotebookClient(notebook, timeout=None, **options).execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            quiet = "quiet" in cell.metadata.get("tags", [])
            cell.outputs = [] if quiet else _shown(cell.outputs)
    resources = {"unique_key": source.stem, "output_files_dir": f"{source.stem}_files"}
    body, resources = MarkdownExporter().from_notebook_node(notebook, resources)
    title, _, rest = body.lstrip().partition("\n")
    shutil.rmtree(out / f"{source.stem}_files", ignore_errors=True)
    download = f"[This page as a notebook]({source.stem}.ipynb){{ download }}"
    FilesWriter(build_directory=str(out)).write(
        f"{title}\n\n{download}\n{_described(rest)}", resources, notebook_name=source.stem
    )
    nbformat.write(plain, out / f"{source.stem}.ipynb")


def _shown(outputs: list) -> list:
    """Outputs without stderr, what was printed in one piece."""
    kept: list = []
    for one in outputs:
        if one.get("name") == "stdout" and kept and kept[-1].get("name") == "stdout":
            kept[-1]["text"] += one["text"]
        elif one.get("name") != "stderr":
            kept.append(one)
    return kept


def _described(body: str) -> str:
    """The page with its figures named after the heading above them."""
    heading, lines = "", []
    for line in body.splitlines():
        heading = re.sub(r"^#+ ", "", line) if re.match(r"##+ ", line) else heading
        lines.append(line.replace("![png]", f"![{heading}]"))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[2:]:
        build(Path(name), folder)
