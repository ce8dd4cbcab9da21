"""Citations that several families of strategies share."""

SEED_DOCUMENT = "fblissjr/llm-dit-experiments, experiments/qwen3_vl (2025-12)"
