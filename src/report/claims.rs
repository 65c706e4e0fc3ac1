//! The token's claims.
//!
//! Registered claims keep their CWT and EAT keys (RFC 8392, RFC 9711); everything of ours stands in one private claim
//! whose key lies below -65536, as the CWT registry leaves it.

use super::envelope::SubmoduleDigest;
use super::host::HostSubmodule;
use super::round::RoundClaims;
use crate::cbor::{self, DecodeError, Decoder, Encoder, Wire};
use crate::id::{BootId, ChainId, Challenge, Digest, NodeId};
use crate::time::{BootNanos, UnixSeconds};

/// The profile of this report (EAT claim `eat_profile`).
pub const PROFILE: &str = "tag:weighbridge.example,2026:report/1";

/// The profiles that this build reads, newest first.
pub const PROFILES: &[&str] = &[PROFILE];

crate::record! {
    /// The time that a report speaks of.
    pub struct ReportTime {
        /// Boot time at its start.
        #[serde(rename = "start_boot_ns")]
        0 => start: BootNanos,
        /// Boot time at its end.
        #[serde(rename = "end_boot_ns")]
        1 => end: BootNanos,
        /// Wall time at its end, by the node's clock.
        2 => wall_end: UnixSeconds,
        /// How often the wall clock was seen to step against boot time by more than two seconds, and by how many
        /// seconds in all.
        3 => wall_steps: u32,
        /// Sum of the sizes of those steps, in seconds.
        4 => wall_step_seconds: u64,
    }
}

crate::record! {
    /// The verifier's latest checkpoint that the node has found consistent: proves "not made before".
    pub struct CheckpointSeen {
        /// Tree size.
        0 => size: u64,
        /// Root.
        1 => root: Digest,
    }
}

crate::record! {
    /// Why a chain begins anew.
    pub struct Successor {
        /// The chain that came before, as the verifier held it.
        0 => chain: ChainId,
        /// The highest sequence number that the verifier held of it.
        1 => sequence: u64,
        /// The digest of that report.
        2 => digest: Digest,
    }
}

crate::record! {
    /// What this profile adds to the registered claims.
    pub struct ReportClaims {
        /// The chain.
        0 => chain: ChainId,
        /// Number in the chain, from 1.
        1 => sequence: u64,
        /// Digest of the report before, absent in the first.
        2 => previous: Option<Digest>,
        /// Where this is the first report of a new chain: the head of the old one.
        3 => successor: Option<Successor>,
        /// Boot id.
        4 => boot: BootId,
        /// The time spoken of.
        5 => time: ReportTime,
        /// Checkpoint seen.
        6 => checkpoint: Option<CheckpointSeen>,
        /// Length that reports should have, in seconds, as the verifier set it.
        7 => report_seconds: u32,
        /// Whether windows are shortened for a trial.
        8 => trial: bool,
        /// How many times the agent was started within the time spoken of.
        9 => agent_starts: u32,
        /// The round of evidence that it carries, if it carries one.
        10 => round: Option<RoundClaims>,
    }
}

/// The submodules (EAT claim `submods`): the host's claims, one digest for each accelerator, named `gpu-0`, `gpu-1`, …, and one for each answer
/// of a round, named `evidence-0`, `evidence-1`, ….
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Submodules {
    /// The host.
    pub host: HostSubmodule,
    /// Digests of the accelerators' claims, in the order of their names.
    pub accelerators: Vec<SubmoduleDigest>,
    /// Digests of a round's answers, in the order of their names.
    pub evidence: Vec<SubmoduleDigest>,
}

impl Submodules {
    /// The most accelerators in one report.
    pub const MAX_ACCELERATORS: usize = 64;
    /// The most answers in one round: every accelerator, and the switches of a host.
    pub const MAX_EVIDENCE: usize = 96;

    /// The name of the accelerator at `index`.
    #[must_use]
    pub fn name(index: usize) -> String {
        format!("gpu-{index}")
    }

    /// The name of the answer at `index`.
    #[must_use]
    pub fn evidence_name(index: usize) -> String {
        format!("evidence-{index}")
    }
}

impl Wire for Submodules {
    /// Deterministic encoding writes names by their length, then by their bytes: that is the host, the accelerators and the answers, each by number,
    /// for as many as there may be.
    fn encode(&self, e: &mut Encoder<&mut Vec<u8>>) {
        let digests = self.accelerators.len().saturating_add(self.evidence.len());
        cbor::written(e.map(u64::try_from(digests).unwrap_or(u64::MAX).saturating_add(1)));
        cbor::written(e.str("host"));
        self.host.encode(e);
        for (i, digest) in self.accelerators.iter().enumerate() {
            cbor::written(e.str(&Self::name(i)));
            digest.encode(e);
        }
        for (i, digest) in self.evidence.iter().enumerate() {
            cbor::written(e.str(&Self::evidence_name(i)));
            digest.encode(e);
        }
    }

    /// Takes the names as they come: the order, and that none is left out, follows from encoding the same again, as every decoding does.
    fn decode(d: &mut Decoder<'_>, what: &'static str) -> Result<Self, DecodeError> {
        let Ok(Some(count)) = d.map() else {
            return Err(cbor::shape(d, what, "a map of submodules"));
        };
        let (mut host, mut accelerators, mut evidence) = (None, Vec::new(), Vec::new());
        for _ in 0..count {
            let name = d
                .str()
                .map_err(|_| cbor::shape(d, what, "the name of a submodule"))?;
            let (list, limit) = match name {
                "host" if host.is_none() => {
                    host = Some(HostSubmodule::decode(d, "submods.host")?);
                    continue;
                }
                _ if name.starts_with("gpu-") => (&mut accelerators, Self::MAX_ACCELERATORS),
                _ if name.starts_with("evidence-") => (&mut evidence, Self::MAX_EVIDENCE),
                _ => {
                    return Err(cbor::shape(
                        d,
                        what,
                        "the submodules `host`, `gpu-0`, … and `evidence-0`, … in order",
                    ));
                }
            };
            if list.len() >= limit {
                return Err(DecodeError::TooMany {
                    what: "submods",
                    found: count,
                    limit: u64::try_from(limit).unwrap_or(u64::MAX),
                });
            }
            // Eleven names in their order are `-0` to `-9`, then `-10`: shorter first is by number.
            list.push(SubmoduleDigest::decode(d, "submods")?);
        }
        Ok(Self {
            host: host.ok_or_else(|| cbor::shape(d, what, "the submodule `host`"))?,
            accelerators,
            evidence,
        })
    }
}

crate::record! {
    /// The claims of the token, with their registered keys.
    pub struct TokenClaims {
        /// `aud`: the verifier's id, in hexadecimal.
        3 => audience: String,
        /// `iat`: wall time of signing, by the node's clock.
        6 => issued_at: UnixSeconds,
        /// `eat_nonce`: the challenge answered.
        10 => nonce: Option<Challenge>,
        /// `ueid`: the node.
        256 => node: NodeId,
        /// `eat_profile`.
        265 => profile: String,
        /// `submods`.
        266 => submods: Submodules,
        /// Ours.
        -70_000 => report: ReportClaims,
    }
}
