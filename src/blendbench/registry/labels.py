"""Labels of configurations: `name:param=value,...`, written and read."""

from collections.abc import Iterator, Mapping

from blendbench.core.errors import UsageError
from blendbench.registry.parameters import Value, shown


def label(name: str, settings: Mapping[str, Value]) -> str:
    """Return a strategy's name with settings."""
    texts = [f"{key}={value_text(value)}" for key, value in settings.items()]
    return f"{name}:{','.join(texts)}" if texts else name


def assignments(text: str, settings: str) -> Iterator[tuple[str, str]]:
    """Yield names and values of `param=value,...`. Errors: UsageError."""
    for part in filter(None, settings.split(",")):
        key, equals, value = part.partition("=")
        if not equals:
            raise UsageError(f"{shown(text)}: {shown(part)} is not parameter=value")
        yield key.strip(), value.strip()


def value_text(value: Value) -> str:
    """Return a parameter's value as labels have it."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)
