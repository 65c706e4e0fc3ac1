//! A report before it has its place: what it will say, and how it is sealed.
//!
//! Decides: which claims a report holds besides those of the accelerators. The place in the chain, the challenge and the checkpoint come from
//! the spool at the moment of sealing, so that they are those that hold when the place is taken.

use crate::spool::{Place, Sealed, SpoolError};
use weighbridge::crypto::{SignError, Signer};
use weighbridge::id::{BootId, NodeId, VerifierId};
use weighbridge::report::{
    AcceleratorClaims, EvidenceClaims, HostClaims, HostSubmodule, OpenedReport, PROFILE, ReportClaims,
    ReportTime, RoundClaims, Submodules, TokenClaims, sign,
};

/// What a report will say.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The verifier it is for.
    pub verifier: VerifierId,
    /// The node.
    pub node: NodeId,
    /// The boot.
    pub boot: BootId,
    /// The time spoken of.
    pub time: ReportTime,
    /// How many times the agent was started since the last report.
    pub agent_starts: u32,
    /// Length that reports had when this one was begun, in seconds.
    pub report_seconds: u32,
    /// Whether it is of a trial.
    pub trial: bool,
    /// The host.
    pub host: HostClaims,
    /// The accelerators.
    pub accelerators: Vec<AcceleratorClaims>,
    /// The round of evidence whose answers have arrived, if one has.
    pub round: Option<HeldRound>,
}

/// A round of evidence, and its answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldRound {
    /// Where it froze the chain, and on which challenge.
    pub claims: RoundClaims,
    /// The answers, device by device.
    pub answers: Vec<EvidenceClaims>,
}

impl Draft {
    /// The token's claims at `place`, still without the accelerators' digests.
    #[must_use]
    pub fn claims(&self, place: &Place) -> TokenClaims {
        TokenClaims {
            audience: self.verifier.to_string(),
            issued_at: self.time.wall_end,
            nonce: place.standing.challenge,
            node: self.node,
            profile: PROFILE.to_owned(),
            submods: Submodules {
                host: HostSubmodule {
                    host: self.host.clone(),
                },
                accelerators: Vec::new(),
                evidence: Vec::new(),
            },
            report: ReportClaims {
                chain: place.chain,
                sequence: place.sequence,
                previous: place.previous,
                successor: place.successor.clone(),
                boot: self.boot,
                time: self.time.clone(),
                checkpoint: place.standing.seen.clone(),
                report_seconds: self.report_seconds,
                trial: self.trial,
                agent_starts: self.agent_starts,
                round: self.round_at(place).map(|r| r.claims.clone()),
            },
        }
    }

    /// Seals the report at `place`.
    ///
    /// # Errors
    /// [`SignError`].
    pub fn seal(&self, place: &Place, key: &dyn Signer) -> Result<Sealed, SignError> {
        let answers = self.round_at(place).map_or_else(Vec::new, |r| r.answers.clone());
        sign(self.claims(place), self.accelerators.clone(), answers, key)
    }

    /// The round, unless the chain that it froze is not the one that the report stands in: the chain was begun anew since.
    fn round_at(&self, place: &Place) -> Option<&HeldRound> {
        self.round
            .as_ref()
            .filter(|round| round.claims.chain == place.chain)
    }
}

/// Moves a sealed report to another place: the same statement about the same time, in another chain. The challenge and the checkpoint stay
/// those that it was made with. A round of evidence is left out: it is bound to the chain that was.
///
/// # Errors
/// [`SpoolError`] where the bundle cannot be read or signed.
pub fn reseal(bundle: &[u8], place: &Place, key: &dyn Signer) -> Result<Sealed, SpoolError> {
    let opened = OpenedReport::open(bundle)?;
    let mut claims = opened.claims;
    claims.report.chain = place.chain;
    claims.report.sequence = place.sequence;
    claims.report.previous = place.previous;
    claims.report.successor.clone_from(&place.successor);
    claims.report.round = None;
    let accelerators = opened.accelerators.into_iter().flatten().collect();
    Ok(sign(claims, accelerators, Vec::new(), key)?)
}
