//! What the verifier keeps, behind one trait.
//!
//! Decides: what is durable together. A [`Batch`] is applied whole or not at all, and when [`Store::commit`] returns, it outlives a
//! power cut. Trusts the disk to keep what it said it kept; the tree over the entries shows where it did not. SQLite serves one
//! machine; another database can stand behind the same trait.

mod sqlite;

pub use sqlite::SqliteStore;

use std::future::Future;
use std::pin::Pin;
use weighbridge::appraisal::evidence::RoundStanding;
use weighbridge::appraisal::{NodeDay, NodeRun};
use weighbridge::conditions::Outcome;
use weighbridge::crypto::PublicKey;
use weighbridge::id::{ChainId, Challenge, Digest, NodeId};
use weighbridge::ledger::LeafKind;
use weighbridge::protocol::{EnrolmentState, RefusalCode};
use weighbridge::report::{Continuity, KeyProtection};
use weighbridge::time::UnixSeconds;

/// A future that a [`Store`] returns.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The database failed.
    #[error("the database could not {what}")]
    Database {
        /// What was tried.
        what: &'static str,
        /// Why not.
        #[source]
        source: sqlx::Error,
    },
    /// A row holds what this program never writes.
    #[error("the database holds a damaged {what}; restore it from a backup")]
    Damaged {
        /// Which row and column.
        what: &'static str,
    },
    /// Someone else has moved the ledger.
    #[error(
        "the ledger moved under this process: another verifier writes to the same database; stop one of them"
    )]
    Moved,
    /// Whoever queued an act took it back before it was recorded.
    #[error("the command was taken back before it was carried out")]
    Withdrawn,
    /// The database is of another version of this program.
    #[error("the database has schema {found}, this program reads {expected}; use the version that made it")]
    Schema {
        /// The version found.
        found: i64,
        /// The version expected.
        expected: i64,
    },
    /// What was read changed each time that it was read.
    #[error("{what} changed each time that they were read; try again")]
    Busy {
        /// What.
        what: &'static str,
    },
    /// A number does not fit the database.
    #[error("{what} is larger than the database can hold")]
    Range {
        /// Which number.
        what: &'static str,
    },
}

/// The tree as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerRow {
    /// The ledger's name.
    pub origin: String,
    /// Leaves.
    pub size: u64,
    /// Root over them.
    pub root: Digest,
}

/// A round of hardware evidence, as it was judged when the report came that carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JudgedRound {
    /// How it stands.
    pub standing: RoundStanding,
    /// The challenge that it answers.
    pub challenge: Challenge,
}

/// A leaf to be written, with its body.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its index in the tree.
    pub leaf: u64,
    /// Its kind.
    pub kind: LeafKind,
    /// Salt of the leaf.
    pub salt: [u8; 16],
    /// Digest of the body, as the leaf takes it.
    pub digest: Digest,
    /// When it was received.
    pub at: UnixSeconds,
    /// The node that it is of, if any.
    pub node: Option<NodeId>,
    /// Place in the node's chain, for a report or the proof of a fork.
    pub place: Option<(ChainId, u64)>,
    /// How a report stood to what was held.
    pub continuity: Option<Continuity>,
    /// How the round stands that a report carries, if it carries one.
    pub round: Option<JudgedRound>,
    /// When its node was given the challenge that a report answers: the one of its round, where it carries one.
    pub given: Option<UnixSeconds>,
    /// The body.
    pub body: Vec<u8>,
}

/// A tile to be written, whole or partial.
#[derive(Clone, Debug)]
pub struct TileRow {
    /// Tile level: level of its hashes in the tree, divided by eight.
    pub level: u32,
    /// Index on that level.
    pub place: u64,
    /// Its hashes, 32 bytes each.
    pub hashes: Vec<u8>,
}

/// A node as enrolled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRow {
    /// Its identity.
    pub id: NodeId,
    /// The site that its token named.
    pub site: String,
    /// How far its enrolment has come.
    pub state: EnrolmentState,
    /// The key that signs its reports, pinned.
    pub key: PublicKey,
    /// What it said holds that key.
    pub key_protection: KeyProtection,
    /// Digest of the token's secret that admitted it.
    pub token: Digest,
    /// The node that it was before a reimage or repair.
    pub predecessor: Option<NodeId>,
    /// Serial numbers of its accelerators, as it said at enrolment.
    pub serials: Vec<String>,
    /// When it was enrolled.
    pub enrolled_at: UnixSeconds,
    /// When it was approved.
    pub approved_at: Option<UnixSeconds>,
    /// When it was revoked.
    pub revoked_at: Option<UnixSeconds>,
    /// From when its reports no longer count.
    pub revoked_from: Option<UnixSeconds>,
    /// The time that its last renewal request named.
    pub renewed_at: Option<UnixSeconds>,
}

/// An enrolment token, of whose secret only the digest is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRow {
    /// SHA-256 of the secret.
    pub digest: Digest,
    /// The site that it admits to.
    pub site: String,
    /// How many nodes it admits.
    pub count: u32,
    /// How many it has admitted.
    pub used: u32,
    /// Until when.
    pub expires: UnixSeconds,
    /// Serial numbers of accelerators that it admits; empty admits any.
    pub serials: Vec<String>,
    /// Whether nodes that it admits are approved at once.
    pub approve: bool,
    /// When it was made.
    pub made_at: UnixSeconds,
    /// When it was revoked.
    pub revoked_at: Option<UnixSeconds>,
}

/// The name of a token, of whose secret only the digest is kept: its first sixteen digits.
#[must_use]
pub fn token_id(digest: &Digest) -> String {
    digest.to_string().chars().take(16).collect()
}

/// Refusals to an enrolled node with one code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusalRow {
    /// The node.
    pub node: NodeId,
    /// The code.
    pub code: RefusalCode,
    /// How often, at least: repeats are written now and then.
    pub count: u64,
    /// The first time.
    pub first_at: UnixSeconds,
    /// The last time that was written.
    pub last_at: UnixSeconds,
}

/// What a node has delivered, in short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliveredRow {
    /// The node.
    pub node: NodeId,
    /// Reports that are held of it.
    pub reports: u64,
    /// When the last of them was received.
    pub last_at: UnixSeconds,
}

/// What a node's reports add up to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FactsRow {
    /// The node.
    pub node: NodeId,
    /// The last leaf counted in.
    pub upto: u64,
    /// The node's report before that one, if any.
    pub before: Option<u64>,
    /// Their encoding.
    pub body: Vec<u8>,
}

/// The sums of one node's day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DayRow {
    /// The node.
    pub node: NodeId,
    /// Days since 1970-01-01, UTC.
    pub day: i64,
    /// Their encoding.
    pub body: Vec<u8>,
}

/// What the days of a period come to at one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeriodRow {
    /// The node.
    pub node: NodeId,
    /// Its site.
    pub site: String,
    /// From when its reports no longer count.
    pub revoked_from: Option<UnixSeconds>,
    /// All its days up to the last closed one of the period; absent where none of the period is closed.
    pub later: Option<NodeRun>,
    /// All its days before the period.
    pub earlier: Option<NodeRun>,
    /// The day that is still open, where it lies in the period.
    pub open: Option<NodeDay>,
    /// Whether something of that could not be read.
    pub damaged: bool,
}

/// What a node's rounds of hardware evidence come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvidenceRow {
    /// The node.
    pub node: NodeId,
    /// The leaf of the last round that was looked at.
    pub upto: u64,
    /// The leaf of the newest appraised round, where other collateral may change what it comes to.
    pub open: Option<u64>,
    /// Their encoding.
    pub body: Vec<u8>,
}

/// A node some of whose rounds wait to be appraised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnappraisedRow {
    /// The node.
    pub node: NodeId,
    /// Whether a round was never looked at; else one that was looked at is open.
    pub new: bool,
}

/// How a condition of a site stood when that last changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FindingRow {
    /// The site.
    pub site: String,
    /// The licence's id.
    pub licence: String,
    /// The condition.
    pub condition: String,
    /// What it came to.
    pub outcome: Outcome,
    /// Digest of what makes it another finding: see [`weighbridge::conditions::Finding::gist`].
    pub gist: Digest,
    /// Digest of the leaf that holds it.
    pub digest: Digest,
    /// When it first came to that outcome.
    pub since: UnixSeconds,
}

/// An act that waits for the ledger's writer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingAct {
    /// Its number in the queue.
    pub id: i64,
    /// Its encoding.
    pub body: Vec<u8>,
}

/// What becomes durable together.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The tree before; the commit fails if it has moved.
    pub before: (u64, Digest),
    /// The tree after.
    pub after: (u64, Digest),
    /// New leaves.
    pub entries: Vec<Entry>,
    /// Tiles that changed.
    pub tiles: Vec<TileRow>,
    /// Other rows.
    pub changes: Vec<Change>,
}

/// A row that changes with a batch.
#[derive(Clone, Debug)]
pub enum Change {
    /// A node, new or changed.
    Node(Box<NodeRow>),
    /// A node's certificate was renewed. Only this column changes, so that it cannot undo a revocation.
    Renewed {
        /// The node.
        node: NodeId,
        /// The time that its request named.
        at: UnixSeconds,
    },
    /// A token, new or changed.
    Token(TokenRow),
    /// A token has admitted one node more. Only that changes, so that it cannot undo a revocation.
    Spent(Digest),
    /// A node was refused again.
    Refused {
        /// The node.
        node: NodeId,
        /// The code.
        code: RefusalCode,
        /// How often, in all.
        count: u64,
        /// When.
        at: UnixSeconds,
    },
    /// Facts, new or changed.
    Facts(FactsRow),
    /// The sums of a node's day, new or changed.
    Day(DayRow),
    /// What a node's rounds of hardware evidence come to, new or changed.
    Evidence(EvidenceRow),
    /// A finding, new or changed.
    Finding(FindingRow),
    /// An act was carried out, or why not (empty: it was).
    Act {
        /// Its number in the queue.
        id: i64,
        /// Why it was not carried out; empty if it was.
        outcome: String,
    },
}

/// A report as held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldReport {
    /// Its leaf.
    pub leaf: u64,
    /// Salt of the leaf.
    pub salt: [u8; 16],
    /// Its digest.
    pub digest: Digest,
    /// When it was received.
    pub at: UnixSeconds,
    /// Its chain.
    pub chain: ChainId,
    /// Its number in the chain.
    pub sequence: u64,
    /// How it stood to what was held when it came.
    pub continuity: Continuity,
    /// How the round stands that it carries, if it carries one.
    pub round: Option<RoundStanding>,
    /// When the node was given the challenge that it answers: the one of its round, where it carries one.
    pub given: Option<UnixSeconds>,
    /// The bundle as received; absent where its time was over.
    pub body: Option<Vec<u8>>,
}

/// A leaf that is not a report, as held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldEntry {
    /// Its index.
    pub leaf: u64,
    /// When it was received.
    pub at: UnixSeconds,
    /// Its digest.
    pub digest: Digest,
    /// The node that it is of.
    pub node: Option<NodeId>,
    /// Its body; absent where its time was over.
    pub body: Option<Vec<u8>>,
}

/// What the verifier keeps.
pub trait Store: Send + Sync + std::fmt::Debug {
    /// The tree as it stands.
    fn ledger(&self) -> Answer<'_, LedgerRow>;
    /// A tile's hashes; `None` if none are held.
    fn tile(&self, level: u32, place: u64) -> Answer<'_, Option<Vec<u8>>>;
    /// Makes a batch durable, whole or not at all.
    fn commit(&self, batch: Batch) -> Answer<'_, ()>;
    /// The report held at a place, with its body.
    fn at_place(&self, node: NodeId, chain: ChainId, sequence: u64) -> Answer<'_, Option<HeldReport>>;
    /// The report with the highest number in a chain, without its body.
    fn highest(&self, node: NodeId, chain: ChainId) -> Answer<'_, Option<HeldReport>>;
    /// The last two reports recorded for a node, newest first, with bodies.
    fn latest(&self, node: NodeId) -> Answer<'_, Vec<HeldReport>>;
    /// Reports of a node recorded after a leaf (all, for `None`), in the order of the ledger, with bodies. Searches all of the node's past.
    fn reports_after(&self, node: NodeId, leaf: Option<u64>, limit: u32) -> Answer<'_, Vec<HeldReport>>;
    /// The same, after a leaf that the node's written sums reach up to, or a later one: however long the past, it is not searched.
    fn unsummed(&self, node: NodeId, upto: u64, limit: u32) -> Answer<'_, Vec<HeldReport>>;
    /// Leaves of a kind other than reports, in the order of the ledger.
    fn entries(&self, kind: LeafKind) -> Answer<'_, Vec<HeldEntry>>;
    /// The same, of one node.
    fn entries_of(&self, node: NodeId, kind: LeafKind) -> Answer<'_, Vec<HeldEntry>>;
    /// Whether a leaf of a node and a kind other than reports is held for a digest, and how many of that kind the node has.
    fn holds(&self, node: NodeId, kind: LeafKind, digest: Digest) -> Answer<'_, (bool, u64)>;
    /// A node.
    fn node(&self, id: NodeId) -> Answer<'_, Option<NodeRow>>;
    /// The node whose reports a key signs.
    fn node_by_key(&self, key: PublicKey) -> Answer<'_, Option<NodeRow>>;
    /// What each node has delivered; nodes without a report are not named.
    fn delivered(&self) -> Answer<'_, Vec<DeliveredRow>>;
    /// All nodes, in the order of enrolment.
    fn nodes(&self) -> Answer<'_, Vec<NodeRow>>;
    /// A token, by the digest of its secret.
    fn token(&self, digest: Digest) -> Answer<'_, Option<TokenRow>>;
    /// All tokens, the newest first.
    fn tokens(&self) -> Answer<'_, Vec<TokenRow>>;
    /// Refusals to a node.
    fn refusals(&self, node: NodeId) -> Answer<'_, Vec<RefusalRow>>;
    /// What a node's reports added up to when that was last written.
    fn facts(&self, node: NodeId) -> Answer<'_, Option<FactsRow>>;
    /// The sums of one of a node's days, when they were last written.
    fn day(&self, node: NodeId, day: i64) -> Answer<'_, Option<DayRow>>;
    /// The sums of a node's newest days, newest first: a node's clock may name as many as it likes.
    fn days(&self, node: NodeId, limit: u16) -> Answer<'_, Vec<DayRow>>;
    /// The sums of a node's days from one to another, both included, in their order.
    fn days_between(&self, node: NodeId, from: i64, to: i64) -> Answer<'_, Vec<DayRow>>;
    /// What the days from one to another, both included, come to at a node.
    fn period_of(&self, node: NodeId, from: i64, to: i64) -> Answer<'_, Option<PeriodRow>>;
    /// What the days from one to another, both included, come to at each node (of one site, or of all), in the order of the nodes' ids. Reads no
    /// report, and of each node three rows, however long the period.
    fn period(&self, from: i64, to: i64, site: Option<String>) -> Answer<'_, Vec<PeriodRow>>;
    /// Whether a round of a node has answered a challenge, however it stood.
    fn is_answered(&self, node: NodeId, challenge: Challenge) -> Answer<'_, bool>;
    /// The reports of a node after a leaf (all, for `None`) that carry a round which stands good, in the order of the ledger, with bodies.
    fn rounds(&self, node: NodeId, leaf: Option<u64>, limit: usize) -> Answer<'_, Vec<HeldReport>>;
    /// The nodes with a round which stands good and was never looked at, or with one that is open.
    fn unappraised(&self) -> Answer<'_, Vec<UnappraisedRow>>;
    /// What a node's rounds came to when that was last written.
    fn evidence(&self, node: NodeId) -> Answer<'_, Option<EvidenceRow>>;
    /// How each condition of each site stood when that last changed.
    fn findings(&self) -> Answer<'_, Vec<FindingRow>>;
    /// Queues an act for the ledger's writer; returns its number.
    fn queue_act(&self, body: Vec<u8>) -> Answer<'_, i64>;
    /// Acts that wait, in order.
    fn pending_acts(&self, limit: u32) -> Answer<'_, Vec<PendingAct>>;
    /// What became of a queued act: `None` while it waits, else why it was not carried out (empty: it was). Forgets an act
    /// that was carried out.
    fn act_outcome(&self, id: i64) -> Answer<'_, Option<String>>;
    /// Takes a queued act back, so that it is never carried out; false where something became of it before.
    fn withdraw_act(&self, id: i64) -> Answer<'_, bool>;
}
