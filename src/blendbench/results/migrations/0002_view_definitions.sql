-- Views are made anew when the files in views/ change, also if no shard did.
CREATE TABLE view_definitions (sha256 VARCHAR NOT NULL);
