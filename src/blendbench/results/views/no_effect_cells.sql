-- Cells whose conditioning is bit for bit that of text_only: the strategy did nothing there.
CREATE OR REPLACE VIEW no_effect_cells AS
SELECT c.experiment, c.label, c.item, c.seed, c.cell_id, c.conditioning_sha256
FROM current_cells c JOIN current_cells b USING (experiment, item, seed, conditioning_sha256)
WHERE b.label = 'text_only' AND c.label <> 'text_only';
