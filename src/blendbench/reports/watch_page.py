"""The page of `blendbench watch`, which loads itself again after each check.

A page from a disk cannot read other files, but it can run scripts beside it: one of one line holds the state.
"""

import json
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from urllib.parse import quote

from blendbench.core.files import write_atomically
from blendbench.reports.check import FRONT, SHEET
from blendbench.reports.folders import make_folder
from blendbench.reports.gallery.links import Gallery
from blendbench.reports.gate_formats import HEADER, canary_words, deciding, metric_row, with_links
from blendbench.verdict.sentence import sentence
from blendbench.verdict.verdict import Verdict

PAGE, STATE = "watch.html", "watch.js"
_GOOD, _BAD = ("better", "cheaper", "trade"), ("dominated", "regression", "cells failed", "canary not detected")
_NUMBERS = (2, 3, 4, 5)  # columns of the table
# Asks for the state once a second, in a file beside the page and nowhere else.
_SCRIPT = """<script>
const shown = %d;
function watched(now) {
  if (now.page !== shown) return location.reload();
  const line = document.getElementById("state");
  line.textContent = now.text;
  line.className = now.error ? "error" : "";
}
setInterval(() => {
  const script = document.createElement("script");
  script.src = "%s?" + Date.now();
  script.onload = script.onerror = () => script.remove();
  document.head.append(script);
}, 1000);
</script>"""


class WatchPage:
    """A page in `folder` on the checks of one file."""

    def __init__(self, folder: Path, subject: str) -> None:
        self.folder, self.subject = make_folder(folder), subject
        self._number = 0  # of the page; another number makes a browser load it again
        self._body = "<p>No verdict yet.</p>"
        self._write("")

    @property
    def address(self) -> str:
        """Return the page's address."""
        return (self.folder / PAGE).resolve().as_uri()

    def state(self, text: str, error: bool = False) -> None:
        """Say what goes on; the verdicts stay."""
        now = json.dumps({"page": self._number, "text": text, "error": error})
        write_atomically(self.folder / STATE, f"watched({now});\n".encode())

    def show(self, verdicts: Sequence[Verdict], gallery: Gallery | None, text: str) -> None:
        """Show verdicts, with the images that `write_check` has put beside the page."""
        self._number += 1
        parts = [part for n, verdict in enumerate(verdicts, start=1) for part in self._verdict(n, verdict, gallery)]
        labels = ["reference", verdicts[0].baseline, *(verdict.candidate for verdict in verdicts), "canary"]
        self._body = "\n".join([*parts, *self._image(SHEET, f"Columns: {', '.join(labels)}")])
        if gallery is not None:
            self._body += f'\n<p><a href="{escape(gallery.grid())}">Compare all images</a></p>'
        self._write(text)

    def close(self) -> None:
        """Leave a page that does not ask for news any more."""
        self._number += 1
        self._write("no longer watched", script="")

    def _write(self, text: str, script: str | None = None) -> None:
        template = Template(files("blendbench.reports").joinpath("watch.html").read_text(encoding="utf-8"))
        page = template.substitute(
            title=escape(f"{self.subject}: blendbench"),
            state=escape(text),
            body=self._body,
            script=_SCRIPT % (self._number, STATE) if script is None else script,
        )
        write_atomically(self.folder / PAGE, page.encode())
        self.state(text)

    def _verdict(self, number: int, verdict: Verdict, gallery: Gallery | None) -> list[str]:
        colour = "good" if verdict.outcome in _GOOD else "bad" if verdict.outcome in _BAD else ""
        lines = [f'<h2 class="{colour}">{escape(verdict.outcome)}</h2>', f"<p>{escape(sentence(verdict))}</p>"]
        if rows := [metric_row(effect) for effect in deciding(verdict)]:
            heads = "".join(f"<th>{head}</th>" for head in HEADER)
            cells = "\n".join(f"<tr>{''.join(_cell(n, text) for n, text in enumerate(row))}</tr>" for row in rows)
            lines.append(f'<div class="wide"><table>\n<tr>{heads}</tr>\n{cells}\n</table></div>')
        links = [
            f'<a href="{escape(entry.link)}">{escape(entry.item)}</a>'
            for entry in with_links(verdict, gallery).worst
            if entry.link
        ]
        lines += [f"<p>Worst items: {', '.join(links)}</p>"] if links else []
        notes = [*(f"failed: {line}" for line in verdict.failed[:5]), *verdict.notes, canary_words(verdict)]
        lines += [f'<p class="quiet">{escape(line)}</p>' for line in notes]
        return [*lines, *self._image(FRONT.format(number), "Gain against cost; the ring is yours.")]

    def _image(self, name: str, text: str) -> list[str]:
        if not (self.folder / name).is_file():
            return []
        return [
            f'<img src="{quote(name)}?{self._number}" alt="{escape(text)}">',
            f'<p class="quiet">{escape(text)}</p>',
        ]


def _cell(column: int, text: str) -> str:
    kind = "number" if column in _NUMBERS else text if text in ("better", "worse") else ""
    return f'<td class="{kind}">{escape(text)}</td>'
