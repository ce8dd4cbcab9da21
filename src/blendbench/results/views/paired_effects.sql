-- Each cell's score minus that of text_only at the same item and seed; both must be ok.
CREATE OR REPLACE VIEW paired_effects AS
SELECT *, value - baseline_value AS difference FROM paired_scores;
