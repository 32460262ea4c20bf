"""How does the explorer look, narrow and wide, light and dark, does it ask for anything, and what does it say?

    python experiments/ui/explorer.py [RUN...]

Needs Chromium and the ui extra. Starts the explorer on the runs, takes the first preset in a real browser, and writes
explorer_WIDTH_SCHEME.png and explorer_checks.json: pixels by which the page is wider than its window, what it fetched
from elsewhere, what the console said, and where the picture and the first slider end, in pixels from the top.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from PIL import Image
from shoot import HERE, QUIET

HEIGHTS = {390: 844, 1400: 900}
"""Of the first screen, by width."""
LOADED = """(() => { const all = [...document.querySelectorAll("#view img")];
return all.length === 3 && all.every(i => i.complete && i.naturalWidth) &&
!!document.querySelector("input[type=range]") })()"""
MEASURE = """(() => { const d = document.documentElement, box = q => document.querySelector(q).getBoundingClientRect();
const ends = Math.round(box("input[type=range]").bottom), picture_ends = Math.round(box("#view img").bottom);
scrollTo(0, 1e6); const top = Math.round(box("#view img").top); scrollTo(0, 0);
return { wider: d.scrollWidth - d.clientWidth, picture_ends, first_slider_ends: ends, picture_begins_when_scrolled: top,
unnamed: [...document.images].filter(i => !i.alt).length } })()"""
PRESET = """(async () => { const wait = ms => new Promise(r => setTimeout(r, ms));
const input = [...document.querySelectorAll("input[role=listbox], input[role=combobox]")].pop();
input.focus(); input.dispatchEvent(new MouseEvent("mousedown", {bubbles: true})); await wait(300);
const option = document.querySelectorAll("[role=option]")[2];
option.dispatchEvent(new MouseEvent("mousedown", {bubbles: true})); await wait(300);
input.blur(); await wait(2500); })()"""


class Browser:
    """Chromium without a window, spoken to by its DevTools protocol over a pipe (file descriptors 3 and 4)."""

    def __init__(self) -> None:
        program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        assert program, "expected Chromium on PATH, got none: install it"
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        heard, self.ask = os.pipe()
        self.answer, said = os.pipe()

        def wire() -> None:
            spare = [os.dup(heard), os.dup(said)]
            for end, number in zip(spare, (3, 4), strict=True):
                os.dup2(end, number)

        self.process = subprocess.Popen(
            [program, *QUIET, f"--user-data-dir={self.profile.name}", "--remote-debugging-pipe", "about:blank"],
            preexec_fn=wire, close_fds=False, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(heard)
        os.close(said)
        self.rest, self.number, self.session = b"", 0, ""
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def read(self) -> dict[str, Any]:
        """The next message."""
        while b"\0" not in self.rest:
            part = os.read(self.answer, 1 << 16)
            assert part, "expected Chromium to answer, got its end"
            self.rest += part
        message, _, self.rest = self.rest.partition(b"\0")
        told: dict[str, Any] = json.loads(message)
        return told

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """What a method answers; events that come before are kept."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.ask, json.dumps(message).encode() + b"\0")
        while (told := self.read()).get("id") != self.number:
            self.events.append(told)
        assert "error" not in told, told
        result: dict[str, Any] = told["result"]
        return result

    def evaluate(self, script: str) -> Any:
        """The value of an expression in the page, awaited."""
        told = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        return told["result"].get("value")

    def until(self, script: str, seconds: float = 60) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + seconds
        while not self.evaluate(script):
            assert time.monotonic() < end, f"expected {script} within {seconds} s"
            time.sleep(0.1)

    def open(self, url: str, width: int, height: int) -> None:
        """Load a page in a window of some size; what was heard of the last one is forgotten."""
        self.events.clear()
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )
        self.call("Page.navigate", url=url)

    def heard(self) -> dict[str, list[str]]:
        """What the page fetched, and what the console said."""
        urls = [
            e["params"]["request"]["url"][:80] for e in self.events if e.get("method") == "Network.requestWillBeSent"
        ]
        console = [e["params"]["entry"]["text"] for e in self.events if e.get("method") == "Log.entryAdded"]
        console += [
            " ".join(str(a.get("value", a.get("description"))) for a in e["params"]["args"])[:200]
            for e in self.events
            if e.get("method") == "Runtime.consoleAPICalled"
        ]
        return {"fetched": [url for url in urls if not url.startswith("data:")], "console": console}

    def close(self) -> None:
        """End the browser."""
        self.process.terminate()
        self.process.wait()
        self.profile.cleanup()


@contextmanager
def explorer(runs: list[str], *options: str) -> Iterator[str]:
    """The address of an explorer on some runs."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "ice_lightning.explore", *runs, "--port", str(port), *options]
    process = subprocess.Popen(command)
    try:
        url = f"http://127.0.0.1:{port}"
        for _ in range(1200):
            assert process.poll() is None, f"expected an explorer, got exit status {process.poll()}"
            try:
                httpx.get(url)
                break
            except httpx.TransportError:
                time.sleep(0.25)
        yield url
    finally:
        process.terminate()
        process.wait()


def main() -> None:
    """Shoot the page at both widths in both schemes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*")
    args = parser.parse_args()
    checks, browser = {}, Browser()
    with explorer(args.runs) as url:
        for width, height in HEIGHTS.items():
            for scheme in ("light", "dark"):
                stem = f"explorer_{width}_{scheme}"
                browser.open(f"{url}/?__theme={scheme}", width, height)
                browser.until(LOADED)
                browser.evaluate(PRESET)
                told = browser.evaluate(MEASURE) | browser.heard()
                told["elsewhere"] = [each for each in told["fetched"] if not each.startswith(f"{url}/")]
                told["fetched"] = len(told["fetched"])
                checks[stem] = told
                print(stem, told, flush=True)
                shot = base64.b64decode(browser.call("Page.captureScreenshot")["data"])
                with Image.open(io.BytesIO(shot)) as picture:
                    picture.convert("RGB").quantize(256).save(HERE / f"{stem}.png", optimize=True)
    browser.close()
    (HERE / "explorer_checks.json").write_text(json.dumps(checks, indent=1) + "\n")


if __name__ == "__main__":
    main()
