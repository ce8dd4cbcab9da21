-- The dimensions whose spread is furthest from the reference's, either way: `lacks` is what a one-sided test misses.
CREATE OR REPLACE VIEW embedding_outliers AS
SELECT model_set, suite, layer, tokens, position_0, reference, rank, dimension, ratio,
    greatest(ratio, 1 / ratio) AS factor, CASE WHEN ratio < 1 THEN 'lacks' ELSE 'exceeds' END AS side,
    std, reference_std, mean, reference_mean, share, reference_share, analysis_id
FROM embedding_dimensions JOIN current_embedding_analyses USING (analysis_id)
WHERE reference <> '';
