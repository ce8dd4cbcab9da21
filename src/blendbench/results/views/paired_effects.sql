-- Each cell's score minus that of text_only at the same item and seed; both must be ok.
CREATE OR REPLACE VIEW paired_effects AS
SELECT u.experiment, u.label, u.item, u.seed, u.metric, u.metric_version, u.value, b.value AS baseline_value,
    u.value - b.value AS difference
FROM unit_scores u JOIN unit_scores b USING (experiment, item, seed, metric, metric_version)
WHERE b.label = 'text_only' AND u.label <> 'text_only' AND u.status = 'ok' AND b.status = 'ok';
