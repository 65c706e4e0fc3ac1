//! `enrol`: the token's secret for a certificate, and what to expect from the verifier.
//!
//! Decides: what is pinned. The server is trusted because it proves the key whose digest stands in the token. Repeated after a crash it
//! does no harm: the key is made once, and the verifier answers the same key with the same node. With `--again` all is made ready beside
//! what is there, which stays in force until the new enrolment is written.

use crate::cli::{Outcome, runtime, say};
use crate::config::Config;
use crate::delivery::{self, DeliveryError, Exchange, Link, LinkError};
use crate::enrolment::{Enrolment, EnrolmentError};
use crate::inventory::Format;
use crate::keys::{self, CertificateError, Lifetime, NodeKey, NodeKeyError, TlsError};
use crate::sampler::EnvironmentError;
use crate::service;
use crate::spool::{Spool, SpoolError};
use crate::state::{self, StateDir, StateError};
use std::io::Read;
use std::time::Duration;
use weighbridge::bounded::{self, BoundedReadError};
use weighbridge::cbor::Bytes;
use weighbridge::crypto::{Entropy, KeyError, PublicKey};
use weighbridge::id::NodeId;
use weighbridge::protocol::{
    EnrolAnswer, EnrolRequest, EnrolmentState, EnrolmentToken, RefusalCode, SignedRefusal, TokenError,
};
use weighbridge::report::PROFILES;
use weighbridge::time::UnixSeconds;

/// How long the devices may take to be listed for a token that is bound to serial numbers.
const SURVEY: Duration = Duration::from_secs(20);
/// How often an approval is asked for.
const APPROVAL_POLL: Duration = Duration::from_secs(3);

/// What `enrol` is told.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The token, as `weighbridge-verifier token new` printed it; `-` reads it from standard input
    token: String,
    /// Wait until an administrator has approved the node
    #[arg(long)]
    wait: bool,
    /// Enrol anew, with a new key, although this state directory is enrolled: the former key and the chain are set aside (`….former`)
    #[arg(long)]
    again: bool,
    /// The node that this one was before a reimage or repair, so that its devices are not taken for duplicates
    #[arg(long, value_name = "NODE", value_parser = parse_node)]
    predecessor: Option<NodeId>,
    /// Form of the output
    #[arg(long, value_name = "FORM", default_value = "text")]
    format: Format,
}

fn parse_node(text: &str) -> Result<NodeId, weighbridge::id::ParseIdError> {
    NodeId::parse(text)
}

/// Why the node is not enrolled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnrolError {
    /// The token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// Standard input.
    #[error("the token could not be read from standard input")]
    Input(#[from] BoundedReadError),
    /// Enrolled elsewhere.
    #[error("this node is enrolled as {node} with {url}; give --again to leave that behind")]
    Already {
        /// As.
        node: NodeId,
        /// With.
        url: String,
    },
    /// The verifier refused.
    #[error("the verifier refused ({code}): {sentence}")]
    Refused {
        /// Its code.
        code: RefusalCode,
        /// Its words.
        sentence: String,
    },
    /// The answer is not what it should be.
    #[error("the verifier's answer does not fit: {0}")]
    Answer(&'static str),
    /// The state directory.
    #[error(transparent)]
    State(#[from] StateError),
    /// The former enrolment.
    #[error(transparent)]
    Enrolment(#[from] EnrolmentError),
    /// The key.
    #[error(transparent)]
    NodeKey(#[from] NodeKeyError),
    /// A certificate.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The ledger's key.
    #[error("the verifier's answer holds no ledger key that can be used")]
    LedgerKey(#[from] KeyError),
    /// TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The line.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The first word with the verifier as a node.
    #[error(transparent)]
    Delivery(#[from] DeliveryError),
    /// The spool.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The sampler's environment.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    /// The system.
    #[error("the agent could not set up what it runs on")]
    System(#[from] std::io::Error),
}

/// Enrols this node.
///
/// # Errors
/// [`EnrolError`].
pub fn enrol(config: &Config, arguments: &Arguments) -> Result<Outcome, EnrolError> {
    let token = EnrolmentToken::parse(&token_text(&arguments.token)?)?;
    let state = StateDir::open(&config.state_dir)?;
    let entropy = Entropy::system();
    let before = match Enrolment::load(&state.enrolment()) {
        Err(EnrolmentError::Damaged(_)) if arguments.again => None,
        other => other?,
    };
    if let Some(before) = &before {
        before.settle(&state, &entropy)?;
    }
    let runtime = runtime()?;
    if let Some(before) = &before
        && !arguments.again
    {
        if before.verifier != token.verifier {
            return Err(EnrolError::Already {
                node: before.node,
                url: before.url.clone(),
            });
        }
        let key = before.node_key(&state.key(), &entropy)?;
        tell(arguments.format, "enrolled already", before, None);
        return runtime.block_on(approval(config, before, &key, arguments));
    }
    // A key is one node for good, and so is a chain. An agent that runs has both in use; it must be stopped first.
    let in_use = if arguments.again && state.spool().exists() {
        Some(Spool::open(&state.spool(), config.spool_max_bytes, &entropy)?)
    } else {
        None
    };
    let (key_path, spool_path) = if arguments.again {
        (state::next(&state.key()), state::next(&state.spool()))
    } else {
        (state.key(), state.spool())
    };
    let key = NodeKey::load_or_create(&key_path, &entropy)?;
    let predecessor = arguments.predecessor.or_else(|| before.as_ref().map(|b| b.node));
    runtime.block_on(async {
        let answer = request(config, &token, &key, predecessor).await;
        if arguments.again && matches!(answer, Err(EnrolError::Refused { .. })) {
            // Another token may find this key taken; the next try makes another.
            std::fs::remove_file(&key_path).ok();
        }
        let answer = answer?;
        let enrolment = accept(&token, &key, &answer)?;
        let (spool, _) = Spool::open(&spool_path, config.spool_max_bytes, &entropy)?;
        let mut standing = spool.standing()?;
        if let Some(complaint) = standing.follow(&answer.instructions, &config.acceptance()) {
            tracing::warn!("{complaint}");
        }
        spool.remember(&standing)?;
        drop(spool);
        // The enrolment comes last: with it the node is enrolled, without it this can be repeated.
        enrolment.store(&state.enrolment())?;
        enrolment.settle(&state, &entropy)?;
        drop(in_use);
        tell(arguments.format, "enrolled", &enrolment, Some(answer.state));
        match answer.state {
            EnrolmentState::Approved => Ok(Outcome::Holds),
            EnrolmentState::Revoked => Ok(Outcome::Open),
            EnrolmentState::Pending => approval(config, &enrolment, &key, arguments).await,
        }
    })
}

/// Says what the node is enrolled as, and what is left to do.
fn tell(format: Format, what: &str, enrolment: &Enrolment, state: Option<EnrolmentState>) {
    let Enrolment {
        node, verifier, url, ..
    } = enrolment;
    if format == Format::Json {
        let shown = serde_json::json!({ "node": node, "verifier": verifier, "url": url, "state": state });
        return say(&shown.to_string());
    }
    say(&format!("{what} as node {node} with {url}"));
    match state {
        Some(EnrolmentState::Revoked) => say("the node is revoked"),
        Some(EnrolmentState::Pending) => say(&format!(
            "an administrator has still to approve it: weighbridge-verifier node approve {node}"
        )),
        Some(EnrolmentState::Approved) | None => {}
    }
}

fn token_text(argument: &str) -> Result<String, EnrolError> {
    if argument != "-" {
        return Ok(argument.to_owned());
    }
    Ok(bounded::read_text(
        std::io::stdin().lock().by_ref(),
        bounded::MAX_KEY_FILE,
    )?)
}

async fn request(
    config: &Config,
    token: &EnrolmentToken,
    key: &NodeKey,
    predecessor: Option<NodeId>,
) -> Result<EnrolAnswer, EnrolError> {
    let serials: Vec<String> = service::survey(config.supervisor()?, SURVEY)
        .await
        .map(|found| found.devices.into_iter().filter_map(|d| d.serial).collect())
        .unwrap_or_default();
    let request = EnrolRequest {
        secret: token.secret,
        csr: Bytes(keys::request(key.signer.as_ref())?),
        key_protection: key.protection,
        profiles: PROFILES.iter().map(|p| (*p).to_owned()).collect(),
        predecessor,
        serials,
    };
    let tls = || keys::client_config(token.verifier, None, None);
    let line = Link::new(&token.url, tls()?, tls()?, config.proxy.as_ref())?;
    match line.enrol(&request).await {
        Err(LinkError::Refused(signed)) => Err(refused(&signed)),
        other => Ok(other?),
    }
}

/// The refusal's words. Its signature cannot be checked yet: the ledger's key comes with an answer that was not given. TLS has proved who speaks.
fn refused(signed: &SignedRefusal) -> EnrolError {
    match signed.peek() {
        Ok(refusal) => EnrolError::Refused {
            code: refusal.code,
            sentence: refusal.sentence,
        },
        Err(_) => EnrolError::Answer("a refusal that cannot be read"),
    }
}

/// Checks that the answer is about this key and from this verifier.
fn accept(token: &EnrolmentToken, key: &NodeKey, answer: &EnrolAnswer) -> Result<Enrolment, EnrolError> {
    if answer.verifier != token.verifier || keys::spki_digest(&answer.ca.0)?.0 != token.verifier.0 {
        return Err(EnrolError::Answer(
            "it is from another verifier than the token names",
        ));
    }
    if keys::spki_digest(&answer.certificate.0)? != key.signer.public_key().id() {
        return Err(EnrolError::Answer("its certificate is for another key"));
    }
    Lifetime::of(&answer.certificate.0)?;
    PublicKey::from_spki(&answer.ledger_key.0)?;
    Ok(Enrolment {
        url: token.url.trim_end_matches('/').to_owned(),
        verifier: answer.verifier,
        node: answer.node,
        certificate: answer.certificate.clone(),
        ca: answer.ca.clone(),
        ledger_origin: answer.ledger_origin.clone(),
        ledger_key: answer.ledger_key.clone(),
        renewal_asked_at: UnixSeconds(0),
    })
}

/// Waits for the approval where that is wanted.
async fn approval(
    config: &Config,
    enrolment: &Enrolment,
    key: &NodeKey,
    arguments: &Arguments,
) -> Result<Outcome, EnrolError> {
    if !arguments.wait {
        return Ok(Outcome::Holds);
    }
    let line = delivery::link(enrolment, key, config.proxy.as_ref())?;
    loop {
        match line.head(None).await {
            Ok(_) => {
                if arguments.format == Format::Text {
                    say("approved");
                }
                return Ok(Outcome::Holds);
            }
            Err(LinkError::Refused(_) | LinkError::Unreachable { .. }) => {
                tokio::time::sleep(APPROVAL_POLL).await;
            }
            Err(e) => return Err(e.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weighbridge::crypto::{Algorithm, SecretKey, Signer};
    use weighbridge::id::{Challenge, VerifierId};
    use weighbridge::protocol::Instructions;

    struct Site {
        ca: rcgen::Certificate,
        issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
        ledger: SecretKey,
    }

    impl Site {
        fn new() -> Self {
            let key = rcgen::KeyPair::generate().unwrap();
            let params = rcgen::CertificateParams::default();
            let ca = params.self_signed(&key).unwrap();
            Self {
                ca,
                issuer: rcgen::Issuer::new(params, key),
                ledger: SecretKey::generate(Algorithm::Ed25519, &Entropy::system()).unwrap(),
            }
        }

        fn token(&self) -> EnrolmentToken {
            EnrolmentToken {
                url: "https://v.example:8443/".to_owned(),
                verifier: VerifierId(keys::spki_digest(self.ca.der()).unwrap().0),
                secret: [4; 16],
            }
        }

        fn answer(&self, key: &NodeKey) -> EnrolAnswer {
            let csr = keys::request(key.signer.as_ref()).unwrap();
            let csr = rcgen::CertificateSigningRequestParams::from_der(&csr.into()).unwrap();
            EnrolAnswer {
                verifier: self.token().verifier,
                node: NodeId([1; 17]),
                certificate: Bytes(csr.signed_by(&self.issuer).unwrap().der().to_vec()),
                ca: Bytes(self.ca.der().to_vec()),
                ledger_origin: "weighbridge/test".to_owned(),
                ledger_key: Bytes(self.ledger.public_key().spki().to_vec()),
                state: EnrolmentState::Approved,
                instructions: Instructions {
                    challenge: Challenge([0; 32]),
                    report_seconds: 300,
                    trial: false,
                    windows_kept_days: 30,
                    profiles: Vec::new(),
                    round: false,
                },
            }
        }
    }

    #[test]
    fn an_enrolled_node_has_the_key_that_it_enrolled_with_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let (path, entropy) = (dir.path().join("node.key"), Entropy::system());
        let (site, key) = (Site::new(), NodeKey::load_or_create(&path, &entropy).unwrap());
        let enrolment = accept(&site.token(), &key, &site.answer(&key)).unwrap();
        let found = enrolment.node_key(&path, &entropy).unwrap();
        assert_eq!(found.signer.public_key(), key.signer.public_key());
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(
            enrolment.node_key(&path, &entropy),
            Err(EnrolmentError::KeyGone)
        ));
        assert!(!path.exists(), "no key is made in its place");
        NodeKey::load_or_create(&path, &entropy).unwrap();
        assert!(matches!(
            enrolment.node_key(&path, &entropy),
            Err(EnrolmentError::OtherKey)
        ));
    }

    #[test]
    fn a_new_key_and_its_spool_take_their_place_wherever_the_work_was_interrupted() {
        let entropy = Entropy::system();
        for interrupted in 0..4 {
            let dir = tempfile::tempdir().unwrap();
            let state = StateDir::open(dir.path()).unwrap();
            let (site, names) = (Site::new(), [state.key(), state.spool()]);
            let key = |path: &std::path::Path| NodeKey::load_or_create(path, &entropy).unwrap();
            let (old, new) = (key(&names[0]), key(&state::next(&names[0])));
            std::fs::write(&names[1], "old").unwrap();
            std::fs::write(state::next(&names[1]), "new").unwrap();
            let enrolled = |key| accept(&site.token(), key, &site.answer(key)).unwrap();
            // While the former enrolment stands, nothing moves.
            enrolled(&old).settle(&state, &entropy).unwrap();
            assert_eq!(key(&names[0]).signer.public_key(), old.signer.public_key());
            let former = |name: &str| dir.path().join(format!("{name}.former"));
            if interrupted >= 1 {
                std::fs::rename(&names[1], former("spool.redb")).unwrap();
            }
            if interrupted >= 2 {
                std::fs::rename(state::next(&names[1]), &names[1]).unwrap();
            }
            if interrupted >= 3 {
                std::fs::rename(&names[0], former("node.key")).unwrap();
            }
            for _ in 0..2 {
                enrolled(&new).settle(&state, &entropy).unwrap();
                assert_eq!(key(&names[0]).signer.public_key(), new.signer.public_key());
                assert_eq!(
                    key(&former("node.key")).signer.public_key(),
                    old.signer.public_key()
                );
                let read = |path: &std::path::Path| {
                    bounded::read_text(std::fs::File::open(path).unwrap(), 9).unwrap()
                };
                assert_eq!(read(&names[1]), "new", "interrupted at {interrupted}");
                assert_eq!(read(&former("spool.redb")), "old");
            }
        }
    }

    #[test]
    fn only_an_answer_of_the_pinned_verifier_about_this_key_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let key = |name: &str| NodeKey::load_or_create(&dir.path().join(name), &Entropy::system()).unwrap();
        let (ours, other) = (key("ours"), key("other"));
        let (site, elsewhere) = (Site::new(), Site::new());
        let kept = accept(&site.token(), &ours, &site.answer(&ours)).unwrap();
        assert_eq!(kept.url, "https://v.example:8443");
        assert!(accept(&site.token(), &ours, &site.answer(&other)).is_err());
        assert!(accept(&elsewhere.token(), &ours, &site.answer(&ours)).is_err());
        let mut no_ledger = site.answer(&ours);
        no_ledger.ledger_key = Bytes(vec![1, 2, 3]);
        assert!(matches!(
            accept(&site.token(), &ours, &no_ledger),
            Err(EnrolError::LedgerKey(_))
        ));
        let mut noise = site.answer(&ours);
        noise.certificate = Bytes(vec![0x30]);
        assert!(accept(&site.token(), &ours, &noise).is_err());
    }
}
