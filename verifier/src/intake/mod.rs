//! Intake: who sent a report, whether it is whole, and where it stands in its chain.
//!
//! Decides: accepted, held already, or refused, in a fixed order: node and approval, size, form, signature, audience, chain. A node that is
//! not approved is judged no further, so what it sends says nothing about its site. Gaps, restarts and odd clocks are accepted; they
//! become findings. Trusts the key that was pinned at enrolment. Does not establish that what a report
//! says is true: that is for appraisal and the conditions.

mod refusal;
mod round;
mod standing;

pub use refusal::{Reason, Refuser};
use standing::Answered;
pub use standing::NonceStanding;
pub(crate) use standing::{Repeats, Standing, Standings};

use crate::appraiser::Rounds;
use crate::clock::Clock;
use crate::findings::Reported;
use crate::fleet::{Around, Terms};
use crate::identity::Identity;
use crate::recorder::{NewLeaf, Proof, RecordError, Recorder};
use crate::store::{Change, Store, StoreError};
use std::sync::Arc;
use weighbridge::appraisal::day_of;
use weighbridge::appraisal::evidence::RoundStanding;
use weighbridge::bounded::MAX_BUNDLE;
use weighbridge::cbor;
use weighbridge::crypto::{self, SignError};
use weighbridge::id::{Digest, NodeId};
use weighbridge::ledger::LeafKind;
use weighbridge::protocol::{
    EnrolmentState, Head, HeldChain, Receipt, ReceiptState, RefusalCode, SignedRefusal,
};
use weighbridge::report::{
    ChainLink, Continuity, EnvelopeError, EvidenceClaims, OpenedReport, TokenClaims, VerifiedReport,
};
use weighbridge::time::UnixSeconds;

/// Forks of one node whose second statement is kept whole, as a leaf. Of more, it is kept when the last one came, now and then.
const FORKS_KEPT: u64 = 64;
/// Seconds after which a repeated refusal is written again, and a fork beyond those that are kept whole.
const REPEATS_WRITTEN: i64 = 600;

/// Why intake could not judge a report. The agent keeps it and tries again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IntakeError {
    /// The ledger did not take it.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The verifier's key failed.
    #[error("a refusal could not be signed")]
    Sign(#[from] SignError),
}

/// Who holds the other end of a connection, by its client certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The node that the certificate names.
    pub node: NodeId,
    /// Identity of the key in it.
    pub key: Digest,
    /// The certificate's last second.
    pub until: UnixSeconds,
}

/// What intake says to a report.
#[derive(Debug)]
pub enum Judged {
    /// It is held, durably.
    Receipt(Box<Receipt>),
    /// It is refused.
    Refused(SignedRefusal),
}

/// The intake.
#[derive(Debug)]
pub struct Intake {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) recorder: Recorder,
    pub(crate) identity: Arc<Identity>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) refuser: Refuser,
    pub(crate) standings: Arc<Standings>,
    pub(crate) terms: Arc<Terms>,
    pub(crate) rounds: Arc<Rounds>,
    pub(crate) reported: Arc<Reported>,
}

impl Intake {
    /// Judges the bundle that a peer delivered.
    ///
    /// # Errors
    /// [`IntakeError`]: nothing was judged.
    pub async fn deliver(&self, peer: Option<Peer>, bundle: Vec<u8>) -> Result<Judged, IntakeError> {
        let submission = |bundle: &[u8]| crypto::sha256(bundle);
        let slot = match self.admit(peer.as_ref()) {
            Ok(node) => self.standings.slot(node),
            Err(reason) => return self.stranger(reason, submission(&bundle)),
        };
        let Some(mut standing) = slot.take(&*self.store).await? else {
            return self.stranger(unknown(peer.as_ref()), submission(&bundle));
        };
        if peer.as_ref().is_none_or(|p| p.key != standing.node.key.id()) {
            return self.stranger(unknown(peer.as_ref()), submission(&bundle));
        }
        let done = match approved(&standing).and_then(|()| self.judge(&standing, &bundle)) {
            Ok(report) => self.place(&mut standing, report, bundle).await,
            Err(reason) => self.refuse(&mut standing, reason, submission(&bundle)).await,
        };
        if done.is_err() {
            // What is durable cannot be told from here: read it again.
            slot.forget();
        }
        done
    }

    /// Refuses a bundle that was too large to read.
    ///
    /// # Errors
    /// [`IntakeError`].
    pub async fn too_large(&self, peer: Option<Peer>) -> Result<Judged, IntakeError> {
        let found = MAX_BUNDLE.saturating_add(1);
        let reason = Reason::envelope(&EnvelopeError::TooLarge {
            found,
            limit: MAX_BUNDLE,
        });
        let nothing = crypto::sha256(&[]);
        let Ok(node) = self.admit(peer.as_ref()) else {
            return self.stranger(reason, nothing);
        };
        match self.standings.slot(node).take(&*self.store).await? {
            Some(mut standing) if peer.is_some_and(|p| p.key == standing.node.key.id()) => {
                let reason = approved(&standing).err().unwrap_or(reason);
                self.refuse(&mut standing, reason, nothing).await
            }
            _ => self.stranger(reason, nothing),
        }
    }

    /// Where the verifier stands with a node.
    ///
    /// # Errors
    /// [`IntakeError`].
    pub async fn head(
        &self,
        peer: Option<Peer>,
        seen: Option<u64>,
    ) -> Result<Result<Head, SignedRefusal>, IntakeError> {
        let nothing = crypto::sha256(&[]);
        let refused = |reason| Ok(Err(self.refuser.sign(reason, nothing)?));
        let node = match self.admit(peer.as_ref()) {
            Ok(node) => node,
            Err(reason) => return refused(reason),
        };
        let slot = self.standings.slot(node);
        let standing = match slot.take(&*self.store).await? {
            Some(s) if peer.as_ref().is_some_and(|p| p.key == s.node.key.id()) => s,
            _ => return refused(unknown(peer.as_ref())),
        };
        if let Err(reason) = approved(&standing) {
            return refused(reason);
        }
        let now = self.recorder.stand(seen).await?;
        Ok(Ok(Head {
            latest: standing.head.clone(),
            instructions: self
                .terms
                .instructions(&standing.node.site, standing.challenge(&self.standings.secret)),
            checkpoint: now.checkpoint.to_string(),
            consistency: now.consistency,
        }))
    }

    /// The node that a peer's certificate names, if it is valid now.
    fn admit(&self, peer: Option<&Peer>) -> Result<NodeId, Reason> {
        let Some(peer) = peer else {
            return Err(Reason::new(
                RefusalCode::Node,
                "a client certificate of this verifier",
                "none",
                "show the certificate that enrolment gave the node; if it expired, renew it first",
            ));
        };
        if self.clock.now() > peer.until {
            return Err(Reason::new(
                RefusalCode::Node,
                "a client certificate that has not expired",
                format!("one that expired at {}", peer.until),
                "renew the certificate with the enrolled key, which works after its expiry too",
            ));
        }
        Ok(peer.node)
    }

    /// Form, signature and audience, and that the report is of the node that delivers it.
    fn judge(&self, standing: &Standing, bundle: &[u8]) -> Result<VerifiedReport, Reason> {
        let opened = OpenedReport::open(bundle)
            .map_err(|e| Reason::envelope(&e.held_against(&standing.node.key, bundle)))?;
        if opened.claims.node != standing.node.id {
            return Err(Reason::new(
                RefusalCode::Node,
                format!(
                    "a report of node {}, which this connection's certificate names",
                    standing.node.id
                ),
                format!("one of node {}", opened.claims.node),
                "deliver each node's reports with that node's certificate; if the key was copied from another node, revoke both",
            ));
        }
        let report = opened
            .verify(&standing.node.key)
            .map_err(|e| Reason::envelope(&e))?;
        let claims = report.claims();
        let me = self.identity.id().to_string();
        if claims.audience != me {
            return Err(Reason::new(
                RefusalCode::Audience,
                me,
                claims.audience.chars().take(100).collect::<String>(),
                "the report was signed for another verifier; deliver it there",
            ));
        }
        let sequence = claims.report.sequence;
        if sequence == 0 || i64::try_from(sequence).is_err() {
            return Err(Reason::new(
                RefusalCode::Form,
                "a sequence number from 1 to 2^63 - 1",
                sequence.to_string(),
                "the agent numbers its reports wrongly; update it",
            ));
        }
        Ok(report)
    }

    /// The chain: records the report, or finds it held, or refuses a fork.
    async fn place(
        &self,
        standing: &mut Standing,
        report: VerifiedReport,
        bundle: Vec<u8>,
    ) -> Result<Judged, IntakeError> {
        let claims = report.claims();
        let link = ChainLink {
            chain: claims.report.chain,
            sequence: claims.report.sequence,
            digest: report.digest(),
        };
        let held = self.held(standing, &link).await?;
        let how = held.judge(&link, claims.report.previous);
        let highest = held.highest.map_or(link.sequence, |top| top.max(link.sequence));
        let seen = claims.report.checkpoint.clone();
        match (how, held.at_place) {
            (Continuity::Repeated, Some(there)) => {
                let proof = self.recorder.prove(there.leaf, there.salt, seen).await?;
                Ok(self.receipt(standing, claims, link, highest, proof, ReceiptState::Held))
            }
            (Continuity::Fork { held }, _) => {
                let reason = Reason::new(
                    RefusalCode::ChainFork,
                    format!("the report {held} or one that continues it"),
                    format!(
                        "another statement for chain {}, sequence {}",
                        link.chain, link.sequence
                    ),
                    "two reports claim one place in the chain; both are kept as proof. Start the agent with its own state only",
                );
                let submission = crypto::sha256(&bundle);
                let at = self.clock.now();
                let (known, kept) = self
                    .store
                    .holds(standing.node.id, LeafKind::Fork, link.digest)
                    .await?;
                let last = standing.kept.record.facts.chain.forks.last().map(|f| f.at);
                // The same statement offered again proves nothing more.
                if !known && kept < FORKS_KEPT {
                    standing.kept.fork(&report, at, how);
                    let proof = NewLeaf {
                        kind: LeafKind::Fork,
                        digest: link.digest,
                        node: Some(standing.node.id),
                        place: Some((link.chain, link.sequence)),
                        continuity: None,
                        round: None,
                        given: None,
                        at,
                        body: bundle,
                    };
                    self.recorder.append(proof, standing.kept.due(), None).await?;
                } else if !known && last.is_none_or(|t| at.since(t) >= REPEATS_WRITTEN) {
                    standing.kept.fork(&report, at, how);
                    self.recorder.change(standing.kept.due()).await?;
                }
                self.refuse(standing, reason, submission).await
            }
            _ => {
                let nonce = standing.judge_nonce(&self.standings.secret, claims.nonce);
                if nonce == NonceStanding::Unknown {
                    tracing::warn!(node = %standing.node.id, sequence = link.sequence, "a report answers a challenge that was not given to its node lately");
                }
                tracing::debug!(node = %standing.node.id, sequence = link.sequence, ?how, ?nonce, "accepted");
                let at = self.clock.now();
                standing.kept.load_day(&*self.store, day_of(&report, at)).await?;
                let asked = standing.asked(&self.standings.secret, claims.nonce);
                let (round, given) = self
                    .judge_round(standing, &report)
                    .await?
                    .map_or((None, asked), |(round, given)| (Some(round), given.or(asked)));
                let leaf = NewLeaf {
                    kind: LeafKind::Report,
                    digest: link.digest,
                    node: Some(standing.node.id),
                    place: Some((link.chain, link.sequence)),
                    continuity: Some(how),
                    round,
                    given,
                    at,
                    body: bundle,
                };
                let proof = self.recorder.append(leaf, standing.kept.due(), seen).await?;
                self.reported.push(standing.node.id);
                let judged = round.map(|r| r.standing);
                standing.kept.fold(&report, at, how, judged, given, proof.leaf);
                if judged == Some(RoundStanding::Good) && report.evidence().any(EvidenceClaims::is_evidence) {
                    self.rounds.push(standing.node.id);
                }
                standing.answered_before = Some(standing.answered);
                standing.answered = Answered::report(proof.leaf, at);
                standing.nonce = claims.nonce;
                standing.nonce_given = asked;
                if highest == link.sequence || standing.head.as_ref().is_none_or(|h| h.chain != link.chain) {
                    standing.head = Some(self.head_after(standing.node.id, &link, highest).await?);
                }
                Ok(self.receipt(standing, claims, link, highest, proof, ReceiptState::Recorded))
            }
        }
    }

    /// The head of the chain reported to last: the report just recorded, or the highest one if this was a late one.
    async fn head_after(
        &self,
        node: NodeId,
        link: &ChainLink,
        highest: u64,
    ) -> Result<HeldChain, StoreError> {
        let top = if highest == link.sequence {
            None
        } else {
            self.store.highest(node, link.chain).await?
        };
        Ok(HeldChain {
            chain: link.chain,
            sequence: top.as_ref().map_or(link.sequence, |r| r.sequence),
            digest: top.map_or(link.digest, |r| r.digest),
        })
    }

    /// What is held around a place. The next report of the chain reported to last needs no query.
    async fn held(&self, standing: &Standing, link: &ChainLink) -> Result<Around, StoreError> {
        if let Some(head) = &standing.head
            && head.chain == link.chain
            && head.sequence.checked_add(1) == Some(link.sequence)
        {
            return Ok(Around {
                at_place: None,
                before: Some(head.digest),
                cited_by_next: None,
                highest: Some(head.sequence),
            });
        }
        Around::read(&*self.store, &standing.node, link).await
    }

    fn receipt(
        &self,
        standing: &Standing,
        claims: &TokenClaims,
        link: ChainLink,
        highest: u64,
        proof: Proof,
        state: ReceiptState,
    ) -> Judged {
        Judged::Receipt(Box::new(Receipt {
            node: claims.node,
            chain: link.chain,
            sequence: link.sequence,
            report: link.digest,
            state,
            salt: proof.salt,
            leaf_index: proof.leaf,
            inclusion: proof.inclusion,
            checkpoint: proof.standing.checkpoint.to_string(),
            consistency: proof.standing.consistency,
            highest,
            instructions: self
                .terms
                .instructions(&standing.node.site, standing.challenge(&self.standings.secret)),
        }))
    }

    /// Refuses an enrolled node: the first refusal of a code is a leaf, repeats are counted. Repeats are written now and then, so that junk
    /// is not a write each; the count on disk may lack the last few.
    async fn refuse(
        &self,
        standing: &mut Standing,
        reason: Reason,
        submission: Digest,
    ) -> Result<Judged, IntakeError> {
        let (node, code) = (standing.node.id, reason.code);
        let refusal = self.refuser.sign(reason, submission)?;
        let (before, at) = (standing.refused.get(&code).copied(), self.clock.now());
        let count = before.map_or(0, |b| b.count).saturating_add(1);
        let due = count.is_power_of_two() || before.is_none_or(|b| at.since(b.written) >= REPEATS_WRITTEN);
        let counted = vec![Change::Refused {
            node,
            code,
            count,
            at,
        }];
        if before.is_none() {
            tracing::warn!(%node, %code, "refused for the first time; `node show` counts the repeats");
            let body = cbor::encode(&refusal);
            let leaf = NewLeaf {
                kind: LeafKind::Refusal,
                digest: crypto::sha256(&body),
                node: Some(node),
                place: None,
                continuity: None,
                round: None,
                given: None,
                at,
                body,
            };
            self.recorder.append(leaf, counted, None).await?;
        } else if due {
            self.recorder.change(counted).await?;
        }
        let written = before.map_or(at, |b| if due { at } else { b.written });
        standing.refused.insert(code, Repeats { count, written });
        self.reported.push(node);
        Ok(Judged::Refused(refusal))
    }

    /// Refuses a stranger: the answer is signed, and nothing is kept.
    fn stranger(&self, reason: Reason, submission: Digest) -> Result<Judged, IntakeError> {
        Ok(Judged::Refused(self.refuser.sign(reason, submission)?))
    }
}

fn unknown(peer: Option<&Peer>) -> Reason {
    Reason::new(
        RefusalCode::Node,
        "a node that is enrolled here, with the key that was enrolled",
        peer.map_or_else(|| "none".to_owned(), |p| format!("node {}", p.node)),
        "enrol the node with a token of this verifier",
    )
}

fn approved(standing: &Standing) -> Result<(), Reason> {
    let (found, sentence) = match standing.node.state {
        EnrolmentState::Approved => return Ok(()),
        EnrolmentState::Pending => (
            "a node that is pending",
            "wait until the verifier's administrator has approved the node (`weighbridge-verifier node approve`)",
        ),
        EnrolmentState::Revoked => (
            "a node that was revoked",
            "a revocation is final: enrol the node again with a new key",
        ),
    };
    Err(Reason::new(
        RefusalCode::Node,
        "a node that is approved",
        found,
        sentence,
    ))
}
