-- tables.db: what people query, kept up behind the journal, and the archive of every batch.
-- Times are milliseconds since the Unix epoch, amounts minor units of the lot's currency.

-- One row; see journal/0001_initial.sql.
CREATE TABLE meta (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    data_id  TEXT    NOT NULL,
    shards   INTEGER NOT NULL,
    writes   INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE lots (
    -- Small, so that the rows of `bids` and `events` are: they name their lot by it.
    key         INTEGER PRIMARY KEY,
    id          BLOB    NOT NULL UNIQUE,
    shard       INTEGER NOT NULL,
    created_at  INTEGER NOT NULL,
    status      TEXT    NOT NULL,
    title       TEXT    NOT NULL,
    currency    TEXT    NOT NULL,
    epoch       INTEGER NOT NULL,
    seq         INTEGER NOT NULL,
    price       INTEGER,
    leader      TEXT,
    bid_count   INTEGER NOT NULL,
    minimum_bid INTEGER NOT NULL,
    closes_at   INTEGER,
    -- All of the lot, encoded.
    view        BLOB    NOT NULL
) STRICT;
CREATE INDEX lots_in_order ON lots (created_at, id);
CREATE INDEX lots_by_status ON lots (status, created_at, id);

-- Accepted bids. `place` is the lot's key * 2^32 + seq: one integer as the key keeps inserts fast.
CREATE TABLE bids (
    place       INTEGER PRIMARY KEY,
    lot         INTEGER GENERATED ALWAYS AS (place >> 32) VIRTUAL,
    seq         INTEGER GENERATED ALWAYS AS (place & 4294967295) VIRTUAL,
    epoch       INTEGER NOT NULL,
    at          INTEGER NOT NULL,
    bidder      TEXT    NOT NULL,
    -- A 32-bit digest of `bidder`, so that the index stays a third of the size.
    finger      INTEGER NOT NULL,
    bid_id      BLOB    NOT NULL,
    amount      INTEGER NOT NULL,
    max         INTEGER NOT NULL,
    price       INTEGER NOT NULL,
    -- Who leads after it; null: its bidder.
    leader      TEXT,
    bid_count   INTEGER NOT NULL,
    minimum_bid INTEGER NOT NULL,
    -- 0 or 1; null: there is no reserve.
    reserve_met INTEGER,
    deadline    INTEGER,
    closes_at   INTEGER
) STRICT;
-- Finds a bidder's bids on a lot, the one with the highest maximum first.
CREATE INDEX bids_by_bidder ON bids (lot, finger, max);

-- All other events of a lot, encoded. `place` as in `bids`.
CREATE TABLE events (
    place  INTEGER PRIMARY KEY,
    lot    INTEGER GENERATED ALWAYS AS (place >> 32) VIRTUAL,
    seq    INTEGER GENERATED ALWAYS AS (place & 4294967295) VIRTUAL,
    epoch  INTEGER NOT NULL,
    at     INTEGER NOT NULL,
    kind   TEXT    NOT NULL,
    record BLOB    NOT NULL
) STRICT;

-- Every batch that was ever projected, as it was journaled.
CREATE TABLE archive (
    place    INTEGER PRIMARY KEY,
    shard    INTEGER NOT NULL,
    epoch    INTEGER NOT NULL,
    number   INTEGER NOT NULL,
    previous BLOB    NOT NULL,
    hash     BLOB    NOT NULL,
    bytes    BLOB    NOT NULL
) STRICT;
CREATE UNIQUE INDEX archive_in_order ON archive (shard, epoch, number);

-- How far each shard is projected; moved by compare-and-set in the transaction of the rows.
CREATE TABLE cursors (
    shard  INTEGER PRIMARY KEY,
    epoch  INTEGER NOT NULL,
    number INTEGER NOT NULL,
    hash   BLOB    NOT NULL
) STRICT;
