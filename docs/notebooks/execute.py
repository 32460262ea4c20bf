"""Execute the notebooks of this folder in place: what each cell prints, shows and draws goes into its outputs.

    python docs/notebooks/execute.py                # all of them
    python docs/notebooks/execute.py audit.ipynb    # some

A notebook is JSON (nbformat 4.5, https://nbformat.readthedocs.io), and its cells are plain Python, so that no kernel is
needed. Pictures are kept as JPEG, which a notebook and a browser show, and which keeps the files small.
"""

from __future__ import annotations

import ast
import base64
import contextlib
import io
import json
import re
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
QUALITY, WIDTH = 85, 900
"""Of pictures: JPEG's quality, and pixels at most."""

Notebook = dict[str, Any]


def source_of(cell: Notebook) -> str:
    """The text of a cell."""
    return "".join(cell["source"])


def run_cell(source: str, names: dict[str, Any]) -> tuple[str, Any]:
    """Run one cell.

    Args:
        source: Python; the value of a last expression is the cell's.
        names: what cells have defined so far, and will have.

    Returns:
        What it printed, and its value, None where it has none.
    """
    tree, printed = ast.parse(source), io.StringIO()
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, "cell", "exec"), names)
        value = eval(compile(ast.Expression(last.value), "cell", "eval"), names) if isinstance(last, ast.Expr) else None
    return printed.getvalue(), value


def jpeg(png: bytes) -> bytes:
    """A PNG as a JPEG of moderate width."""
    from PIL import Image

    picture, written = Image.open(io.BytesIO(png)).convert("RGB"), io.BytesIO()
    picture.thumbnail((WIDTH, 10 * WIDTH))
    picture.save(written, "JPEG", quality=QUALITY, optimize=True)
    return written.getvalue()


def small(markup: str) -> str:
    """HTML with its pictures as JPEG."""

    def smaller(match: re.Match[str]) -> str:
        return f"data:image/jpeg;base64,{base64.b64encode(jpeg(base64.b64decode(match[1]))).decode()}"

    return re.sub(r"data:image/png;base64,([A-Za-z0-9+/=]+)", smaller, markup)


def shown(value: Any) -> Notebook:
    """A value as the data of an output, by MIME type: a figure as a picture, else its HTML and its text."""
    if hasattr(value, "savefig"):
        png = io.BytesIO()
        value.savefig(png, format="png")
        title = value.get_suptitle() or value.axes[0].get_title(loc="left")
        return {"image/jpeg": base64.b64encode(jpeg(png.getvalue())).decode(), "text/plain": f"<Figure: {title}>"}
    if hasattr(value, "_repr_html_"):
        markup = small(value._repr_html_()).splitlines(keepends=True)
        return {"text/html": markup, "text/plain": f"<{type(value).__name__}>"}
    return {"text/plain": repr(value).splitlines(keepends=True)}


def outputs_of(printed: str, value: Any, number: int) -> list[Notebook]:
    """The outputs of a cell, as a notebook has them.

    Args:
        printed: by the cell.
        value: of its last expression.
        number: of the cell among those with code, from 1.
    """
    outputs: list[Notebook] = []
    if printed:
        outputs.append({"name": "stdout", "output_type": "stream", "text": printed.splitlines(keepends=True)})
    if value is not None:
        outputs.append(
            {"data": shown(value), "execution_count": number, "metadata": {}, "output_type": "execute_result"}
        )
    return outputs


def execute(notebook: Notebook) -> dict[str, Any]:
    """Run every cell of a notebook in one namespace, and put what comes out into its outputs.

    Args:
        notebook: its JSON, which is changed.

    Returns:
        What the cells have defined.
    """
    names: dict[str, Any] = {"__name__": "__notebook__"}
    for number, cell in enumerate((each for each in notebook["cells"] if each["cell_type"] == "code"), 1):
        printed, value = run_cell(source_of(cell), names)
        cell["execution_count"], cell["outputs"] = number, outputs_of(printed, value, number)
    return names


def main(files: list[str]) -> None:
    """Execute some notebooks, or all."""
    for path in [FOLDER / Path(name).name for name in files] or sorted(FOLDER.glob("*.ipynb")):
        notebook = json.loads(path.read_text())
        execute(notebook)
        path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n")
        print(f"{path.name}: {path.stat().st_size / 1024:.0f} KB")


if __name__ == "__main__":
    main(sys.argv[1:])
