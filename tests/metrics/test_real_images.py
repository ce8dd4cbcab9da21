"""Calibration on a folder of images with labels; the detectors that are compared."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blendbench.cli import _verb
from blendbench.core.errors import UsageError
from blendbench.metrics import comparison, patterns
from blendbench.metrics.corruptions import CORRUPTIONS, corrupt
from blendbench.metrics.real_images import calibrate_real, read_labels
from blendbench.reports.metrics_real import real_section, store_real


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three clean images, two broken ones and one too small, with grades."""
    lines = ["file\tlabel\tkind\trepository\tgrade"]
    for k, crop in enumerate(patterns.crops(256, 1)[3:6]):
        Image.fromarray(crop).save(tmp_path / f"clean{k}.png")
        lines.append(f"clean{k}.png\tclean\tphoto\ta/b\t0")
        broken = patterns.inject(crop[None], patterns.mesh(256, 256), 4 + 2 * k)[0]
        Image.fromarray(broken).save(tmp_path / f"broken{k}.png")
        lines.append(f"broken{k}.png\tbroken\tmesh\tc/d\t{2 + k}")
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(tmp_path / "small.png")
    (tmp_path / "labels.tsv").write_text("\n".join([*lines, "small.png\tother\t\t\t"]) + "\n")
    return tmp_path


def test_a_folder_gives_areas_flags_corruptions_and_a_rank_correlation(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("blendbench.metrics.real_images.CORRUPTIONS", ("patch offsets",))
    found = calibrate_real(read_labels(folder, folder / "labels.tsv"))
    assert found.sources == {"a/b": 3, "c/d": 3} and found.small == 1
    assert found.auroc["grid_severity"] == {"against clean": 1.0}
    assert found.kinds["photo"]["any"] == 0 and found.kinds["mesh"]["visible_grid"] == 1
    assert found.corrupted["patch offsets"] == {"auroc": 1.0, "flagged": 1.0}
    assert found.rank_correlation is not None and found.rank_correlation > 0.8
    assert real_section(tmp_path) == []
    store_real(found, tmp_path)
    page = "\n".join(real_section(tmp_path))
    assert "| mesh (3) | broken | 100 % |" in page and "1 images below 128 pixels" in page
    assert "Of 3 clean images 0 have a flag" in page


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("file\tlabel\nclean0.png\tfine\n", "one of clean, broken"),
        ("file\tlabel\nnothing.png\tclean\n", "nothing.png: no such image"),
        ("file\tlabel\tgrade\nclean0.png\tclean\tbad\n", "'bad' is not a number"),
    ],
)
def test_what_is_wrong_in_a_table_is_named_with_its_line(folder: Path, table: str, said: str) -> None:
    (folder / "wrong.tsv").write_text(table)
    with pytest.raises(UsageError, match=f"wrong.tsv:2: .*{said}"):
        read_labels(folder, folder / "wrong.tsv")
    with pytest.raises(UsageError, match="belong together"):
        _verb("calibrate", ["--images", str(folder)])


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_a_corruption_has_the_strength_that_is_asked_for(kind: str) -> None:
    image = np.clip(patterns.crops(256, 1)[0], 40, 215)
    change = corrupt(image, kind, 4.0, 0).astype(float) - image
    changed = change[np.any(change != 0, -1)] if kind.startswith("part") else change
    assert np.sqrt(np.mean(changed**2)) == pytest.approx(4, rel=0.08)


@pytest.mark.parametrize("name", ["FFT peak ratio", "autocorrelation", "Wang-Sheikh"])
def test_each_detector_rises_with_a_mesh(name: str) -> None:
    crop = patterns.crops(256, 1)[3]
    values = [
        comparison.DETECTORS[name](patterns.inject(crop[None], patterns.mesh(256, 256), dose)[0].mean(-1))
        for dose in (0.0, 4.0, 8.0)
    ]
    assert values[0] < values[1] < values[2]
