"""The hypotheses and open questions, with the claims that decide them.

Sources: the seed document "Qwen3-VL Experiments" (fblissjr/llm-dit-experiments, 2025-12), by its own numbers, and
predictions that follow from the structure of the models.
"""

from dataclasses import dataclass

from blendbench.reports.claims import Apart, Claim, Differs, Measured, NotWorse, SameConditioning, SameImage, Undoes

TRUTH, GRID, STYLE, EFFECT = "attribute_adherence", "grid_severity", "reference_style", "effect_size"


@dataclass(frozen=True)
class Hypothesis:
    """A statement, supported if all its claims are, refuted if one is.

    `limits`: what the miniature or the test cannot say. `if_supported`, `if_refuted`: what follows for a researcher.
    """

    source: str
    statement: str
    claims: tuple[Claim, ...]
    limits: str = ""
    if_supported: str = ""
    if_refuted: str = ""


def _brings_style(experiment: str, candidate: str, baseline: str, elsewhere: str) -> tuple[Differs, Differs]:
    """Nearer to the reference's style than without it or with `elsewhere`.

    `elsewhere` has another image in its place.

    Any disturbance moves a style probe, so the first alone would say nothing.
    """
    return (
        Differs(experiment, STYLE, candidate, baseline, "higher"),
        Differs(experiment, STYLE, candidate, elsewhere, "higher"),
    )


IN_FULL = "At a dose of 1: at a small one the plain mixture hardly shows a style either, and nothing could be decided."
UNMASKED = "outlier_mask_published:alpha=0.3,mode=none"
OWN = "The miniature has no massive activations of its own, so nothing here speaks about dimensions 4 and 396."
PLANTED = (
    "On the miniature with two PLANTED activations, at dimensions 4 and 96 of position 0 of the text: it shows what"
    " such activations would do, not that the real ones do it."
)

SEED_DOCUMENT = (
    Hypothesis(
        "what was known",
        "Image tokens give more of a grid than text tokens",
        (Differs("vl_only_vs_qwen3", GRID, "vision_only", "vision_only:tokens=text", "higher"),),
        "Whether the real transformer generates grids from image tokens is for real weights to show.",
        if_refuted="On these models image tokens do not harm by a grid: read adherence first.",
    ),
    Hypothesis(
        "experiment 1",
        "One outlying dimension is the cause: without it most of the harm of image tokens is undone",
        (Undoes("outlier_masking", TRUTH, "dimension_ablation:alpha=0.3", UNMASKED),),
        OWN,
        if_supported="Ablate it before anything else is tried.",
        if_refuted="Ablating the farthest dimension is not worth more work here.",
    ),
    Hypothesis(
        "experiment 1",
        "All outlying dimensions, on both sides, are the cause: masking them undoes most of the harm",
        (Undoes("outlier_masking", TRUTH, "outlier_mask:alpha=0.3", UNMASKED),),
        OWN,
        if_supported="Mask on both sides before mixing.",
        if_refuted="The harm sits in ordinary dimensions: masking the outlying ones leaves it.",
    ),
    Hypothesis(
        "experiment 1",
        "Ablating a sink's dimension in the image tokens undoes most of their harm",
        (
            Undoes("planted_sink", TRUTH, "dimension_ablation:alpha=0.3,dimension=4", "lerp:alpha=0.3"),
            Undoes("planted_sink", TRUTH, "dimension_ablation:alpha=0.3,dimension=96", "lerp:alpha=0.3"),
        ),
        PLANTED,
        if_refuted="A sink of the text cannot be fixed in the image tokens, which lack it; see prediction 4.",
    ),
    Hypothesis(
        "experiment 2, question 6",
        "Qwen3-VL's text tokens alone keep the prompt as Qwen3's do",
        (
            NotWorse("vl_only_vs_qwen3", TRUTH, "vision_only:tokens=text"),
            NotWorse("vl_only_vs_qwen3", "clip_cosine", "vision_only:tokens=text"),
        ),
        "The miniature's Qwen3-VL was trained on from its Qwen3; how near the real two are, real weights have to show.",
        if_supported="Text could come from Qwen3-VL alone; what an image adds must then come from its image tokens.",
        if_refuted="Qwen3 stays in the pipeline.",
    ),
    Hypothesis(
        "experiment 2",
        "Image tokens alone lose the prompt",
        (Differs("vl_only_vs_qwen3", TRUTH, "vision_only", "text_only", "lower"),),
        if_supported="A dose of 1 reproduces an image; to follow a prompt, text tokens must stay.",
    ),
    Hypothesis(
        "question 1",
        "Text tokens of Qwen3-VL have the text encoder's per-dimension spread, image tokens not",
        (
            Measured("vl_only_vs_qwen3", "spearman", "vl_text", "above", 0.9, reference="same_layer"),
            Measured("vl_only_vs_qwen3", "spearman", "vl_image", "below", 0.75, reference="same_layer"),
        ),
        "By rank and without position 0, because a plain correlation of deviations is decided by two sink dimensions.",
    ),
    Hypothesis(
        "question 1",
        "Text tokens of Qwen3-VL bring artifacts, however well their spread fits",
        (Differs("vl_only_vs_qwen3", GRID, "vision_only:tokens=text", "text_only", "higher"),),
        if_refuted="There are no artifacts to explain here; why the real ones persisted is for real weights to show.",
    ),
    Hypothesis(
        "question 3",
        "Content, not rotary mismatch, makes image tokens do harm: text tokens share the mismatch and do none",
        (
            NotWorse("vl_only_vs_qwen3", TRUTH, "vision_only:tokens=text"),
            Differs("vl_only_vs_qwen3", TRUTH, "vision_only", "vision_only:tokens=text", "lower"),
        ),
        "By elimination: both kinds of token pass through Qwen3-VL's rotary base and sections, which differ from"
        " Qwen3's in the miniature as in the real models. But image tokens alone are spread over rows and columns, so"
        " their positions are not quite the text's.",
        if_supported="Look for a map of content; fixing positions alone would not help.",
    ),
    Hypothesis(
        "question 5",
        "Text tokens of Qwen3-VL carry the reference's style",
        _brings_style(
            "vl_only_vs_qwen3", "vision_only:tokens=text", "text_only", "vision_only:reference=unrelated,tokens=text"
        ),
        "The reference's style is read by the miniature's probe.",
        if_refuted="Text tokens alone are no vision conditioning: they leave the image as the prompt has it.",
    ),
    Hypothesis(
        "experiment 3",
        "Image tokens of an earlier layer are better: they keep the prompt and bring no less style",
        (
            Differs("vl_layer_by_token", TRUTH, "lerp:alpha=0.3,layer=-3", "lerp:alpha=0.3", "higher"),
            NotWorse("vl_layer_by_token", STYLE, "lerp:alpha=0.3,layer=-3", "lerp:alpha=0.3"),
            NotWorse("vl_layer_by_token", STYLE, "vision_only:layer=-3", "vision_only"),
        ),
        "Tokens of an earlier layer are shorter, so the same dose is less image: keeping the prompt alone would show"
        " nothing. The last claim, without any text, is free of that. Six layers are no thirty-six: which is best does"
        " not carry over.",
        if_refuted="An earlier layer that looks cleaner may only be less image: compare layers at equal norms.",
    ),
    Hypothesis(
        "experiment 3",
        "For text tokens the last but one layer, which the transformer was trained on, is the best",
        (
            Differs("vl_layer_by_token", TRUTH, "vision_only:layer=-3,tokens=text", "vision_only:tokens=text", "lower"),
            Differs("vl_layer_by_token", TRUTH, "vision_only:layer=-1,tokens=text", "vision_only:tokens=text", "lower"),
        ),
        if_supported="Take text tokens from the layer of the text encoder, whatever layer image tokens come from.",
    ),
    Hypothesis(
        "experiment 4",
        "Per-dimension normalisation loses style that global normalisation keeps",
        (Differs("normalization", STYLE, "per_dim_lerp:alpha=1", "global_lerp:alpha=1", "lower"),),
        "Of image tokens alone, as the seed ran it.",
    ),
    Hypothesis(
        "experiment 5",
        "A style delta gives the reference's style and keeps the content",
        (
            *_brings_style(
                "style_delta", "style_delta:alpha=1", "text_only", "style_delta:alpha=1,reference=unrelated"
            ),
            NotWorse("style_delta", TRUTH, "style_delta:alpha=1"),
        ),
        if_refuted="A difference of two images holds content too: it is no style alone.",
    ),
    Hypothesis(
        "experiment 6",
        "AdaIN per token changes the image and keeps the content better than a linear mixture",
        (
            Differs("adain", TRUTH, "adain_token:alpha=0.3", "lerp:alpha=0.3", "higher"),
            Apart("adain", EFFECT, "adain_token:alpha=0.3", "above"),
        ),
        "The second claim is there because what does nothing keeps all content.",
        if_refuted="See the claims: content that is kept by changing nothing is no merit.",
    ),
    Hypothesis(
        "experiment 6",
        "AdaIN per token moves the reference's style into the image",
        _brings_style("adain", "adain_token:alpha=1", "text_only", "adain_token:alpha=1,reference=unrelated"),
    ),
    Hypothesis(
        "experiment 6",
        "AdaIN per dimension moves the reference's style into the image",
        _brings_style("adain", "adain_dim:alpha=1", "text_only", "adain_dim:alpha=1,reference=unrelated"),
        f"{IN_FULL} What it does to the prompt there, the page of the experiment says.",
    ),
    Hypothesis(
        "experiment 7",
        "Image tokens mixed into Qwen3-VL's text tokens give style and keep the content",
        (
            *_brings_style("intra_vl", "intra_vl", "vision_only:tokens=text", "intra_vl:reference=unrelated"),
            NotWorse("intra_vl", TRUTH, "intra_vl", "vision_only:tokens=text"),
        ),
        if_refuted="That both kinds of token come from one extraction does not save the content.",
    ),
    Hypothesis(
        "experiment 8",
        "In a mixture, the target deviation matters: it sets the weight of the image",
        (
            Differs(
                "cross_normalization",
                EFFECT,
                "cross_normalised:alpha=0.3,target=50",
                "per_dim_lerp:alpha=0.3",
                "higher",
            ),
        ),
        "The same tokens at the text's own deviation and at the seed document's 50. Between 50 and 70 the miniature has"
        " no difference: its text's deviation is far smaller, so all three are nearly the image alone.",
        if_supported="A target deviation is a dose by another name: report the norms beside alpha.",
    ),
    Hypothesis(
        "experiment 9",
        "A dose that decays over the steps keeps the prompt better than a constant one of its mean",
        (Differs("timestep_alpha", TRUTH, "timestep_alpha:alpha=0.5", "lerp:alpha=0.25", "higher"),),
    ),
    Hypothesis(
        "experiment 9",
        "Early steps set the structure: as much image in the late steps harms the prompt less",
        (
            Differs(
                "timestep_alpha",
                TRUTH,
                "timestep_alpha:alpha=0.5,curve=linear_growth",
                "timestep_alpha:alpha=0.5",
                "higher",
            ),
        ),
    ),
    Hypothesis(
        "experiment 10",
        "With the statistics of one image, the tokens of another bring the first one's style",
        (Differs("multi_reference", STYLE, "style_composition:alpha=1", "multi_reference:alpha=1,weight=1", "higher"),),
        f"{IN_FULL} No metric reads whether the composition is the other image's, so this is half of the seed's"
        " question.",
    ),
    Hypothesis(
        "question 4",
        "A linear map fitted on pairs keeps the prompt better than the plain mixture",
        (Differs("fitted", TRUTH, "ridge_projection:alpha=0.3", "lerp:alpha=0.3", "higher"),),
        "Read it with the next: a map that leaves the image out keeps every prompt.",
    ),
    Hypothesis(
        "question 4",
        "A linear map fitted on pairs brings the reference's style",
        _brings_style(
            "fitted", "ridge_projection:alpha=1", "text_only", "ridge_projection:alpha=1,reference=unrelated"
        ),
        IN_FULL,
        if_refuted="A map trained to give the words of a caption gives words: style needs another target.",
    ),
    Hypothesis(
        "question 7",
        "Artifact metrics see a conditioning that is broken on purpose",
        (Differs("core", GRID, "canary", "text_only", "higher"),),
        if_supported="A grid of this kind would not be missed; the cards say what each metric is blind to.",
        if_refuted="Trust no verdict on artifacts here.",
    ),
)

PREDICTIONS = (
    Hypothesis(
        "prediction 1",
        "Alone, image tokens give one image whatever they are scaled to",
        (
            SameImage("cross_normalization", "cross_normalised:alpha=1,target=50", "cross_normalised:alpha=1"),
            SameImage("cross_normalization", "cross_normalised:alpha=1,target=70", "cross_normalised:alpha=1"),
            SameImage("normalization", "global_lerp:alpha=1", "lerp:alpha=1"),
        ),
        if_supported="The transformer takes any factor off again: a scale matters within a mixture only.",
    ),
    Hypothesis(
        "prediction 2",
        "AdaIN per token does next to nothing, at any dose",
        (
            Apart("adain", EFFECT, "adain_token:alpha=0.3", "below"),
            Apart("adain", EFFECT, "adain_token:alpha=1", "below"),
            NotWorse("adain", TRUTH, "adain_token:alpha=1"),
        ),
        "Without the published cut to the shorter length, which on the miniature takes words off the prompt.",
        if_supported="What the transformer normalises away is no channel for style: it is a negative control.",
    ),
    Hypothesis(
        "prediction 3",
        "The published outlier mask finds no dimension: all its modes give the same conditioning",
        (
            SameConditioning("outlier_masking", "outlier_mask_published:alpha=0.3", UNMASKED),
            SameConditioning("outlier_masking", "outlier_mask_published:alpha=0.3,mode=clamp", UNMASKED),
            SameConditioning("outlier_masking", "outlier_mask_published:alpha=0.3,mode=scale", UNMASKED),
            SameConditioning(
                "outlier_masking",
                "outlier_mask_published:alpha=0.3,layer=-3",
                "outlier_mask_published:alpha=0.3,mode=none,layer=-3",
            ),
        ),
        OWN,
    ),
    Hypothesis(
        "prediction 3",
        "With a sink in the text, the published mask still finds nothing, since image tokens lack it",
        (
            SameConditioning("planted_sink", "outlier_mask_published:alpha=0.3", UNMASKED),
            SameConditioning("planted_sink", "outlier_mask:alpha=0.3,threshold=10", "lerp:alpha=0.3", same=False),
        ),
        PLANTED,
        if_supported="Take the ratio on both sides; a mask that changes no byte has tested nothing.",
    ),
    Hypothesis(
        "prediction 4",
        "Without position 0 no two dimensions hold most of the text's second moment",
        (Measured("vl_only_vs_qwen3", "share_top_2", "text_encoder", "below", 0.5),),
        f"{OWN} It could hardly be otherwise on the miniature; with real weights `blendbench embeddings` shows it.",
    ),
    Hypothesis(
        "prediction 4",
        "A sink in the statistics spoils per-dimension normalisation: without, the prompt is kept better",
        (Differs("planted_sink", TRUTH, "per_dim_lerp:alpha=0.3,sink=drop", "per_dim_lerp:alpha=0.3", "higher"),),
        PLANTED,
        if_supported="Leave position 0 out of the statistics.",
    ),
    Hypothesis(
        "prediction 4",
        "A sink in the statistics spoils AdaIN per dimension: without, the prompt is kept better",
        (Differs("planted_sink", TRUTH, "adain_dim:alpha=0.3,sink=drop", "adain_dim:alpha=0.3", "higher"),),
        PLANTED,
        if_supported="Leave position 0 out of the statistics.",
    ),
    Hypothesis(
        "prediction 5",
        "Image tokens do not depend on the prompt: two extractions equal one",
        (SameImage("intra_vl", "dual_extraction:alpha=0.3", "intra_vl"),),
        if_supported="An image is encoded once, whatever the prompts.",
    ),
    Hypothesis(
        "prediction 6",
        "Two-tap interpolation and area averages give different images",
        (Apart("alignment", EFFECT, "lerp:alpha=0.3,align=interpolate", "above", "lerp:alpha=0.3"),),
        "A miniature image has about as many tokens as a prompt, a real one fifty times as many: the loss of what"
        " interpolation skips does not show here.",
        if_supported="Alignment is part of a strategy: name it beside the result.",
    ),
    Hypothesis(
        "prediction 7",
        "At equal token norms a dose of 0.3 is less image, and keeps the prompt better",
        (
            Differs("normalization", EFFECT, "norm_lerp:alpha=0.3", "global_lerp:alpha=0.3", "lower"),
            Differs("normalization", TRUTH, "norm_lerp:alpha=0.3", "global_lerp:alpha=0.3", "higher"),
        ),
        "It follows from image tokens that are longer than ordinary words after a global factor, as those of"
        " Qwen3-VL-4B were; the miniature has no sink to make that factor large.",
    ),
    Hypothesis(
        "prediction 7",
        "With a sink in the text, a global factor lengthens image tokens and loses the prompt",
        (Differs("planted_sink", TRUTH, "lerp:alpha=0.3", "global_lerp:alpha=0.3", "higher"),),
        PLANTED,
        if_supported="A deviation that one token carries is no scale: match norms, or leave position 0 out.",
    ),
    Hypothesis(
        "prediction 8",
        "The token count alone moves the image: the same words at another length are another image",
        (Apart("alignment", EFFECT, "length_control", "above"),),
        if_supported="Compare strategies at equal token counts, or beside `length_control`.",
    ),
)

# What no experiment here can decide, and why: listed beside the verdicts, so that silence is not taken for an answer.
OPEN = (
    (
        "question 2",
        "Whether dimension 396 is the cause",
        "needs Qwen3-VL-4B's own states: `blendbench run outlier_masking --models z-image-turbo --strategy"
        " dimension_ablation:dimension=396,alpha=0.3` with your weights.",
    ),
    (
        "question 8",
        "Whether saved embeddings help",
        "they are kept (`run --keep-embeddings`, view `embedding_files`); whether they help is nothing to measure.",
    ),
    (
        "prediction 9",
        "Whether 9 steps at shift 1.15 are worse than at 3.0",
        "the miniature is trained at one shift, and is no distilled model.",
    ),
)
