-- From a cell to the files of what it was made from, for cells that were run with --keep-embeddings.
CREATE OR REPLACE VIEW embedding_files AS
SELECT c.experiment, c.label, c.item, c.seed, c.cell_id, e.stage, e.layer, e.image_sha256, e.prompt, e.sha256,
    'embeddings/' || e.sha256 || '.safetensors' AS path
FROM cells c JOIN cell_embeddings e USING (cell_id);
