"""How do the pages look, narrow and wide, light and dark, and do they ask for anything?

    python experiments/ui/shoot.py discovery=RUN/report.html verdict=RUNS/verdict.html

Needs Chromium. Writes NAME_WIDTH_SCHEME.png and checks.json: pixels by which a page is wider than its window, what it
fetched, and what the console said.
"""

from __future__ import annotations

import argparse
import html
import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from PIL import Image

HERE = Path(__file__).parent
QUIET = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars --allow-file-access-from-files --enable-logging=stderr"
).split()
WRAPPER = """<body style="margin:0">
<iframe id="f" src="{url}" style="border:0;width:{width}px;height:{height}px"></iframe>
<pre id="told" hidden></pre><script>
document.getElementById("f").onload = e => {{
  const w = e.target.contentWindow, d = w.document.documentElement;
  document.getElementById("told").textContent = JSON.stringify({{
    wider: d.scrollWidth - d.clientWidth, height: d.scrollHeight,
    fetched: w.performance.getEntriesByType("resource").map(r => r.name.slice(0, 60))
      .filter(name => !name.startsWith("data:")),
    unnamed: [...w.document.images].filter(i => !i.alt).length,
    broken: [...w.document.images].filter(i => !i.naturalWidth).length
  }})
}}</script></body>"""
"""A frame of any width: Chromium's own windows are never narrower than 500 px."""


def chromium(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Chromium without a window, with a profile of its own."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert program, "expected Chromium on PATH, got none: install it"
    with tempfile.TemporaryDirectory() as profile:
        command = [program, *QUIET, f"--user-data-dir={profile}", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


def shoot(page: Path, picture: Path, width: int, scheme: str, height: int) -> dict[str, object]:
    """A screenshot of the top of a page, and what there is to say of all of it."""
    with tempfile.TemporaryDirectory() as folder:
        wrapper = Path(folder) / "wrapper.html"
        wrapper.write_text(WRAPPER.format(url=page.resolve().as_uri(), width=width, height=height))
        look = [
            f"--blink-settings=preferredColorScheme={int(scheme == 'light')}",
            f"--window-size={max(width, 500)},{height}",
        ]
        chromium(*look, f"--screenshot={picture}", wrapper.as_uri())
        with Image.open(picture) as shot:
            shot.crop((0, 0, width, height)).convert("RGB").quantize(256).save(picture, optimize=True)
        dumped = chromium(*look, "--virtual-time-budget=5000", "--dump-dom", wrapper.as_uri())
    found = re.search(r'<pre id="told" hidden="">(.*?)</pre>', dumped.stdout, re.DOTALL)
    told: dict[str, object] = json.loads(html.unescape(found[1])) if found and found[1] else {}
    return told | {"console": [line[-200:] for line in dumped.stderr.splitlines() if "CONSOLE" in line]}


def main() -> None:
    """Shoot every page at both widths in both schemes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="+", metavar="NAME=FILE")
    parser.add_argument("--height", type=int, default=1800)
    args = parser.parse_args()
    checks = {}
    for name, _, file in (each.partition("=") for each in args.pages):
        for width in (390, 1400):
            for scheme in ("light", "dark"):
                stem = f"{name}_{width}_{scheme}"
                checks[stem] = shoot(Path(file), HERE / f"{stem}.png", width, scheme, args.height)
                print(stem, checks[stem], flush=True)
    (HERE / "checks.json").write_text(json.dumps(checks, indent=1) + "\n")


if __name__ == "__main__":
    main()
