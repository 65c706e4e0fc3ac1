//! Enrolment and renewal: how a node gets its identity and its certificates.
//!
//! Decides: whether a token admits a node, and whether an enrolled key may have another certificate. A token is for one node or several,
//! until a time, for any accelerators or listed ones. A crash between the verifier's commit and the node's last write costs nothing: the
//! same key with the same token is the same node. Does not establish that the host is what it says.

mod request;

pub use request::{RequestError, proven_key};

use crate::clock::Clock;
use crate::fleet::Terms;
use crate::identity::{Identity, IdentityError};
use crate::intake::{Reason, Refuser, Standings};
use crate::recorder::{Act, ActKind, NewLeaf, RecordError, Recorder};
use crate::store::{Change, NodeRow, Store, StoreError, TokenRow};
use std::sync::Arc;
use weighbridge::cbor::{self, Bytes};
use weighbridge::crypto::{self, Entropy, KeyError, PublicKey, SignError};
use weighbridge::id::{Digest, NodeId};
use weighbridge::protocol::{
    EnrolAnswer, EnrolRequest, EnrolmentState, RefusalCode, RenewAnswer, SignedRefusal, SignedRequest,
};
use weighbridge::report::PROFILES;

/// Serial numbers that a request may list.
const MAX_SERIALS: usize = 64;
/// Characters of a serial number.
const MAX_SERIAL: usize = 64;

/// Why a request could not be judged. The agent tries again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnrolmentError {
    /// The ledger did not take it.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A certificate could not be made.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// No random bytes.
    #[error("no node id could be drawn")]
    Entropy(#[from] KeyError),
    /// The verifier's key failed.
    #[error("a refusal could not be signed")]
    Sign(#[from] SignError),
}

/// Enrolment.
#[derive(Debug)]
pub struct Enrolment {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) recorder: Recorder,
    pub(crate) identity: Arc<Identity>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Entropy,
    pub(crate) refuser: Refuser,
    pub(crate) standings: Arc<Standings>,
    pub(crate) terms: Arc<Terms>,
    pub(crate) certificate_days: u32,
    /// How far ahead of this verifier's clock a renewal may be dated, in seconds.
    pub(crate) renewal_ahead_s: u32,
    /// One enrolment at a time, so that a token is not spent twice.
    pub(crate) turn: tokio::sync::Mutex<()>,
}

impl Enrolment {
    /// Judges an [`EnrolRequest`].
    ///
    /// # Errors
    /// [`EnrolmentError`]: nothing was judged.
    pub async fn enrol(&self, bytes: &[u8]) -> Result<Result<EnrolAnswer, SignedRefusal>, EnrolmentError> {
        let _turn = self.turn.lock().await;
        match self.admitted(bytes).await? {
            Ok(node) => Ok(Ok(self.answer(node).await?)),
            Err(reason) => Ok(Err(self.refuser.sign(reason, crypto::sha256(bytes))?)),
        }
    }

    /// Judges a [`SignedRequest`] for a new certificate.
    ///
    /// # Errors
    /// [`EnrolmentError`]: nothing was judged.
    pub async fn renew(&self, bytes: &[u8]) -> Result<Result<RenewAnswer, SignedRefusal>, EnrolmentError> {
        match self.renewable(bytes).await? {
            Ok(node) => Ok(Ok(RenewAnswer {
                certificate: self.certificate(&node)?,
            })),
            Err(reason) => Ok(Err(self.refuser.sign(reason, crypto::sha256(bytes))?)),
        }
    }

    async fn admitted(&self, bytes: &[u8]) -> Result<Result<NodeRow, Reason>, EnrolmentError> {
        let request: EnrolRequest = match cbor::decode_strict(bytes) {
            Ok(r) => r,
            Err(e) => return Ok(Err(Reason::malformed("an enrolment request", e))),
        };
        let digest = crypto::sha256(&request.secret);
        let Some(token) = self.store.token(digest).await? else {
            return Ok(Err(token_refused(
                "one that is unknown",
                "have a new token made with `weighbridge-verifier token new`",
            )));
        };
        if !request.profiles.iter().any(|p| PROFILES.contains(&p.as_str())) {
            return Ok(Err(Reason::new(
                RefusalCode::Profile,
                PROFILES.join(", "),
                request
                    .profiles
                    .iter()
                    .take(4)
                    .cloned()
                    .collect::<Vec<_>>()
                    .join(", "),
                "the agent writes no profile that this verifier reads; update the older of the two",
            )));
        }
        let key = match key_of(&request.csr) {
            Ok(key) => key,
            Err(reason) => return Ok(Err(reason)),
        };
        if let Some(node) = self.store.node_by_key(key.clone()).await? {
            return Ok(again(node, &digest));
        }
        if let Err(reason) = self.admits(&token, &request) {
            return Ok(Err(reason));
        }
        self.record(token, request, key).await.map(Ok)
    }

    /// Whether a token admits one node more, with these accelerators.
    fn admits(&self, token: &TokenRow, request: &EnrolRequest) -> Result<(), Reason> {
        let now = self.clock.now();
        if let Some(at) = token.revoked_at {
            return Err(token_refused(
                format!("one that was revoked at {at}"),
                "have a new token made with `weighbridge-verifier token new`",
            ));
        }
        if now > token.expires {
            return Err(token_refused(
                format!("one that expired at {}", token.expires),
                "have a new token made with `weighbridge-verifier token new`",
            ));
        }
        if token.used >= token.count {
            return Err(token_refused(
                format!(
                    "one that is used up: it was for {} and has admitted {}",
                    token.count, token.used
                ),
                "have a token made for each node, or one with a higher count",
            ));
        }
        let plain = |s: &String| s.len() <= MAX_SERIAL && s.chars().all(|c| c.is_ascii_graphic());
        if request.serials.len() > MAX_SERIALS || !request.serials.iter().all(plain) {
            return Err(Reason::malformed(
                "a list of serial numbers",
                "too many, or not printable",
            ));
        }
        if token.serials.is_empty() {
            return Ok(());
        }
        match request.serials.iter().find(|s| !token.serials.contains(s)) {
            Some(other) => Err(token_refused(
                format!("an accelerator with serial number {other}, which the token does not list"),
                "enrol this node with a token that lists its accelerators",
            )),
            None if request.serials.is_empty() => Err(token_refused(
                "no serial numbers, while the token lists those that it admits",
                "enrol where the agent can read the accelerators' serial numbers",
            )),
            None => Ok(()),
        }
    }

    async fn record(
        &self,
        token: TokenRow,
        request: EnrolRequest,
        key: PublicKey,
    ) -> Result<NodeRow, EnrolmentError> {
        let at = self.clock.now();
        let random: [u8; 16] = self.entropy.draw()?;
        let mut id = [1u8; NodeId::LEN];
        for (to, from) in id.iter_mut().skip(1).zip(random) {
            *to = from;
        }
        let id = NodeId(id);
        let (state, approved_at) = if token.approve {
            (EnrolmentState::Approved, Some(at))
        } else {
            (EnrolmentState::Pending, None)
        };
        let node = NodeRow {
            id,
            site: token.site.clone(),
            state,
            key,
            key_protection: request.key_protection,
            token: token.digest,
            predecessor: request.predecessor,
            serials: request.serials,
            enrolled_at: at,
            approved_at,
            revoked_at: None,
            revoked_from: None,
            renewed_at: None,
        };
        let mut act = Act::new(ActKind::Enrol, at);
        act.node = Some(id);
        act.token_digest = Some(token.digest);
        act.predecessor = node.predecessor;
        act.key = Some(node.key.id());
        let changes = vec![Change::Node(Box::new(node.clone())), Change::Spent(token.digest)];
        self.recorder.append(NewLeaf::act(&act), changes, None).await?;
        tracing::info!(node = %id, site = %node.site, state = %node.state, "enrolled");
        Ok(node)
    }

    async fn answer(&self, node: NodeRow) -> Result<EnrolAnswer, EnrolmentError> {
        let challenge = self
            .standings
            .slot(node.id)
            .take(&*self.store)
            .await?
            .map(|s| s.challenge(&self.standings.secret));
        let ledger = self.identity.ledger_key();
        Ok(EnrolAnswer {
            verifier: self.identity.id(),
            node: node.id,
            certificate: self.certificate(&node)?,
            ca: Bytes(self.identity.ca().to_vec()),
            ledger_origin: ledger.origin.clone(),
            ledger_key: Bytes(ledger.key.spki().to_vec()),
            state: node.state,
            instructions: self
                .terms
                .instructions(&node.site, challenge.ok_or(RecordError::Stopped)?),
        })
    }

    fn certificate(&self, node: &NodeRow) -> Result<Bytes, IdentityError> {
        let der = self
            .identity
            .certify_node(&node.id, &node.key, self.certificate_days, &*self.clock)?;
        Ok(Bytes(der.to_vec()))
    }

    async fn renewable(&self, bytes: &[u8]) -> Result<Result<NodeRow, Reason>, EnrolmentError> {
        let read = cbor::decode_strict::<SignedRequest>(bytes).and_then(|s| Ok((s.claimed()?, s)));
        let (claimed, signed) = match read {
            Ok(both) => both,
            Err(e) => return Ok(Err(Reason::malformed("a renewal request", e))),
        };
        let slot = self.standings.slot_if_known(claimed.node, &*self.store).await?;
        let Some(slot) = slot else {
            return Ok(Err(Reason::new(
                RefusalCode::Node,
                "a node that is enrolled here",
                format!("node {}", claimed.node),
                "enrol the node with a token of this verifier",
            )));
        };
        let Some(mut standing) = slot.take(&*self.store).await? else {
            return Err(RecordError::Stopped.into());
        };
        if signed.verify(&standing.node.key).is_err() {
            return Ok(Err(Reason::new(
                RefusalCode::Signature,
                "a signature by the key that was enrolled",
                "another signature",
                "renew with the node's own key; if it is lost, enrol the node again",
            )));
        }
        let latest = self.clock.now().plus(i64::from(self.renewal_ahead_s));
        let reason = if standing.node.state == EnrolmentState::Revoked {
            Some(Reason::new(
                RefusalCode::Node,
                "a node that is not revoked",
                "a node that was revoked",
                "a revocation is final: enrol the node again with a new key",
            ))
        } else if claimed.verifier != self.identity.id() {
            Some(Reason::new(
                RefusalCode::Audience,
                self.identity.id().to_string(),
                claimed.verifier.to_string(),
                "the request was signed for another verifier; send it there",
            ))
        } else if standing.node.renewed_at.is_some_and(|last| claimed.at <= last) {
            Some(Reason::new(
                RefusalCode::Form,
                format!("a time after {}", standing.node.renewed_at.unwrap_or_default()),
                claimed.at.to_string(),
                "the request is a repeat of an older one, or the node's clock went back; set the clock and try again",
            ))
        } else if claimed.at > latest {
            // Once it was taken, every request before that time would be a repeat.
            Some(Reason::new(
                RefusalCode::Form,
                format!("a time not after {latest}"),
                claimed.at.to_string(),
                "the node's clock is ahead of the verifier's; set it and try again",
            ))
        } else {
            match key_of(&claimed.csr) {
                Ok(key) if key == standing.node.key => None,
                Ok(_) => Some(Reason::new(
                    RefusalCode::Signature,
                    "a certificate request for the enrolled key",
                    "one for another key",
                    "renewal keeps the key; for a new key, enrol the node again",
                )),
                Err(reason) => Some(reason),
            }
        };
        if let Some(reason) = reason {
            return Ok(Err(reason));
        }
        self.recorder
            .change(vec![Change::Renewed {
                node: claimed.node,
                at: claimed.at,
            }])
            .await?;
        standing.node.renewed_at = Some(claimed.at);
        Ok(Ok(standing.node.clone()))
    }
}

/// The same key again: the same node, if it is the same token.
fn again(node: NodeRow, token: &Digest) -> Result<NodeRow, Reason> {
    if node.state == EnrolmentState::Revoked {
        return Err(Reason::new(
            RefusalCode::Node,
            "a key that was not revoked",
            format!("the key of node {}, which was revoked", node.id),
            "a revocation is final: enrol with --again, which makes a new key",
        ));
    }
    if node.token == *token {
        return Ok(node);
    }
    Err(token_refused(
        format!(
            "another one than that which admitted this key as node {}",
            node.id
        ),
        "a key is one node: keep its enrolment, or enrol with --again, which makes a new key",
    ))
}

fn token_refused(found: impl Into<String>, sentence: &str) -> Reason {
    Reason::new(
        RefusalCode::Token,
        "an enrolment token that admits this node",
        found,
        sentence,
    )
}

fn key_of(csr: &Bytes) -> Result<PublicKey, Reason> {
    proven_key(&csr.0).map_err(|e| match e {
        RequestError::Signature => Reason::new(
            RefusalCode::Signature,
            "a certificate request signed by the key in it",
            "another signature",
            "the request does not prove that the node holds its key; the agent that made it is damaged or altered",
        ),
        other => Reason::malformed("a PKCS#10 request for a P-256 key", other),
    })
}
