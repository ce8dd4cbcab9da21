"""The device is found without torch where there is certainly no GPU."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from blendbench.core.errors import UsageError
from blendbench.models import device


def test_torch_is_not_imported_without_a_driver() -> None:
    script = (
        "import sys; from blendbench.models import device; device._DRIVERS = ();"
        "assert device.choose_device('auto') == 'cpu'; assert device.choose_device('cpu') == 'cpu';"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize(("usable", "expected"), [(True, "cuda"), (False, "cpu")])
def test_where_there_is_a_driver_torch_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, usable: bool, expected: str
) -> None:
    monkeypatch.setattr(device, "_DRIVERS", (str(tmp_path),))
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(device, "_has_gpu", lambda: usable)
    assert device.choose_device("auto") == expected


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "_may_have_gpu", lambda: False)
    with pytest.raises(UsageError, match=r"--device cuda: .* use --device cpu"):
        device.choose_device("cuda")


def test_products_on_a_cpu_do_not_depend_on_where_their_numbers_lie() -> None:
    made = torch.Generator().manual_seed(0)
    for outputs, inputs in ((768, 192), (384, 64)):
        weight, row = torch.randn(outputs, inputs, generator=made), torch.randn(1, inputs, generator=made)
        for offset in range(16):
            moved = torch.empty(inputs + 16)[offset : offset + inputs].view(1, inputs).copy_(row)
            assert torch.equal(moved @ weight.T, row @ weight.T)
