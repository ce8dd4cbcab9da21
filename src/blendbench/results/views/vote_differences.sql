-- A blind vote and a metric: who was preferred (1 left, -1 right, 0 no difference) and left minus right of the metric.
CREATE OR REPLACE VIEW vote_differences AS
SELECT v.experiment, v.question, v.vote_id, v.voter, a.item, a.seed, a.label AS left_label, b.label AS right_label,
    CASE v.choice WHEN 'left' THEN 1 WHEN 'right' THEN -1 ELSE 0 END AS preference,
    m.metric, m.metric_version, m.kind, m.direction, s.value AS left_value, t.value AS right_value,
    s.value - t.value AS difference
FROM votes v
JOIN cells a ON a.experiment = v.experiment AND a.cell_id = v.left_cell
JOIN cells b ON b.experiment = v.experiment AND b.cell_id = v.right_cell
JOIN current_metrics m ON m.experiment = v.experiment
JOIN scores s ON s.cell_id = v.left_cell AND s.metric = m.metric AND s.metric_version = m.metric_version
JOIN scores t ON t.cell_id = v.right_cell AND t.metric = m.metric AND t.metric_version = m.metric_version
WHERE s.status = 'ok' AND t.status = 'ok';
