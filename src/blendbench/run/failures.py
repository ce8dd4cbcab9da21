"""Decide when a run's failures are all one, so that going on is pointless."""

from collections.abc import Collection
from dataclasses import dataclass

from blendbench.core.errors import UsageError

# A device that met one of these serves nothing more in this process.
_LOST = ("AcceleratorError", "CUDA error", "CUDNN_STATUS", "CUBLAS_STATUS")
_MOST_ON_LOST = 3  # failures in a row after which a lost device is believed to be lost
_MOST = 8  # the same where nothing ever succeeded


class StoppedError(UsageError):
    """Everything fails for the reason in the message."""


def is_lost(reason: str | None) -> bool:
    """Return whether an error says that the device is unusable."""
    return reason is not None and any(sign in reason for sign in _LOST)


@dataclass
class Failures:
    """Failures in a row, and whether anything succeeded before them."""

    reason: str | None = None
    count: int = 0
    succeeded: bool = False

    def add(self, errors: Collection[str | None]) -> None:
        """Count a batch by the errors of its images.

        Errors: StoppedError if batch after batch failed alike, and nothing else is to be expected.
        """
        reasons = set(errors)
        reason = reasons.pop() if len(reasons) == 1 else None
        if reason is None:
            self.reason, self.count, self.succeeded = None, 0, self.succeeded or None in errors
            return
        # A lost device is noticed wherever something waits for it.
        same = reason == self.reason or (is_lost(reason) and is_lost(self.reason))
        self.reason, self.count = reason, self.count + 1 if same else 1
        if self.count >= (_MOST_ON_LOST if is_lost(reason) else _MOST) and (is_lost(reason) or not self.succeeded):
            raise StoppedError(reason)
