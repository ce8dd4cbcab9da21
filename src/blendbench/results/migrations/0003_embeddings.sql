-- What `blendbench embeddings` measures, and which files of embeddings a cell was made from (`run --keep-embeddings`).
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

-- `reference` is '' for what tokens are by themselves, else which layer of the text encoder they are compared with.
CREATE TABLE embedding_values (
    analysis_id VARCHAR NOT NULL,
    layer INTEGER NOT NULL,
    tokens VARCHAR NOT NULL,
    position_0 BOOLEAN NOT NULL,
    reference VARCHAR NOT NULL,
    statistic VARCHAR NOT NULL,
    value DOUBLE CHECK (isfinite(value)),
    low DOUBLE CHECK (isfinite(low)),
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

-- The file is embeddings/<sha256>.safetensors; what a stage has none of (layer, picture, prompt) is NULL.
CREATE TABLE cell_embeddings (
    cell_id VARCHAR NOT NULL,
    stage VARCHAR NOT NULL,
    sha256 VARCHAR NOT NULL,
    layer INTEGER,
    picture_sha256 VARCHAR,
    prompt VARCHAR,
    PRIMARY KEY (cell_id, stage, sha256)
);
