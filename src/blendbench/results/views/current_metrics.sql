-- The newest version of each metric that an experiment's cells were scored with.
CREATE OR REPLACE VIEW current_metrics AS
SELECT DISTINCT ON (experiment, metric) experiment, metric, metric_version,
    coalesce(m.title, metric) AS title, coalesce(m.kind, 'diagnostic') AS kind,
    coalesce(m.direction, 'none') AS direction, coalesce(m.unit, '') AS unit,
    coalesce(m.margin, 0) AS margin, coalesce(m.decimals, 4) AS decimals
FROM (SELECT DISTINCT experiment, s.metric, s.metric_version FROM current_cells JOIN scores s USING (cell_id))
LEFT JOIN metrics m USING (metric, metric_version)
ORDER BY experiment, metric, metric_version DESC;
