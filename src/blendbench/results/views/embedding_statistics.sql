-- Long table: layer x kind of token x with or without position 0 x reference x statistic, of the latest analyses.
-- low..high is a 95 % interval over items where there is one.
CREATE OR REPLACE VIEW embedding_statistics AS
SELECT model_set, suite, layer, tokens, position_0, reference, statistic, value, low, high, analysis_id
FROM embedding_values JOIN current_embedding_analyses USING (analysis_id);
