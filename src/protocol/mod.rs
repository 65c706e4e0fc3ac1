//! What agent and verifier say to each other: enrolment, head, delivery, receipt, refusal, renewal.
//!
//! Every message is deterministic CBOR of a closed schema, over HTTPS (TLS 1.3). The agent asks and the verifier answers; the verifier never
//! commands. Decides: what a message may hold. Authority is the COSE signature in a report or request; the TLS client certificate
//! is a second gate.

mod delivery;
mod enrolment;
mod refusal;
mod token;

pub use delivery::{Head, HeldChain, Instructions, Receipt, ReceiptError, ReceiptState};
pub use enrolment::{EnrolAnswer, EnrolRequest, EnrolmentState, RenewAnswer, RenewRequest, SignedRequest};
pub use refusal::{Refusal, RefusalCode, SignedRefusal};
pub use token::{EnrolmentToken, TokenError};

/// Media type of every message here but a report's bundle.
pub const MEDIA_TYPE: &str = "application/vnd.weighbridge+cbor";
/// Media type of a delivery: a detached EAT bundle (RFC 9711).
pub const BUNDLE_MEDIA_TYPE: &str = "application/eat-bun+cbor";

/// `POST`: an [`EnrolRequest`], without a client certificate; answers [`EnrolAnswer`].
pub const PATH_ENROL: &str = "/v1/enrol";
/// `POST`: a [`SignedRequest`] holding a [`RenewRequest`], with or without a client certificate; answers [`RenewAnswer`].
pub const PATH_RENEW: &str = "/v1/renew";
/// `GET`, with a client certificate: answers [`Head`].
pub const PATH_HEAD: &str = "/v1/head";
/// `POST`, with a client certificate: a report's bundle; answers [`Receipt`], or [`SignedRefusal`] with status 422.
pub const PATH_REPORT: &str = "/v1/report";

/// The largest answer that an agent reads, in bytes.
pub const MAX_ANSWER: usize = 64 << 10;
