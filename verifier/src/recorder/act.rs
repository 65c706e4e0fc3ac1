//! Acts: what administrators and enrolment change, as leaves of the ledger.
//!
//! Decides: what an act does to the rows of nodes and tokens. An administrator's command queues its act in the database, and the one writer
//! of the ledger carries it out, so that commands are safe while the verifier serves.

use crate::store::{Change, NodeRow, Store, StoreError, TokenRow};
use weighbridge::cbor::Bytes;
use weighbridge::id::{Digest, NodeId};
use weighbridge::protocol::EnrolmentState;
use weighbridge::time::UnixSeconds;

weighbridge::code! {
    /// What was done.
    pub enum ActKind {
        /// An enrolment token was made.
        Token = 0 => "token",
        /// A node was enrolled.
        Enrol = 1 => "enrol",
        /// A node was approved.
        Approve = 2 => "approve",
        /// A node was revoked.
        Revoke = 3 => "revoke",
        /// A signed document was loaded.
        Document = 4 => "document",
        /// A key was trusted to sign documents.
        Trust = 5 => "trust",
        /// A key is trusted no longer.
        Distrust = 6 => "distrust",
        /// An enrolment token was revoked.
        RevokeToken = 7 => "revoke token",
        /// An accreditation was put on the checker's list.
        Accredit = 8 => "accredit",
        /// An accreditation was withdrawn.
        Withdraw = 9 => "withdraw",
    }
}

weighbridge::code! {
    /// What a trusted key may sign.
    pub enum KeyRole {
        /// Licences.
        Licences = 0 => "licences",
        /// Catalogues of accelerators.
        Catalogues = 1 => "catalogues",
        /// Statements about sites.
        Statements = 2 => "statements",
        /// Rule sets.
        Rules = 3 => "rules",
    }
}

impl clap::ValueEnum for KeyRole {
    fn value_variants<'a>() -> &'a [Self] {
        Self::ALL
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(clap::builder::PossibleValue::new(self.text()))
    }
}

weighbridge::record! {
    /// Terms of an enrolment token.
    pub struct TokenTerms {
        /// SHA-256 of the secret.
        0 => digest: Digest,
        /// The site that it admits to.
        1 => site: String,
        /// How many nodes it admits.
        2 => count: u32,
        /// Until when.
        3 => expires: UnixSeconds,
        /// Serial numbers of accelerators that it admits; empty admits any.
        4 => serials: Vec<String>,
        /// Whether nodes that it admits are approved at once.
        5 => approve: bool,
    }
}

weighbridge::record! {
    /// An accreditation on the checker's list.
    pub struct AccreditationTerms {
        /// Its number.
        0 => number: String,
        /// Areas of security that it covers; all, where it names none.
        1 => areas: Vec<String>,
        /// Standards that it covers; all, where it names none.
        2 => standards: Vec<String>,
        /// Sites that it covers; all, where it names none.
        3 => sites: Vec<String>,
        /// From when it holds.
        4 => valid_from: Option<UnixSeconds>,
        /// The first second after it ends.
        5 => valid_to: Option<UnixSeconds>,
    }
}

weighbridge::record! {
    /// An act.
    pub struct Act {
        /// What.
        0 => kind: ActKind,
        /// When it was carried out, by the writer's clock; until then, when it was asked for.
        1 => at: UnixSeconds,
        /// The node, for an enrolment, an approval or a revocation.
        2 => node: Option<NodeId>,
        /// From when a revocation or a withdrawal counts; where absent, from the second after it was carried out.
        3 => from: Option<UnixSeconds>,
        /// The token that was made.
        4 => token: Option<TokenTerms>,
        /// The digest of the token that admitted a node, or that was revoked.
        5 => token_digest: Option<Digest>,
        /// The node that this one was before, for an enrolment.
        6 => predecessor: Option<NodeId>,
        /// Identity of the key: the node's, for an enrolment; the issuer's, where one is trusted or no longer is.
        7 => key: Option<Digest>,
        /// A signed document, as its envelope.
        8 => document: Option<Bytes>,
        /// The name under which an issuer's key is or was trusted, or that of an accreditation's holder.
        9 => issuer: Option<String>,
        /// What a key is trusted to sign; licences where absent. A key that is trusted no longer loses all that it was trusted with.
        10 => role: Option<KeyRole>,
        /// The accreditation that was put on the list; of one that was withdrawn, its number alone.
        11 => accreditation: Option<AccreditationTerms>,
    }
}

impl Act {
    /// An act with nothing but its kind and time.
    #[must_use]
    pub fn new(kind: ActKind, at: UnixSeconds) -> Self {
        Self {
            kind,
            at,
            node: None,
            from: None,
            token: None,
            token_digest: None,
            predecessor: None,
            key: None,
            document: None,
            issuer: None,
            role: None,
            accreditation: None,
        }
    }
}

/// The rows that an act changes, or why it cannot be carried out, for the person who asked.
pub(super) async fn changes(act: &Act, store: &dyn Store) -> Result<Result<Vec<Change>, String>, StoreError> {
    match act.kind {
        ActKind::Token => Ok(act.token.as_ref().map_or_else(
            || Err("the act names no token".to_owned()),
            |t| Ok(vec![Change::Token(token(t, act.at))]),
        )),
        ActKind::RevokeToken => {
            let known = match act.token_digest {
                Some(digest) => store.token(digest).await?,
                None => None,
            };
            Ok(known.map_or_else(
                || Err("the token is not known; `weighbridge-verifier token list` shows all".to_owned()),
                |mut t| {
                    t.revoked_at = t.revoked_at.or(Some(act.at));
                    Ok(vec![Change::Token(t)])
                },
            ))
        }
        ActKind::Approve | ActKind::Revoke => {
            let Some(id) = act.node else {
                return Ok(Err("the act names no node".to_owned()));
            };
            Ok(match store.node(id).await? {
                None => Err(format!(
                    "node {id} is not known; `weighbridge-verifier node list` shows all"
                )),
                Some(node) => judged(act, node),
            })
        }
        // What these change stands in the ledger and in the anchors, not in rows.
        ActKind::Document | ActKind::Trust | ActKind::Distrust | ActKind::Accredit | ActKind::Withdraw => {
            Ok(Ok(Vec::new()))
        }
        ActKind::Enrol => Ok(Err("a node is enrolled by a token, not by a command".to_owned())),
    }
}

fn judged(act: &Act, mut node: NodeRow) -> Result<Vec<Change>, String> {
    let id = node.id;
    match (act.kind, node.state) {
        (ActKind::Approve, EnrolmentState::Revoked) => {
            return Err(format!(
                "node {id} was revoked, which is final; enrol it again with a new key"
            ));
        }
        (ActKind::Approve, _) => {
            node.state = EnrolmentState::Approved;
            node.approved_at = node.approved_at.or(Some(act.at));
        }
        _ => {
            if let Some(from) = act.from.filter(|t| *t > act.at) {
                return Err(format!(
                    "a node is refused as soon as it is revoked, so a revocation cannot count from {from}: the verifier's time is {}; \
                     give that or an earlier time, or none",
                    act.at
                ));
            }
            node.state = EnrolmentState::Revoked;
            node.revoked_at = node.revoked_at.or(Some(act.at));
            // Times are whole seconds, and every report that is held came before this act.
            let from = act.from.unwrap_or_else(|| act.at.plus(1));
            node.revoked_from = Some(node.revoked_from.map_or(from, |earlier| earlier.min(from)));
        }
    }
    Ok(vec![Change::Node(Box::new(node))])
}

fn token(terms: &TokenTerms, made_at: UnixSeconds) -> TokenRow {
    TokenRow {
        digest: terms.digest,
        site: terms.site.clone(),
        count: terms.count,
        used: 0,
        expires: terms.expires,
        serials: terms.serials.clone(),
        approve: terms.approve,
        made_at,
        revoked_at: None,
    }
}
