"""DuckDB-Wasm, which the SQL console runs: a pinned package of the npm registry, kept in the user's cache."""

import hashlib
import tarfile
import urllib.request
from pathlib import Path

from blendbench.core.errors import UsageError
from blendbench.core.files import cache_folder, printable, read_file, write_atomically

VERSION = "1.32.0"  # has DuckDB 1.4.3
ARCHIVE = f"duckdb-duckdb-wasm-{VERSION}.tgz"  # as `npm pack` names it
URL = f"https://registry.npmjs.org/@duckdb/duckdb-wasm/-/duckdb-wasm-{VERSION}.tgz"
SHA256 = "13c29d80888b795cb493b281685d3d3e1738db2fad50d419e2884c6585789722"
LIBRARY, WORKER, WASM = "duckdb-browser.cjs", "duckdb-browser-eh.worker.js", "duckdb-eh.wasm"
_LIMIT = 100_000_000  # bytes
_TIMEOUT = 10.0  # seconds without an answer

# The package states its licence (MIT) and has no file of it.
LICENSE = """\
DuckDB-Wasm (https://github.com/duckdb/duckdb-wasm), with DuckDB: MIT License

Copyright 2021 DuckDB WASM Contributors (see https://github.com/duckdb/duckdb-wasm/graphs/contributors)
Copyright 2018 Stichting DuckDB Foundation

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated \
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the \
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit \
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the \
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE \
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR \
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR \
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.

Its worker contains Apache Arrow (https://arrow.apache.org): Apache License 2.0.
"""


def archive() -> Path:
    """Return the package in the cache, downloading it once.

    Errors: UsageError in one line, if it cannot be downloaded or is not the pinned one.
    """
    path = cache_folder() / ARCHIVE
    if not path.is_file():
        try:
            with urllib.request.urlopen(URL, timeout=_TIMEOUT) as answer:
                content = answer.read(_LIMIT)
        except OSError as error:
            raise UsageError(
                f"DuckDB-Wasm cannot be downloaded ({getattr(error, 'reason', error)}); where there is a network, "
                f"call `npm pack @duckdb/duckdb-wasm@{VERSION}`, and put {ARCHIVE} into {printable(path.parent)}"
            ) from error
        _check(content, URL)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
    return path


def members(path: Path) -> dict[str, bytes]:
    """Return the files of the package that a page needs. Errors: UsageError for another package."""
    _check(read_file(path, _LIMIT), printable(path))
    with tarfile.open(path) as opened:
        found = {name: opened.extractfile(f"package/dist/{name}") for name in (LIBRARY, WORKER, WASM)}
        return {name: file.read() for name, file in found.items() if file is not None}


def _check(content: bytes, place: str) -> None:
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise UsageError(f"{place}: not DuckDB-Wasm {VERSION} as it was published; delete the file and repeat")
