-- Which files of embeddings was a cell made from (after `blendbench run --keep-embeddings`)?
SELECT item, seed, stage, layer, path FROM embedding_files WHERE experiment = 'core' ORDER BY item, seed, stage
