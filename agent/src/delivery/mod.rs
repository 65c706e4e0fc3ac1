//! Delivery: every sealed report reaches the verifier, in order, and is kept until a receipt proves it.
//!
//! Decides: what is sent, when a new chain begins ([`judge`]), and what the verifier is believed. Trusts the ledger's key that was
//! pinned at enrolment, and nothing else in an answer: a receipt counts only with its proofs, a refusal only with its signature.
//! Does not establish that the verifier judges rightly.

mod backoff;
mod link;
mod stand;

pub use backoff::Backoff;
pub use link::{Exchange, Link, LinkError};
pub use stand::{Stand, judge};

use crate::config::Proxy;
use crate::draft::reseal;
use crate::enrolment::{Enrolment, EnrolmentError};
use crate::keys::{self, CertificateError, Lifetime, NodeKey, TlsError};
use crate::spool::{Acceptance, Fate, Spool, SpoolError, Waiting};
use crate::state::StateError;
use std::path::PathBuf;
use std::sync::Arc;
use tracing::{info, warn};
use weighbridge::cbor::{self, Bytes};
use weighbridge::crypto::merkle::ProofError;
use weighbridge::crypto::{self, Entropy, SignError};
use weighbridge::ledger::LedgerKey;
use weighbridge::protocol::{
    Receipt, ReceiptError, Refusal, RefusalCode, RenewRequest, SignedRefusal, SignedRequest,
};
use weighbridge::report::{CheckpointSeen, OpenedReport};
use weighbridge::time::UnixSeconds;

/// Why a round of delivery ended before everything was delivered. What was not delivered stays in the spool.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeliveryError {
    /// No answer that can be used.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The node may not report: pending, revoked or unknown.
    #[error("the verifier does not accept reports of this node: {sentence}")]
    NotAdmitted {
        /// What the verifier says.
        sentence: String,
    },
    /// A refusal that the ledger's key did not sign, or that is about something else.
    #[error("the verifier's refusal is not signed by its ledger's key")]
    FalseRefusal,
    /// A certificate for another key.
    #[error("the verifier's new certificate is for another key")]
    OtherKey,
    /// An answer whose proofs do not hold.
    #[error(transparent)]
    Receipt(#[from] ReceiptError),
    /// The spool.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The enrolment.
    #[error(transparent)]
    Enrolment(#[from] EnrolmentError),
    /// The enrolment cannot be written.
    #[error(transparent)]
    State(#[from] StateError),
    /// A certificate.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The key.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// What a round did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// Reports receipted.
    pub receipted: u64,
    /// Reports refused.
    pub refused: u64,
    /// Whether a new chain was begun.
    pub new_chain: bool,
    /// What the verifier asks for and does not get.
    pub complaint: Option<String>,
}

/// The line to the verifier that an enrolment names.
///
/// # Errors
/// [`DeliveryError`] where the certificate or the address cannot be used.
pub fn link(enrolment: &Enrolment, key: &NodeKey, proxy: Option<&Proxy>) -> Result<Link, DeliveryError> {
    let tls = |identity| keys::client_config(enrolment.verifier, Some(&enrolment.ca.0), identity);
    let node = tls(Some((
        enrolment.certificate.0.as_slice(),
        Arc::clone(&key.signer),
    )))?;
    Ok(Link::new(&enrolment.url, node, tls(None)?, proxy)?)
}

/// Carries reports from the spool to the verifier.
#[derive(Debug)]
pub struct Courier {
    spool: Arc<Spool>,
    enrolment: Enrolment,
    enrolment_path: PathBuf,
    ledger: LedgerKey,
    key: NodeKey,
    accepts: Acceptance,
    entropy: Entropy,
    stands: bool,
    receipted: u64,
}

impl Courier {
    /// A courier that has not asked yet where the verifier stands.
    ///
    /// # Errors
    /// [`EnrolmentError`] where the ledger's key cannot be used.
    pub fn new(
        spool: Arc<Spool>,
        (enrolment, enrolment_path): (Enrolment, PathBuf),
        key: NodeKey,
        accepts: Acceptance,
        entropy: Entropy,
    ) -> Result<Self, EnrolmentError> {
        Ok(Self {
            ledger: enrolment.ledger()?,
            spool,
            enrolment,
            enrolment_path,
            key,
            accepts,
            entropy,
            stands: false,
            receipted: 0,
        })
    }

    /// The enrolment, with the newest certificate.
    #[must_use]
    pub fn enrolment(&self) -> &Enrolment {
        &self.enrolment
    }

    /// Reports receipted since the start, in rounds that failed later on as well.
    #[must_use]
    pub fn receipted_in_all(&self) -> u64 {
        self.receipted
    }

    /// Delivers everything that waits. After an error the next round asks anew where the verifier stands.
    ///
    /// # Errors
    /// [`DeliveryError`].
    pub async fn round(&mut self, line: &impl Exchange) -> Result<Round, DeliveryError> {
        let mut round = Round::default();
        let result = self.deliver_all(line, &mut round).await;
        self.stands = result.is_ok();
        result.map(|()| round)
    }

    /// Renews the certificate when less than a third of its life remains. Returns whether the line must be set up anew.
    ///
    /// # Errors
    /// [`DeliveryError`]; the old certificate stays in use.
    pub async fn renew_if_due(
        &mut self,
        line: &impl Exchange,
        now: UnixSeconds,
    ) -> Result<bool, DeliveryError> {
        if !Lifetime::of(&self.enrolment.certificate.0)?.wants_renewal(now) {
            return Ok(false);
        }
        // The verifier demands that the time grows; where the clock went back, count on from the last one.
        let at = now.max(self.enrolment.renewal_asked_at.plus(1));
        let request = RenewRequest {
            verifier: self.enrolment.verifier,
            node: self.enrolment.node,
            csr: Bytes(keys::request(self.key.signer.as_ref())?),
            at,
        };
        self.enrolment.renewal_asked_at = at;
        self.enrolment.store(&self.enrolment_path)?;
        let signed = SignedRequest::sign(&request, self.key.signer.as_ref())?;
        let answer = match line.renew(&signed).await {
            Err(LinkError::Refused(refusal)) => return Err(self.not_admitted(&refusal)),
            other => other?,
        };
        if keys::spki_digest(&answer.certificate.0)? != self.key.signer.public_key().id() {
            return Err(DeliveryError::OtherKey);
        }
        self.enrolment.certificate = answer.certificate;
        self.enrolment.store(&self.enrolment_path)?;
        info!("the certificate was renewed");
        Ok(true)
    }

    async fn deliver_all(&mut self, line: &impl Exchange, round: &mut Round) -> Result<(), DeliveryError> {
        if !self.stands {
            self.ask_where_it_stands(line, round).await?;
        }
        let mut from = 0;
        let mut forks = 0u8;
        while let Some(report) = self.spool.next_waiting(from)? {
            from = report.ordinal;
            match line.deliver(&report.bundle).await {
                Ok(receipt) => {
                    self.receipted(&report, &receipt, round)?;
                    if receipt.chain == report.link.chain
                        && receipt.highest > self.spool.head()?.sequence
                        && receipt.chain == self.spool.head()?.chain
                    {
                        // It holds more of this chain than was ever written here: the state is an older copy.
                        self.ask_where_it_stands(line, round).await?;
                    }
                }
                Err(LinkError::Refused(signed)) => {
                    let refusal = self.check_refusal(&signed, Some(&report.bundle))?;
                    match refusal.code {
                        RefusalCode::Node => {
                            return Err(DeliveryError::NotAdmitted {
                                sentence: refusal.sentence,
                            });
                        }
                        RefusalCode::ChainFork if forks == 0 => {
                            forks = forks.saturating_add(1);
                            warn!(%refusal.sentence, "the place of a report is taken; asking where the verifier stands");
                            self.ask_where_it_stands(line, round).await?;
                        }
                        code => {
                            warn!(
                                %code, expected = %refusal.expected, found = %refusal.found,
                                sequence = report.link.sequence, "{}", refusal.sentence
                            );
                            self.spool.answered(
                                report.ordinal,
                                Fate::Refused,
                                &cbor::encode(&*signed),
                                None,
                            )?;
                            round.refused = round.refused.saturating_add(1);
                        }
                    }
                }
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    fn receipted(
        &mut self,
        report: &Waiting,
        receipt: &Receipt,
        round: &mut Round,
    ) -> Result<(), DeliveryError> {
        let mut standing = self.spool.standing()?;
        let cited = cited_checkpoint(&report.bundle);
        let seen = receipt.check(
            &self.enrolment.node,
            &report.link.digest,
            &self.ledger,
            cited.as_ref(),
        )?;
        match &standing.seen {
            Some(old) if old.size > seen.size => {
                return Err(ReceiptError::Rewritten(ProofError::Shrank).into());
            }
            // The proof leads from the checkpoint that the report cites. A backlog cites an older one than was seen since; then nothing
            // new is remembered, and the next report, which cites what was seen, closes the gap.
            Some(old) if cited.as_ref() != Some(old) => {}
            _ => standing.seen = Some(seen),
        }
        round.complaint = standing.follow(&receipt.instructions, &self.accepts);
        self.spool.answered(
            report.ordinal,
            Fate::Receipted,
            &cbor::encode(receipt),
            Some(&standing),
        )?;
        round.receipted = round.receipted.saturating_add(1);
        self.receipted = self.receipted.saturating_add(1);
        Ok(())
    }

    async fn ask_where_it_stands(
        &mut self,
        line: &impl Exchange,
        round: &mut Round,
    ) -> Result<(), DeliveryError> {
        let mut standing = self.spool.standing()?;
        let head = match line.head(standing.seen.as_ref().map(|s| s.size)).await {
            Err(LinkError::Refused(refusal)) => return Err(self.not_admitted(&refusal)),
            other => other?,
        };
        standing.seen = Some(head.check(&self.ledger, standing.seen.as_ref())?);
        round.complaint = standing.follow(&head.instructions, &self.accepts);
        self.spool.remember(&standing)?;

        let ours = self.spool.head()?;
        let known = match &head.latest {
            Some(held) => self.spool.digest_at(held.chain, held.sequence)?,
            None => None,
        };
        let waiting = self
            .spool
            .next_waiting(0)?
            .filter(|w| w.link.chain == ours.chain)
            .map(|w| w.link.sequence);
        match judge(&ours, head.latest.as_ref(), known, waiting) {
            Stand::Continue { above } => {
                let again = self.spool.resend_above(above)?;
                if again > 0 {
                    warn!(
                        again,
                        "the verifier lost reports that it had receipted; they are sent again"
                    );
                }
            }
            Stand::Anew(successor) => {
                warn!(
                    old = %successor.chain, sequence = successor.sequence,
                    "the verifier holds reports that this state directory does not know: it was lost or restored. \
                     A new chain begins; the verifier will show that as a finding"
                );
                let key = self.key.signer.as_ref();
                self.spool
                    .begin_chain(successor, &self.entropy, |bundle, place| {
                        reseal(bundle, place, key)
                    })?;
                round.new_chain = true;
            }
        }
        Ok(())
    }

    fn not_admitted(&self, signed: &SignedRefusal) -> DeliveryError {
        match self.check_refusal(signed, None) {
            Ok(refusal) => DeliveryError::NotAdmitted {
                sentence: refusal.sentence,
            },
            Err(e) => e,
        }
    }

    /// The refusal, if the ledger's key signed it and it is about `submission`.
    fn check_refusal(
        &self,
        signed: &SignedRefusal,
        submission: Option<&[u8]>,
    ) -> Result<Refusal, DeliveryError> {
        let refusal = signed
            .open(&self.ledger.key)
            .map_err(|_| DeliveryError::FalseRefusal)?;
        let ours = refusal.verifier == self.enrolment.verifier
            && submission.is_none_or(|bytes| crypto::sha256(bytes) == refusal.submission);
        if ours {
            Ok(refusal)
        } else {
            Err(DeliveryError::FalseRefusal)
        }
    }
}

/// The checkpoint that a sealed report cites: the receipt's proof leads from there.
fn cited_checkpoint(bundle: &[u8]) -> Option<CheckpointSeen> {
    OpenedReport::open(bundle)
        .ok()
        .and_then(|opened| opened.claims.report.checkpoint)
}

#[cfg(test)]
mod tests;
