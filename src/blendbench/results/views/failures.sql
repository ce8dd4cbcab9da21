-- Everything that has no value because something went wrong.
CREATE OR REPLACE VIEW failures AS
SELECT experiment, label, item, seed, cell_id, NULL AS metric, error FROM cells WHERE status = 'failed'
UNION ALL
SELECT c.experiment, c.label, c.item, c.seed, c.cell_id, s.metric, s.error
FROM cells c JOIN scores s USING (cell_id) WHERE s.status = 'failed';
