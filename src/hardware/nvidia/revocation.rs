//! Whether the certificates that a result rests on were revoked, as OCSP replies say it.
//!
//! Decides: whether every certificate is called good by a reply that holds at the time. Trusts issuers whose chain was checked. Does not
//! establish anything where no reply was presented.

use super::appraise::{Collateral, Terms};
use crate::hardware::{Step, told};
use crate::x509::ocsp::Status;
use crate::x509::{Certificate, Links};

/// What replies that hold at the time say of certificates: of several the worst.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Each is good.
    Good,
    /// Of one of them nothing is said that can be used.
    #[default]
    Open,
    /// The responder does not know one of them.
    Unknown,
    /// One of them is revoked or on hold.
    Revoked,
}

/// Every certificate must be called good by a reply that holds at the time. The standings are those of the certificates, in their order.
pub(super) fn revocation(
    certificates: &[(&Certificate, &Certificate)],
    collateral: &Collateral<'_>,
    terms: &Terms,
    links: &mut Links,
) -> (Step, Vec<Standing>) {
    if collateral.replies.is_empty() {
        let why = "no OCSP reply was presented".to_owned();
        return (Step::NotChecked(why), vec![Standing::Open; certificates.len()]);
    }
    let (mut wrong, mut open, mut standings) = (Vec::new(), Vec::new(), Vec::new());
    for presented in &collateral.replies {
        if let Err(error) = &presented.content {
            wrong.push(format!("{}: {}", presented.name, told(error)));
        }
    }
    for (certificate, issuer) in certificates {
        let name = certificate.common_name();
        let replies = collateral
            .replies
            .iter()
            .filter_map(|r| Some((r, r.content.as_ref().ok()?)));
        let about: Vec<_> = replies
            .filter(|(_, r)| r.speaks_of(certificate, issuer))
            .collect();
        if about.is_empty() {
            open.push(format!("no reply speaks of `{name}`"));
        }
        let (mut good, mut unusable, mut worst) = (false, Vec::new(), Standing::Good);
        for (presented, reply) in about {
            let file = &presented.name;
            match reply.status(certificate, issuer, terms.at, None, links) {
                Ok(Some(Status::Good)) => good = true,
                Ok(Some(Status::Unknown) | None) => {
                    worst = worst.max(Standing::Unknown);
                    wrong.push(format!("{file}: the responder does not know `{name}`"));
                }
                Ok(Some(status @ Status::Revoked { since, .. })) => {
                    worst = Standing::Revoked;
                    wrong.push(format!(
                        "{file}: `{name}` is {} since {since}",
                        if status.is_hold() { "on hold" } else { "revoked" }
                    ));
                }
                // One that is too old does no harm beside one that is not.
                Err(error) => unusable.push(format!("{file}: {}", told(&error))),
            }
        }
        if !good {
            wrong.extend(unusable);
            worst = worst.max(Standing::Open);
        }
        standings.push(worst);
    }
    let step = match (wrong.is_empty(), open.is_empty()) {
        (false, _) => Step::Fail(wrong.join("; ")),
        (true, false) => Step::NotChecked(open.join("; ")),
        (true, true) => Step::Pass,
    };
    (step, standings)
}
