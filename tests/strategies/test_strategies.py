"""What every registered strategy must do, at its defaults."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from known_tokens import DIM, image, rows, sources, words

from blendbench.core.tokens import Kind, Pair, Tokens, select
from blendbench.registry.strategies import Sources, all_strategies, get_strategy, parse_configuration

ALL = sorted(all_strategies())
WITH_DOSE = [name for name in ALL if get_strategy(name).doses and "strength" not in get_strategy(name).doses]


def as_selected(name: str, given: Sources) -> Sources:
    """Give the vision tokens the kinds that a strategy reads by default."""
    mode = get_strategy(name).parameters.get("tokens")
    if mode is None or mode.default == "image_no_markers" or given.vision is None:
        return given
    kinds = torch.tensor([int(Kind.IMAGE)] * len(given.vision) + [int(Kind.TEXT)] * len(given.text))
    turn = Tokens(torch.cat((given.vision.hidden, given.text.hidden)), kinds)
    return replace(given, vision=select(turn, mode.default))  # type: ignore[arg-type]


def of_lengths(text: int, vision: int) -> Sources:
    images = [image(rows(vision, seed)) for seed in (2, 3, 4, 5)]
    prompt = words(rows(text, 1))
    return replace(sources(), text=prompt, vision=images[0], neutral=images[1], other=images[2], wordless=images[3])


@pytest.mark.parametrize("name", ALL)
def test_every_strategy_gives_rows_for_sequences_of_any_length(name: str) -> None:
    for text, vision in ((11, 16), (16, 11), (1, 1)):
        made = get_strategy(name).bind().blend(as_selected(name, of_lengths(text, vision)))
        assert made.rows.shape[1] == DIM


@pytest.mark.parametrize("name", WITH_DOSE)
def test_dose_zero_is_the_text_bit_for_bit(name: str) -> None:
    strategy = get_strategy(name)
    assert strategy.dose == strategy.doses[0]
    zero = dict.fromkeys(strategy.doses, 0)
    cuts = {"align": "truncate"} if "align" in strategy.parameters else {}
    for text, vision in ((7, 7), (11, 5)):
        given = of_lengths(text, vision)
        made = strategy.bind(**zero, **cuts).blend(given)
        assert torch.equal(made.rows, given.text.hidden)
        assert len(made.steps) == 1 and made.injected is None
        some = {"count": 4} if name == "surgical_lerp" else {}  # by default all of so few dimensions are kept
        assert strategy.bind(**some).blend(given).sha256() != made.sha256()


@pytest.mark.parametrize("name", ALL)
def test_constant_tokens_do_not_divide_by_zero(name: str) -> None:
    level = 13504.3  # the largest activation known of the real encoder

    def constant(kind: Kind) -> Tokens:
        return Tokens(torch.full((7, DIM), level), torch.full((7,), int(kind)))

    text, shown = constant(Kind.TEXT), constant(Kind.IMAGE)
    pairs = (Pair(text, shown, shown), Pair(text, shown, shown))
    given = Sources(text, shown, shown, shown, shown, (text, text), pairs, sources().denoising)
    result = get_strategy(name).bind().blend(as_selected(name, given)).rows
    assert result.abs().max() <= level * 1.51  # a gain of 0.5 on top at most


@pytest.mark.parametrize("name", ALL)
def test_a_label_reads_back_as_its_configuration(name: str) -> None:
    strategy = get_strategy(name)
    assert strategy.source and strategy.equation and strategy.doc
    choices: list[dict[str, Any]] = [{p.name: option} for p in strategy.parameters.values() for option in p.options]
    alphas = [{"alpha": alpha} for alpha in (0, 1, 1 / 3) if "alpha" in strategy.parameters]
    for values in [{}, *choices, *alphas]:
        bound = strategy.bind(**values)
        assert parse_configuration(bound.label).key() == bound.key()


@pytest.mark.parametrize("name", ALL)
def test_a_grid_of_doses_has_several_that_can_be_bound(name: str) -> None:
    strategy = get_strategy(name)
    labels = {strategy.bind(**{str(strategy.dose): dose}).label for dose in strategy.dose_grid}
    assert len(labels) == len(strategy.dose_grid)
    assert (len(labels) >= 3) == (strategy.dose is not None)


def test_doses_are_those_that_dose_the_image() -> None:
    doses = {name: get_strategy(name).dose for name in ALL}
    without = {name for name, dose in doses.items() if dose is None}
    fixed = "canary dual_extraction intra_vl length_control row_count style_token text_only vision_only"
    assert without == set(fixed.split())
    others = {name: dose for name, dose in doses.items() if dose not in (None, "alpha")}
    assert others == {
        "concatenate": "share",
        "graduated_alpha": "end",
        "img2img": "strength",
        "multi_concatenate": "share",
    }
