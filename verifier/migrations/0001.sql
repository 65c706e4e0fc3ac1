-- The verifier's store. Times are seconds since 1970 in UTC; identities, keys and digests are raw bytes.

-- One row: the tree as it stands. It moves by compare-and-swap, in the transaction that adds the leaves.
CREATE TABLE ledger (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    origin TEXT NOT NULL,
    size INTEGER NOT NULL,
    root BLOB NOT NULL
) STRICT;

-- One row per leaf, with the body that the leaf's salted digest stands for. A body may be deleted when its time is over; the
-- leaf and its digest stay.
CREATE TABLE entry (
    leaf INTEGER PRIMARY KEY,
    kind INTEGER NOT NULL,
    salt BLOB NOT NULL,
    digest BLOB NOT NULL,
    at INTEGER NOT NULL,
    node BLOB,
    chain BLOB,
    sequence INTEGER,
    -- How a report stood to what was held: 0 first, 1 follows, 2 late, 3 + n after a gap of n.
    continuity INTEGER,
    -- How the round of hardware evidence stands that a report carries (its code), and the challenge that it answers.
    round INTEGER,
    challenge BLOB,
    -- When its node was given the challenge that a report answers: the one of its round, where it carries one.
    given INTEGER,
    body BLOB
) STRICT;
-- kind 0 is a report: one statement for each place in a chain. It is the only index over all reports: a second one, by node and leaf,
-- would rewrite another page for each report of each node. What is asked by node and leaf is found over `tail`, which stays small.
CREATE UNIQUE INDEX entry_place ON entry (node, chain, sequence) WHERE kind = 0;
CREATE INDEX entry_kind ON entry (kind, leaf) WHERE kind <> 0;
-- By whose it is and what it says: a fork that is offered again is known by it, and a finding is found.
CREATE INDEX entry_digest ON entry (kind, node, digest) WHERE kind <> 0;

-- Reports that carry a round are few: an ordinary one writes nothing here.
CREATE INDEX entry_round ON entry (node, challenge, round) WHERE round IS NOT NULL;

-- Hashes of the tree in tiles of 256, at levels 0, 8, 16, … (C2SP tlog-tiles). The last tile of a level may be partial.
CREATE TABLE tile (
    level INTEGER NOT NULL,
    place INTEGER NOT NULL,
    hashes BLOB NOT NULL,
    PRIMARY KEY (level, place)
) STRICT, WITHOUT ROWID;

CREATE TABLE node (
    id BLOB PRIMARY KEY,
    site TEXT NOT NULL,
    state INTEGER NOT NULL,
    key BLOB NOT NULL UNIQUE,
    key_protection INTEGER NOT NULL,
    token BLOB NOT NULL,
    predecessor BLOB,
    serials TEXT NOT NULL,
    enrolled_at INTEGER NOT NULL,
    approved_at INTEGER,
    revoked_at INTEGER,
    revoked_from INTEGER,
    renewed_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX node_site ON node (site);

CREATE TABLE token (
    digest BLOB PRIMARY KEY,
    site TEXT NOT NULL,
    count INTEGER NOT NULL,
    used INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    serials TEXT NOT NULL,
    approve INTEGER NOT NULL,
    made_at INTEGER NOT NULL,
    revoked_at INTEGER
) STRICT, WITHOUT ROWID;

-- Refusals to enrolled nodes: the first of a code is a leaf, repeats are counted here.
CREATE TABLE refusal (
    node BLOB NOT NULL,
    code INTEGER NOT NULL,
    count INTEGER NOT NULL,
    first_at INTEGER NOT NULL,
    last_at INTEGER NOT NULL,
    PRIMARY KEY (node, code)
) STRICT, WITHOUT ROWID;

-- What a node's reports add up to, up to and including leaf `upto`; `before` is the node's report before that one. It can always be made
-- again from the entries. Rows stand in the order in which nodes first came to an hour of reports, which is how they come again, and a
-- new one moves no other.
CREATE TABLE facts (
    node BLOB PRIMARY KEY NOT NULL,
    upto INTEGER NOT NULL,
    before INTEGER,
    body BLOB NOT NULL
) STRICT;

-- What a node's rounds of hardware evidence come to, up to and including the round of leaf `upto`. `open` is the leaf of the newest round
-- where a manifest or an OCSP reply that was not held may still change what it comes to. It can be made again from the entries.
CREATE TABLE evidence (
    node BLOB PRIMARY KEY,
    upto INTEGER NOT NULL,
    open INTEGER,
    body BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- The sums of a node's day, written together with its facts. Rows stand in the order in which days begin, so that those of one day lie
-- together, and the index over them holds no body and is searched in few steps.
CREATE TABLE day (
    node BLOB NOT NULL,
    day INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (node, day)
) STRICT;

-- What a node's closed days come to from its first one on, up to and including each: any period is the difference of two rows. A day is closed
-- when the node begins a later one, so that its last day, which changes with every hour of reports, writes nothing here. Can be made again
-- from `day`, and is, from the day on for which a report comes late. Rows stand as those of `day` do: a question about all nodes reads the rows of two
-- days.
CREATE TABLE run (
    node BLOB NOT NULL,
    day INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (node, day)
) STRICT;

-- How each condition of each site stood when that last changed. The finding itself is the body of the leaf with this digest.
CREATE TABLE finding (
    site TEXT NOT NULL,
    licence TEXT NOT NULL,
    condition TEXT NOT NULL,
    outcome INTEGER NOT NULL,
    gist BLOB NOT NULL,
    digest BLOB NOT NULL,
    since INTEGER NOT NULL,
    PRIMARY KEY (site, licence, condition)
) STRICT, WITHOUT ROWID;

-- Where the reports of each node begin that came after its sums in `facts`, so that nobody searches its whole past for them. A report that
-- extends a chain with a row here is found over `entry_place`, so an ordinary one writes no page of this table, which is another one for
-- each node. One that came late stands here for itself, without a chain. Kept in the transaction that adds a report or writes the sums,
-- and by no trigger: with one, SQLite copies each page of a statement aside before it changes it.
CREATE TABLE tail (
    node BLOB NOT NULL,
    leaf INTEGER NOT NULL,
    chain BLOB,
    sequence INTEGER,
    PRIMARY KEY (node, leaf)
) STRICT, WITHOUT ROWID;

-- Acts that an administrator's command has queued for the one writer of the ledger.
CREATE TABLE pending_act (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    body BLOB NOT NULL,
    outcome TEXT
) STRICT;
