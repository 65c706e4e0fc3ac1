//! Why a command could not be done, in one line.

use super::session::PATIENCE;
use crate::catalogue::CatalogueInUseError;
use crate::collateral::{CollateralError, ExportError, RootError};
use crate::config::ConfigError;
use crate::fleet::{AnchorsError, LoadError};
use crate::identity::IdentityError;
use crate::init::InitError;
use crate::key::TokenError;
use crate::owner::ForeignError;
use crate::recorder::RecordError;
use crate::serve::ServeError;
use crate::store::StoreError;
use std::path::PathBuf;
use tracing_subscriber::filter::ParseError;
use weighbridge::accelerator::CatalogueError;
use weighbridge::bounded::BoundedReadError;
use weighbridge::crypto::dsse::DsseError;
use weighbridge::crypto::jws::JwsError;
use weighbridge::crypto::{KeyError, SignError};
use weighbridge::document::Mistakes;
use weighbridge::hardware::nvidia::UcsError;
use weighbridge::hardware::nvidia::nras::NrasError;
use weighbridge::id::{Digest, NodeId};
use weighbridge::rules::RuleSetError;
use weighbridge::statement::StatementError;

/// Why a command could not be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The state is another user's.
    #[error(transparent)]
    Foreign(#[from] ForeignError),
    /// A verifier could not be made.
    #[error(transparent)]
    Init(#[from] InitError),
    /// The verifier could not serve.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// Keys could not be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// A key is not usable.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The database cannot be used.
    #[error("the verifier's database cannot be used")]
    Store(#[from] StoreError),
    /// The ledger cannot be written.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A file cannot be read.
    #[error("{path} cannot be read", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: BoundedReadError,
    },
    /// Evidence cannot be written for others.
    #[error("the evidence cannot be written in this form")]
    Ucs(#[from] UcsError),
    /// A result of NVIDIA's service cannot be read.
    #[error("{path} is no result of NRAS that can be read", path = path.display())]
    Nras {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: NrasError,
    },
    /// A set of keys cannot be read.
    #[error("{path} is no set of keys (JWKS) that can be used", path = path.display())]
    Jwks {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: JwsError,
    },
    /// A key would overwrite a file.
    #[error("{path} exists and may hold a key, which is never overwritten: name another file, or move that one away", path = path.display())]
    KeyExists {
        /// The file.
        path: PathBuf,
    },
    /// A document is not signed.
    #[error("{path} is not signed: sign it first with `weighbridge-verifier {kind} sign`, and load the .dsse file that makes", path = path.display())]
    Unsigned {
        /// The file.
        path: PathBuf,
        /// What it is, as the command line calls it.
        kind: &'static str,
    },
    /// An argument is not usable.
    #[error("{what} cannot be used: {why}")]
    Argument {
        /// Which.
        what: &'static str,
        /// Why not.
        why: &'static str,
    },
    /// There is no such node.
    #[error("no node's id begins with `{digits}`; `weighbridge-verifier node list` shows all")]
    NoNode {
        /// What was given of its id.
        digits: String,
    },
    /// There is more than one such node.
    #[error("`{digits}` may be any of {} nodes, so give more digits: {}", nodes.len(), in_a_row(nodes))]
    ManyNodes {
        /// What was given of an id.
        digits: String,
        /// Those whose ids begin so.
        nodes: Vec<NodeId>,
    },
    /// The act was refused.
    #[error("{why}")]
    Refused {
        /// Why.
        why: String,
    },
    /// A root cannot be used.
    #[error(transparent)]
    Root(#[from] RootError),
    /// What is kept to appraise devices with cannot be used.
    #[error(transparent)]
    Collateral(#[from] CollateralError),
    /// What is kept to appraise devices with could not be written for others.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// A key in a token cannot be used.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The anchors cannot be used.
    #[error(transparent)]
    Anchors(#[from] AnchorsError),
    /// A licence cannot be used.
    #[error(transparent)]
    Licence(#[from] LoadError),
    /// A licence has mistakes.
    #[error("the licence has mistakes")]
    Mistakes(#[from] Mistakes),
    /// A document could not be signed.
    #[error("the document could not be signed")]
    Dsse(#[from] DsseError),
    /// There is no catalogue to go by.
    #[error(transparent)]
    Catalogue(#[from] CatalogueInUseError),
    /// A document is not what it should be.
    #[error("{path} is no catalogue that can be used", path = path.display())]
    Paper {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: CatalogueError,
    },
    /// A document is no statement.
    #[error("{path} is no statement that can be used", path = path.display())]
    Statement {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: StatementError,
    },
    /// A document is no rule set.
    #[error("{path} is no rule set that can be used", path = path.display())]
    RuleSet {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: RuleSetError,
    },
    /// A result could not be signed.
    #[error("the result could not be signed")]
    Sign(#[from] SignError),
    /// The output could not be encoded.
    #[error("the output could not be encoded")]
    Json(#[from] serde_json::Error),
    /// Whether a running verifier records an act cannot be told.
    #[error(
        "it cannot be told whether the running verifier records this: nothing is changed yet, and the ledger may hold it; \
         `weighbridge-verifier key list` and `accreditation list` show what counts, and the same command may be given again"
    )]
    Unsure(#[source] Option<StoreError>),
    /// A key was trusted, and the one in whose place it comes was not revoked.
    #[error(
        "key {new} is trusted now, and the old one still counts: `weighbridge-verifier key revoke {old}` ends that"
    )]
    HalfRotated {
        /// The old key.
        old: Digest,
        /// The new one.
        new: Digest,
        /// Why.
        #[source]
        source: Box<CommandError>,
    },
    /// A running verifier did not answer.
    #[error("the running verifier has not carried it out within {} s; it stays queued, see its log", PATIENCE.as_secs())]
    Queued,
    /// Output or input failed.
    #[error("the output could not be written")]
    Io(#[from] std::io::Error),
    /// The log filter is not one.
    #[error("`log` is not a filter such as `info` or `weighbridge_verifier=debug`")]
    Log(#[from] ParseError),
}

/// The first nodes of a list, as many as a reader would compare.
fn in_a_row(nodes: &[NodeId]) -> String {
    let mut shown: Vec<String> = nodes.iter().take(8).map(ToString::to_string).collect();
    if nodes.len() > shown.len() {
        shown.push("…".to_owned());
    }
    shown.join(", ")
}
