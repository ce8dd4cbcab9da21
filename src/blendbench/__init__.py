"""blendbench: measure what vision embeddings do to Z-Image's images."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from blendbench.results.export import open_folder as open_results
    from blendbench.session import Session as Session

__version__ = "0.1.0"
__all__ = ["Session", "open_results"]


def __getattr__(name: str) -> Any:
    # DuckDB and pandas take most of a second to import; `import blendbench` must not wait for them.
    if name == "open_results":
        from blendbench.results.export import open_folder

        return open_folder
    if name == "Session":
        from blendbench.session import Session

        return Session
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
