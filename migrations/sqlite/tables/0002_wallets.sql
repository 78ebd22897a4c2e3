-- Balances and the ledger they are the sums of. Holds are not here: they are live state, in the
-- journal and its snapshots.

-- Append-only: one line a change of a balance.
CREATE TABLE ledger (
    line      INTEGER PRIMARY KEY,
    bidder    TEXT    NOT NULL,
    -- The event's number in the wallet; events that change no balance have none here.
    seq       INTEGER NOT NULL,
    epoch     INTEGER NOT NULL,
    at        INTEGER NOT NULL,
    currency  TEXT    NOT NULL,
    -- grant, deduction, capture, decay, cap
    kind      TEXT    NOT NULL,
    amount    INTEGER NOT NULL,
    -- After it.
    balance   INTEGER NOT NULL,
    -- The lot that was won, and the bid that won it.
    lot       BLOB,
    bid_id    BLOB,
    reason    TEXT    NOT NULL,
    -- Who did it.
    actor     TEXT    NOT NULL,
    operation BLOB    NOT NULL,
    digest    BLOB    NOT NULL
) STRICT;
CREATE UNIQUE INDEX ledger_in_order ON ledger (bidder, seq);

CREATE TRIGGER ledger_is_never_changed BEFORE UPDATE ON ledger BEGIN SELECT raise(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER ledger_is_never_shortened BEFORE DELETE ON ledger BEGIN SELECT raise(ABORT, 'the ledger is append-only'); END;

CREATE TABLE wallets (
    bidder   TEXT    NOT NULL,
    currency TEXT    NOT NULL,
    balance  INTEGER NOT NULL,
    -- Of the line that made it.
    seq      INTEGER NOT NULL,
    PRIMARY KEY (bidder, currency)
) STRICT, WITHOUT ROWID;
