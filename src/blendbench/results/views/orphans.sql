-- Rows that refer to nothing: what foreign keys would refuse. Empty unless shards were deleted or edited.
CREATE OR REPLACE VIEW orphans AS
SELECT 'scores' AS table_name, s.cell_id AS id, 'no such cell' AS lacks FROM scores s ANTI JOIN cells USING (cell_id)
UNION ALL
SELECT 'scores', s.cell_id, 'no card of ' || s.metric FROM scores s ANTI JOIN metrics USING (metric, metric_version)
UNION ALL
SELECT 'cells', c.cell_id, 'no such run' FROM cells c ANTI JOIN runs USING (run_id)
UNION ALL
SELECT 'cells', c.cell_id, 'no such item' FROM cells c ANTI JOIN items USING (suite_sha256, item)
UNION ALL
SELECT 'votes', v.vote_id, 'no such cell' FROM votes v
ANTI JOIN cells c ON c.experiment = v.experiment AND c.cell_id = v.left_cell
UNION ALL
SELECT 'votes', v.vote_id, 'no such cell' FROM votes v
ANTI JOIN cells c ON c.experiment = v.experiment AND c.cell_id = v.right_cell;
