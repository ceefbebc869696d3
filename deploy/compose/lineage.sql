-- The lineage store, in the server that Temporal has too. Tables are made by whoever comes first.
CREATE DATABASE throughline;
