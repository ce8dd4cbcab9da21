CREATE TYPE vote_choice AS ENUM ('left', 'right', 'equal');

-- One blind vote between two images of an item and seed, taken in by `blendbench gallery --votes`.
CREATE TABLE votes (
    vote_id VARCHAR PRIMARY KEY,
    experiment VARCHAR NOT NULL,
    question VARCHAR NOT NULL, -- a kind of metric: adherence, artifact or reference
    voter VARCHAR NOT NULL,
    left_cell VARCHAR NOT NULL,
    right_cell VARCHAR NOT NULL,
    choice vote_choice NOT NULL,
    seconds DOUBLE NOT NULL CHECK (isfinite(seconds)),
    voted_at VARCHAR NOT NULL
);
