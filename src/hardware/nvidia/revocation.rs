//! Whether the certificates that a result rests on were revoked, as OCSP replies say it.
//!
//! Decides: whether every certificate is called good by a reply that holds at the time. Trusts issuers whose chain was checked. Does not
//! establish anything where no reply was presented.

use super::appraise::{Collateral, Terms};
use crate::hardware::{Step, told};
use crate::x509::ocsp::Status;
use crate::x509::{Certificate, Links};

/// Every certificate must be called good by a reply that holds at the time.
pub(super) fn revocation(
    certificates: &[(&Certificate, &Certificate)],
    collateral: &Collateral<'_>,
    terms: &Terms,
    links: &mut Links,
) -> Step {
    if collateral.replies.is_empty() {
        return Step::NotChecked("no OCSP reply was presented".to_owned());
    }
    let (mut wrong, mut open) = (Vec::new(), Vec::new());
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
        let (mut good, mut unusable) = (false, Vec::new());
        for (presented, reply) in about {
            let file = &presented.name;
            match reply.status(certificate, issuer, terms.at, None, links) {
                Ok(Some(Status::Good)) => good = true,
                Ok(Some(Status::Unknown) | None) => {
                    wrong.push(format!("{file}: the responder does not know `{name}`"));
                }
                Ok(Some(status @ Status::Revoked { since, .. })) => wrong.push(format!(
                    "{file}: `{name}` is {} since {since}",
                    if status.is_hold() { "on hold" } else { "revoked" }
                )),
                // One that is too old does no harm beside one that is not.
                Err(error) => unusable.push(format!("{file}: {}", told(&error))),
            }
        }
        if !good {
            wrong.extend(unusable);
        }
    }
    match (wrong.is_empty(), open.is_empty()) {
        (false, _) => Step::Fail(wrong.join("; ")),
        (true, false) => Step::NotChecked(open.join("; ")),
        (true, true) => Step::Pass,
    }
}
