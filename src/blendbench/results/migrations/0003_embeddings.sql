-- One analysis of hidden states by `blendbench embeddings`.
CREATE TABLE embedding_analyses (
    analysis_id VARCHAR PRIMARY KEY,
    started_at VARCHAR NOT NULL,
    blendbench_version VARCHAR NOT NULL,
    git_commit VARCHAR,
    model_set VARCHAR NOT NULL,
    model_set_sha256 VARCHAR NOT NULL,
    suite VARCHAR NOT NULL,
    suite_sha256 VARCHAR NOT NULL,
    items JSON NOT NULL,
    layers JSON NOT NULL,
    text_layer INTEGER NOT NULL,
    dim INTEGER NOT NULL,
    device VARCHAR NOT NULL,
    dtype VARCHAR NOT NULL,
    environment JSON NOT NULL
);

-- A statistic of one kind of token at one layer ([embeddings.md](embeddings.md)).
CREATE TABLE embedding_values (
    analysis_id VARCHAR NOT NULL,
    layer INTEGER NOT NULL,
    tokens VARCHAR NOT NULL,
    position_0 BOOLEAN NOT NULL,
    reference VARCHAR NOT NULL, -- '' for the tokens by themselves, else the layer of the text encoder compared with
    statistic VARCHAR NOT NULL,
    value DOUBLE CHECK (isfinite(value)),
    low DOUBLE CHECK (isfinite(low)), -- low..high is a 95 % interval over items
    high DOUBLE CHECK (isfinite(high)),
    PRIMARY KEY (analysis_id, layer, tokens, position_0, reference, statistic)
);

-- The most outlying dimensions against a reference; with reference '' those with the largest second moments.
CREATE TABLE embedding_dimensions (
    analysis_id VARCHAR NOT NULL,
    layer INTEGER NOT NULL,
    tokens VARCHAR NOT NULL,
    position_0 BOOLEAN NOT NULL,
    reference VARCHAR NOT NULL,
    rank INTEGER NOT NULL,
    dimension INTEGER NOT NULL,
    mean DOUBLE NOT NULL CHECK (isfinite(mean)),
    std DOUBLE NOT NULL CHECK (isfinite(std)),
    share DOUBLE NOT NULL CHECK (isfinite(share)),
    reference_mean DOUBLE CHECK (isfinite(reference_mean)),
    reference_std DOUBLE CHECK (isfinite(reference_std)),
    reference_share DOUBLE CHECK (isfinite(reference_share)),
    ratio DOUBLE CHECK (isfinite(ratio)),
    PRIMARY KEY (analysis_id, layer, tokens, position_0, reference, dimension)
);

-- A file of embeddings that a cell was made from (`run --keep-embeddings`): `embeddings/<sha256>.safetensors`.
CREATE TABLE cell_embeddings (
    cell_id VARCHAR NOT NULL,
    stage VARCHAR NOT NULL,
    sha256 VARCHAR NOT NULL,
    layer INTEGER,
    image_sha256 VARCHAR,
    prompt VARCHAR,
    PRIMARY KEY (cell_id, stage, sha256)
);
