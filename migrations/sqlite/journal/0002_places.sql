-- The server holds in memory which row is whose, and compares before it appends: it reads the whole
-- file at its start, and nobody else writes to it. So an append writes the table's last page and
-- nothing else, however many shards are in it; the index cost a page a shard.
DROP TRIGGER batches_follow;
DROP INDEX batches_in_order;

-- Where somebody else does write to it after all (the lock's file was removed by hand), the place
-- that comes next is another one than the server believes: it must look again before it goes on.
CREATE TRIGGER batches_at_the_end BEFORE INSERT ON batches
WHEN NEW.place <> (SELECT coalesce(max(place), 0) + 1 FROM batches)
BEGIN
    SELECT raise(ABORT, 'the place is not the next one');
END;

-- What is forgotten of a shard, up to and including this batch: its rows do not count, and go once
-- all the rows that lie around them may go.
CREATE TABLE trimmed (
    shard  INTEGER PRIMARY KEY,
    epoch  INTEGER NOT NULL,
    number INTEGER NOT NULL
) STRICT;
