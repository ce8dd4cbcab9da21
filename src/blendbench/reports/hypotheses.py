"""The hypotheses and open questions of the work that blendbench tests, each with the claims that decide it.

Sources: the working document "Qwen3-VL Experiments" (fblissjr/llm-dit-experiments, 2025-12), by its own numbers, and
predictions that follow from the structure of the models.
"""

from dataclasses import dataclass

from blendbench.reports.claims import Claim, Differs, Measured, Negligible, NotWorse, SameConditioning, SamePicture

TRUTH, GRID, STYLE = "attribute_adherence", "grid_severity", "reference_style"


@dataclass(frozen=True)
class Hypothesis:
    """A statement, supported if all its claims are, refuted if one is; `limits`: what the miniature cannot say."""

    source: str
    statement: str
    claims: tuple[Claim, ...]
    limits: str = ""


def _brings_style(experiment: str, candidate: str, baseline: str, elsewhere: str) -> tuple[Differs, Differs]:
    """Nearer to the reference's style than without it, and than with another picture in its place (`elsewhere`).

    Any disturbance moves a style probe, so the first alone would say nothing.
    """
    return (
        Differs(experiment, STYLE, candidate, baseline, "higher"),
        Differs(experiment, STYLE, candidate, elsewhere, "higher"),
    )


PLANTED = "The miniature has no massive activations of its own, so nothing here speaks about dimensions 4 and 396."

SEED = (
    Hypothesis(
        "experiment 1", "One outlying dimension is the cause: without it, image tokens do less harm",
        (
            Differs("outlier_masking", TRUTH, "dimension_ablation:alpha=0.3",
                    "outlier_mask_published:alpha=0.3,mode=none", "higher"),
            Differs("outlier_masking", GRID, "dimension_ablation:alpha=0.3",
                    "outlier_mask_published:alpha=0.3,mode=none", "lower"),
        ), PLANTED,
    ),
    Hypothesis(
        "experiment 1", "Masking every outlying dimension, on both sides, keeps the prompt better than no mask",
        (Differs("outlier_masking", TRUTH, "outlier_mask:alpha=0.3", "outlier_mask_published:alpha=0.3,mode=none",
                 "higher"),), PLANTED,
    ),
    Hypothesis(
        "experiment 2, question 6", "Qwen3-VL's text tokens alone keep the prompt as Qwen3's do",
        (NotWorse("vl_only_vs_qwen3", TRUTH, "vision_only:tokens=text"),
         NotWorse("vl_only_vs_qwen3", "clip_cosine", "vision_only:tokens=text")),
    ),
    Hypothesis(
        "experiment 2", "Image tokens alone lose the prompt",
        (Differs("vl_only_vs_qwen3", TRUTH, "vision_only", "text_only", "lower"),),
    ),
    Hypothesis(
        "question 5", "Text tokens of Qwen3-VL carry the reference's style",
        _brings_style("vl_only_vs_qwen3", "vision_only:tokens=text", "text_only",
                      "vision_only:reference=unrelated,tokens=text"),
        "The reference's style is read by the miniature's probe.",
    ),
    Hypothesis(
        "experiment 3", "For image tokens the layer before the last but one is better than that",
        (Differs("vl_layer_by_token", TRUTH, "lerp:alpha=0.3,layer=-3", "lerp:alpha=0.3", "higher"),),
        "Six layers are no thirty-six: which layer is best does not carry over, that layers differ may.",
    ),
    Hypothesis(
        "experiment 3", "For text tokens the last but one layer, which the transformer was trained on, is the best",
        (Differs("vl_layer_by_token", TRUTH, "vision_only:layer=-3,tokens=text", "vision_only:tokens=text", "lower"),
         Differs("vl_layer_by_token", TRUTH, "vision_only:layer=-1,tokens=text", "vision_only:tokens=text", "lower")),
    ),
    Hypothesis(
        "experiment 4", "Per-dimension normalisation loses style that global normalisation keeps",
        (Differs("normalization", STYLE, "per_dim_lerp:alpha=0.3", "global_lerp:alpha=0.3", "lower"),),
    ),
    Hypothesis(
        "experiment 5", "A style delta gives the reference's style and keeps the content",
        (*_brings_style("style_delta", "style_delta:alpha=1", "text_only", "style_delta:alpha=1,reference=unrelated"),
         NotWorse("style_delta", TRUTH, "style_delta:alpha=1")),
    ),
    Hypothesis(
        "experiment 6", "AdaIN per token keeps the content better than a linear mixture",
        (Differs("adain", TRUTH, "adain_token:alpha=0.3", "lerp:alpha=0.3", "higher"),),
    ),
    Hypothesis(
        "experiment 6", "AdaIN per token moves the reference's style into the picture",
        _brings_style("adain", "adain_token:alpha=1", "text_only", "adain_token:alpha=1,reference=unrelated"),
    ),
    Hypothesis(
        "experiment 6", "AdaIN per dimension moves the reference's style into the picture",
        _brings_style("adain", "adain_dim:alpha=0.3", "text_only", "adain_dim:alpha=0.3,reference=unrelated"),
    ),
    Hypothesis(
        "experiment 7", "Image tokens mixed into Qwen3-VL's text tokens give style and keep the content",
        (*_brings_style("intra_vl", "intra_vl", "vision_only:tokens=text", "intra_vl:reference=unrelated"),
         NotWorse("intra_vl", TRUTH, "intra_vl", "vision_only:tokens=text")),
    ),
    Hypothesis(
        "experiment 8", "In a mixture, the target deviation matters: it sets the share of the picture",
        (Differs("cross_normalization", "effect_size", "cross_normalised:alpha=0.3,target=70",
                 "cross_normalised:alpha=0.3,target=50", "higher"),),
    ),
    Hypothesis(
        "experiment 9", "A share that decays over the steps keeps the prompt better than a constant one of its mean",
        (Differs("timestep_alpha", TRUTH, "timestep_alpha:alpha=0.5", "lerp:alpha=0.25", "higher"),),
    ),
    Hypothesis(
        "experiment 9", "Early steps set the structure: as much picture in the late steps harms the prompt less",
        (Differs("timestep_alpha", TRUTH, "timestep_alpha:alpha=0.5,curve=linear_growth",
                 "timestep_alpha:alpha=0.5", "higher"),),
    ),
    Hypothesis(
        "experiment 10", "With the statistics of one picture, the tokens of another bring the first one's style",
        (Differs("multi_reference", STYLE, "style_composition:alpha=0.3",
                 "multi_reference:alpha=0.3,weight=1", "higher"),),
        "No metric reads whether the composition is the other picture's, so this is half of the seed's question.",
    ),
    Hypothesis(
        "question 4", "A linear map fitted on pairs keeps the prompt better than the plain mixture",
        (Differs("fitted", TRUTH, "ridge_projection:alpha=0.3", "lerp:alpha=0.3", "higher"),),
    ),
    Hypothesis(
        "question 4", "A linear map fitted on pairs brings the reference's style",
        _brings_style("fitted", "ridge_projection:alpha=0.3", "text_only",
                      "ridge_projection:alpha=0.3,reference=unrelated"),
    ),
    Hypothesis(
        "question 7", "Artifact metrics see a conditioning that is broken on purpose",
        (Differs("core", GRID, "canary", "text_only", "higher"),),
    ),
    Hypothesis(
        "question 1", "Text tokens of Qwen3-VL have the text encoder's per-dimension spread, image tokens not",
        (Measured("spearman", "vl_text", "above", 0.9, reference="same_layer"),
         Measured("spearman", "vl_image", "below", 0.75, reference="same_layer")),
    ),
)  # fmt: skip

PREDICTIONS = (
    Hypothesis(
        "prediction 1", "Alone, image tokens give one picture whatever they are scaled to",
        (SamePicture("cross_normalization", "cross_normalised:alpha=1,target=50", "cross_normalised:alpha=1"),
         SamePicture("cross_normalization", "cross_normalised:alpha=1,target=70", "cross_normalised:alpha=1"),
         SamePicture("normalization", "global_lerp:alpha=1", "lerp:alpha=1")),
    ),
    Hypothesis(
        "prediction 2", "AdaIN per token does next to nothing",
        (Negligible("adain", "effect_size", "adain_token:alpha=0.3"), NotWorse("adain", TRUTH, "adain_token:alpha=1")),
    ),
    Hypothesis(
        "prediction 3", "The published outlier mask finds no dimension: all its modes give the same conditioning",
        (SameConditioning("outlier_masking", "outlier_mask_published:alpha=0.3",
                          "outlier_mask_published:alpha=0.3,mode=none"),
         SameConditioning("outlier_masking", "outlier_mask_published:alpha=0.3,mode=clamp",
                          "outlier_mask_published:alpha=0.3,mode=none"),
         SameConditioning("outlier_masking", "outlier_mask_published:alpha=0.3,mode=scale",
                          "outlier_mask_published:alpha=0.3,mode=none"),
         SameConditioning("outlier_masking", "outlier_mask_published:alpha=0.3,layer=-4",
                          "outlier_mask_published:alpha=0.3,mode=none,layer=-4")),
    ),
    Hypothesis(
        "prediction 4", "Without position 0 no two dimensions hold most of the text's second moment",
        (Measured("share_top_2", "text_encoder", "below", 0.5),), PLANTED,
    ),
    Hypothesis(
        "prediction 4", "A sink in the statistics spoils ordinary tokens: without it the prompt is kept better",
        (Differs("planted_sink", TRUTH, "per_dim_lerp:alpha=0.3,sink=drop", "per_dim_lerp:alpha=0.3", "higher"),
         Differs("planted_sink", TRUTH, "adain_dim:alpha=0.3,sink=drop", "adain_dim:alpha=0.3", "higher")),
        "On the miniature with two PLANTED activations.",
    ),
    Hypothesis(
        "prediction 3", "With a sink in the text, the published mask still finds nothing, since image tokens lack it",
        (SameConditioning("planted_sink", "outlier_mask_published:alpha=0.3",
                          "outlier_mask_published:alpha=0.3,mode=none"),
         SameConditioning("planted_sink", "outlier_mask:alpha=0.3,threshold=10", "lerp:alpha=0.3", same=False)),
        "On the miniature with two PLANTED activations.",
    ),
    Hypothesis(
        "experiment 1", "Ablating the two sink dimensions in the image tokens keeps the prompt better",
        (Differs("planted_sink", TRUTH, "dimension_ablation:alpha=0.3,dimension=4", "lerp:alpha=0.3", "higher"),
         Differs("planted_sink", TRUTH, "dimension_ablation:alpha=0.3,dimension=96", "lerp:alpha=0.3", "higher")),
        "On the miniature with two PLANTED activations.",
    ),
    Hypothesis(
        "prediction 5", "Image tokens do not depend on the prompt: two extractions equal one",
        (SamePicture("intra_vl", "dual_extraction:alpha=0.3", "intra_vl"),),
    ),
    Hypothesis(
        "prediction 6", "Two-tap interpolation and area averages are different conditionings",
        (SameConditioning("alignment", "lerp:alpha=0.3,align=interpolate", "lerp:alpha=0.3", same=False),),
        "A miniature picture has about as many tokens as a prompt; the real one has fifty times as many.",
    ),
    Hypothesis(
        "prediction 7", "At equal token norms a share of 0.3 is less picture, and keeps the prompt better",
        (Differs("normalization", "effect_size", "norm_lerp:alpha=0.3", "global_lerp:alpha=0.3", "lower"),
         Differs("normalization", TRUTH, "norm_lerp:alpha=0.3", "global_lerp:alpha=0.3", "higher")),
        "It follows from image tokens that are longer than ordinary words after a global factor; research figures are"
        " of Qwen3-VL-4B.",
    ),
    Hypothesis(
        "prediction 8", "The token count alone moves the picture: the same words at another length are another picture",
        (Differs("alignment", "effect_size", "length_control", "text_only", "higher"),),
    ),
)  # fmt: skip

# What no experiment here can decide, and why; said beside the verdicts, so that silence is not taken for an answer.
OPEN = (
    ("question 2", "Whether dimension 396 is the cause",
     "needs Qwen3-VL-4B's own states: `blendbench run outlier_masking --models z-image-turbo --strategy"
     " dimension_ablation:dimension=396,alpha=0.3` with your weights."),
    ("question 3", "Whether rotary positions or content cause the artifacts",
     "the miniature's two encoders share their rotary base, so the mismatch of Qwen3-VL and Qwen3 is not there."),
    ("question 8", "Whether saved embeddings help",
     "they are kept (`run --keep-embeddings`, view `embedding_files`); that they help is nothing to measure."),
    ("prediction 9", "Whether 9 steps at shift 1.15 are worse than at 3.0",
     "the miniature is trained at one shift, and is no distilled model."),
)  # fmt: skip
