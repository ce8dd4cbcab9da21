-- The latest analysis of each model set on each suite.
CREATE OR REPLACE VIEW current_embedding_analyses AS
SELECT DISTINCT ON (model_set, suite) *
FROM embedding_analyses ORDER BY model_set, suite, started_at DESC, analysis_id DESC;
