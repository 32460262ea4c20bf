"""A hook of mkdocs: each notebook of this folder is a page of the site, with its outputs."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

FOLDER = Path(__file__).parent


def block(text: str, language: str) -> str:
    """A fenced block of Markdown."""
    return f"```{language}\n{text.rstrip()}\n```"


def output_of(output: dict[str, Any]) -> str:
    """An output of a cell as Markdown: its HTML, picture or text, whichever it has first."""
    if output["output_type"] == "stream":
        return block("".join(output["text"]), "text")
    data = output["data"]
    if "text/html" in data:
        return f"<div>{''.join(data['text/html'])}</div>"
    if "image/jpeg" in data:
        alt = html.escape("".join(data["text/plain"]).removeprefix("<Figure: ").removesuffix(">"))
        return f'<p><img alt="{alt}" src="data:image/jpeg;base64,{data["image/jpeg"]}"></p>'
    return block("".join(data["text/plain"]), "text")


def page_of(notebook: dict[str, Any], name: str) -> str:
    """A notebook as a page of Markdown.

    Args:
        notebook: its JSON, executed.
        name: of its file, to which the page leads.
    """
    parts = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else block(source, "python"))
        parts += [output_of(each) for each in cell.get("outputs", [])]
    title, *rest = parts
    heading, _, text = title.partition("\n")
    return "\n\n".join([heading, f"This page is [a notebook]({name}), executed.", text.strip(), *rest]) + "\n"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages."""
    for path in sorted(FOLDER.glob("*.ipynb")):
        content = page_of(json.loads(path.read_text()), path.name)
        files.append(File.generated(config, f"{FOLDER.name}/{path.stem}.md", content=content))
    return files
