"""The loaded scorers and probe of a model set fit the metrics: every metric gives a value."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from blendbench.core.suites import Attributes, load_suite
from blendbench.metrics import Batch, all_metrics, measure
from blendbench.metrics.style_space import StylePairs
from blendbench.models.judge import load_judge
from blendbench.models.miniature.captions import facts
from blendbench.models.miniature.probe import Probe, load_probe, save_probe
from blendbench.models.miniature.world import BACKGROUNDS, COLOURS, SHAPES, STYLES, render, sample_scenes
from blendbench.models.scorers import load_encoder
from miniature import recognition


def test_every_metric_of_a_complete_model_set_gives_a_value_that_does_not_depend_on_the_batch(
    untrained: Path,
    tmp_path: Path,
) -> None:
    torch.manual_seed(0)
    recognition.write_scaffold(tmp_path)
    for name in ("clip", "siglip"):
        recognition.save_weights(tmp_path, name, recognition.network(name))
    save_probe(tmp_path / "probe", Probe())
    scorers = SimpleNamespace(
        clip=load_encoder(tmp_path / "clip", False),
        siglip=load_encoder(tmp_path / "siglip", False),
        judge=load_judge(untrained / "judge", torch.float32, "cpu"),
        probe=load_probe(tmp_path / "probe"),
    )
    pairs = StylePairs(tuple((pair.image, pair.plain) for pair in load_suite("miniature").pairs[:12]))
    images = (render(sample_scenes(6, seed=1)) * 255).round().byte()
    stated = Attributes(((next(iter(COLOURS)), SHAPES[0]),), background=next(iter(BACKGROUNDS)), style=STYLES[0])

    def values(rows: list[int]) -> dict[str, np.ndarray]:
        n = len(rows)
        batch = Batch(
            images[rows],
            baselines=images[[5 - row for row in rows]],
            references=list(images[rows]),
            prompts=[f"{row} red circles" for row in rows],
            facts=[facts(stated)] * n,
            expects=[stated] * n,
            reference_expects=[stated] * n,
            pairs=pairs,
            scorers=scorers,
        )
        scores = measure(batch, list(all_metrics()))
        assert {score.status for outcomes in scores.values() for score in outcomes} == {"ok"}, scores
        return {name: np.array([score.value for score in found], float) for name, found in scores.items()}

    together, alone = values([0, 1, 2, 3, 4, 5]), [values([row]) for row in range(6)]
    for name, expected in together.items():
        # Whitening enlarges the rounding of embeddings, which differs with the number of rows.
        rounding = 1e-5 if name == "embedding_style_gain" else 1e-6
        found = np.concatenate([one[name] for one in alone])
        np.testing.assert_allclose(found, expected, atol=rounding, err_msg=name)
