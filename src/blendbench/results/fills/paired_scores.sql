-- Run at the end of every ingestion: each current score beside that of text_only at the same item and seed, both ok.
INSERT INTO paired_scores
WITH current AS MATERIALIZED (SELECT experiment, label, item, seed, cell_id FROM current_cells)
SELECT c.experiment, c.label, c.item, c.seed, s.metric, s.metric_version, s.value, t.value AS baseline_value
FROM scores s
JOIN current c USING (cell_id)
JOIN current_metrics m USING (experiment, metric, metric_version)
JOIN current b USING (experiment, item, seed)
JOIN scores t ON t.cell_id = b.cell_id AND t.metric = s.metric AND t.metric_version = s.metric_version
WHERE b.label = 'text_only' AND c.label <> 'text_only' AND s.status = 'ok' AND t.status = 'ok';
