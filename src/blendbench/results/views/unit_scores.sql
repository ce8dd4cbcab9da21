-- Long table: one row per expected configuration, item, seed and metric; status says why a value is NULL.
CREATE OR REPLACE VIEW unit_scores AS
SELECT e.experiment, e.label, e.item, e.seed, m.metric, m.metric_version, c.cell_id, s.value,
    CASE WHEN c.cell_id IS NULL THEN 'missing' WHEN c.status = 'failed' THEN 'failed'
        ELSE coalesce(CAST(s.status AS VARCHAR), 'missing') END AS status,
    coalesce(c.error, s.error) AS error
FROM expected_cells e
JOIN current_metrics m USING (experiment)
LEFT JOIN current_cells c USING (experiment, label, item, seed)
LEFT JOIN scores s ON s.cell_id = c.cell_id AND s.metric = m.metric AND s.metric_version = m.metric_version;
