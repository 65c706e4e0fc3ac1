use super::*;
use crate::spool::{Life, Place, Sealed};
use std::cell::RefCell;
use weighbridge::crypto::{Algorithm, PublicKey, SecretKey, merkle};
use weighbridge::id::{BootId, Challenge, Digest, NodeId, VerifierId};
use weighbridge::ledger::{self, Checkpoint, Leaf, LeafKind, Nodes};
use weighbridge::protocol::{Head, HeldChain, Instructions, ReceiptState, RenewAnswer};
use weighbridge::report::{ChainLink, ClockSource, KeyProtection, PROFILE};
use weighbridge::time::BootNanos;

const NODE: NodeId = NodeId([1; 17]);
const VERIFIER: VerifierId = VerifierId([3; 32]);

/// A verifier in memory: holds reports, knows forks, signs checkpoints.
struct Verifier {
    key: SecretKey,
    inner: RefCell<Inner>,
}

#[derive(Default)]
struct Inner {
    leaves: Vec<Digest>,
    held: Vec<(ChainLink, u64)>,
    refuse: Option<RefusalCode>,
    cut: bool,
    forge: bool,
    forks: u32,
    renewed_at: UnixSeconds,
}

struct Hashes<'a>(&'a [Digest]);

impl Nodes for Hashes<'_> {
    fn node(&self, level: u32, index: u64) -> Option<Digest> {
        let (from, to) = ((index << level) as usize, ((index + 1) << level) as usize);
        self.0.get(from..to).map(merkle::root)
    }
}

impl Verifier {
    fn new() -> Self {
        Self {
            key: SecretKey::generate(Algorithm::Ed25519, &Entropy::system()).unwrap(),
            inner: RefCell::new(Inner {
                leaves: vec![merkle::leaf_hash(b"genesis")],
                ..Inner::default()
            }),
        }
    }

    fn instructions(&self) -> Instructions {
        Instructions {
            challenge: Challenge([self.inner.borrow().leaves.len() as u8; 32]),
            report_seconds: 120,
            trial: false,
            windows_kept_days: 30,
            profiles: vec![PROFILE.to_owned()],
            round: false,
        }
    }

    fn checkpoint(&self) -> String {
        let inner = self.inner.borrow();
        Checkpoint {
            origin: "weighbridge/test".to_owned(),
            size: inner.leaves.len() as u64,
            root: merkle::root(&inner.leaves),
        }
        .sign(&self.key)
        .unwrap()
    }

    fn consistency(&self, seen: Option<u64>) -> Vec<Digest> {
        let inner = self.inner.borrow();
        let size = inner.leaves.len() as u64;
        seen.map_or(Vec::new(), |old| {
            ledger::consistency_path(old.min(size), size, &Hashes(&inner.leaves)).unwrap()
        })
    }

    fn refuse(&self, code: RefusalCode, submission: &[u8]) -> LinkError {
        let refusal = Refusal {
            verifier: VERIFIER,
            code,
            expected: "e".to_owned(),
            found: "f".to_owned(),
            sentence: "not so".to_owned(),
            submission: crypto::sha256(submission),
            at: UnixSeconds(1),
        };
        LinkError::Refused(Box::new(refusal.sign(&self.key).unwrap()))
    }

    /// Forgets everything above so many reports, as a restored backup would, without touching its ledger.
    fn forget_above(&self, count: usize) {
        self.inner.borrow_mut().held.truncate(count);
    }

    fn held(&self) -> Vec<ChainLink> {
        self.inner.borrow().held.iter().map(|(link, _)| *link).collect()
    }
}

impl Exchange for Verifier {
    async fn head(&self, seen: Option<u64>) -> Result<Head, LinkError> {
        if self.inner.borrow().cut {
            return Err(LinkError::Status(502));
        }
        let latest = self.inner.borrow().held.last().map(|(link, _)| HeldChain {
            chain: link.chain,
            sequence: link.sequence,
            digest: link.digest,
        });
        Ok(Head {
            latest,
            instructions: self.instructions(),
            checkpoint: self.checkpoint(),
            consistency: self.consistency(seen),
        })
    }

    async fn deliver(&self, bundle: &[u8]) -> Result<Receipt, LinkError> {
        if self.inner.borrow().cut {
            return Err(LinkError::Status(502));
        }
        if let Some(code) = self.inner.borrow().refuse {
            return Err(self.refuse(code, bundle));
        }
        let opened = OpenedReport::open(bundle).unwrap();
        let claims = &opened.claims.report;
        let link = ChainLink {
            chain: claims.chain,
            sequence: claims.sequence,
            digest: opened.digest(),
        };
        let salt = [7; 16];
        let found = self
            .inner
            .borrow()
            .held
            .iter()
            .find(|(l, _)| (l.chain, l.sequence) == (link.chain, link.sequence))
            .copied();
        let (state, index) = match found {
            Some((held, _)) if held.digest != link.digest => {
                self.inner.borrow_mut().forks += 1;
                return Err(self.refuse(RefusalCode::ChainFork, bundle));
            }
            Some((_, index)) => (ReceiptState::Held, index),
            None => {
                let mut inner = self.inner.borrow_mut();
                let index = inner.leaves.len() as u64;
                inner
                    .leaves
                    .push(Leaf::new(LeafKind::Report, &salt, &link.digest).hash());
                inner.held.push((link, index));
                (ReceiptState::Recorded, index)
            }
        };
        let mut inclusion = {
            let inner = self.inner.borrow();
            merkle::inclusion_path(index as usize, &inner.leaves)
        };
        if self.inner.borrow().forge {
            inclusion.push(Digest([0; 32]));
        }
        let highest = self
            .held()
            .iter()
            .filter(|l| l.chain == link.chain)
            .map(|l| l.sequence)
            .max();
        Ok(Receipt {
            node: NODE,
            chain: link.chain,
            sequence: link.sequence,
            report: link.digest,
            state,
            salt,
            leaf_index: index,
            inclusion,
            checkpoint: self.checkpoint(),
            consistency: self.consistency(claims.checkpoint.as_ref().map(|c| c.size)),
            highest: highest.unwrap_or(0),
            instructions: self.instructions(),
        })
    }

    async fn renew(&self, request: &SignedRequest) -> Result<RenewAnswer, LinkError> {
        let asked = request.claimed().unwrap();
        let csr = rcgen::CertificateSigningRequestParams::from_der(&asked.csr.0.as_slice().into()).unwrap();
        let key =
            PublicKey::from_spki(&rcgen::PublicKeyData::subject_public_key_info(&csr.public_key)).unwrap();
        request.verify(&key).unwrap();
        let mut inner = self.inner.borrow_mut();
        assert!(asked.at > inner.renewed_at, "the time must grow");
        inner.renewed_at = asked.at;
        let issuer = rcgen::KeyPair::generate().unwrap();
        let issuer = rcgen::Issuer::new(rcgen::CertificateParams::default(), issuer);
        let certificate = if inner.forge {
            let other = rcgen::KeyPair::generate().unwrap();
            rcgen::CertificateParams::default()
                .signed_by(&other, &issuer)
                .unwrap()
        } else {
            csr.signed_by(&issuer).unwrap()
        };
        Ok(RenewAnswer {
            certificate: Bytes(certificate.der().to_vec()),
        })
    }
}

/// A self-signed certificate that holds in 2026 for so many days from 1 January.
fn certificate(days: u8) -> Bytes {
    let mut params = rcgen::CertificateParams::default();
    params.not_before = rcgen::date_time_ymd(2026, 1, 1);
    params.not_after = rcgen::date_time_ymd(2026, 1, days.saturating_add(1));
    let key = rcgen::KeyPair::generate().unwrap();
    Bytes(params.self_signed(&key).unwrap().der().to_vec())
}

struct Node {
    dir: tempfile::TempDir,
    key: NodeKey,
    enrolment: Enrolment,
    sealed: std::cell::Cell<u64>,
}

impl Node {
    fn new(verifier: &Verifier) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = NodeKey::load_or_create(&dir.path().join("node.key"), &Entropy::system()).unwrap();
        let enrolment = Enrolment {
            url: "https://v.example".to_owned(),
            verifier: VERIFIER,
            node: NODE,
            certificate: certificate(30),
            ca: Bytes(Vec::new()),
            ledger_origin: "weighbridge/test".to_owned(),
            ledger_key: Bytes(crypto::Signer::public_key(&verifier.key).spki().to_vec()),
            renewal_asked_at: UnixSeconds(0),
        };
        Self {
            dir,
            key,
            enrolment,
            sealed: std::cell::Cell::new(0),
        }
    }

    fn open(&self) -> (Arc<Spool>, Courier) {
        let path = self.dir.path().join("spool.redb");
        let spool = Arc::new(Spool::open(&path, 1 << 30, &Entropy::system()).unwrap().0);
        let accepts = Acceptance {
            shortest: 60,
            longest: 900,
            trial: false,
        };
        let courier = Courier::new(
            Arc::clone(&spool),
            (self.enrolment.clone(), self.dir.path().join("enrolment.cbor")),
            self.key.clone(),
            accepts,
            Entropy::system(),
        )
        .unwrap();
        (spool, courier)
    }

    fn draft(&self, number: u64) -> crate::draft::Draft {
        crate::draft::Draft {
            verifier: VERIFIER,
            node: NODE,
            boot: BootId([2; 16]),
            time: weighbridge::report::ReportTime {
                start: BootNanos(number),
                end: BootNanos(number + 1),
                wall_end: UnixSeconds(number as i64),
                wall_steps: 0,
                wall_step_seconds: 0,
            },
            agent_starts: 0,
            report_seconds: 300,
            trial: false,
            host: weighbridge::report::HostClaims {
                agent_version: "0".to_owned(),
                agent_digest: Digest([0; 32]),
                key_protection: KeyProtection::File,
                kernel: "k".to_owned(),
                cpus: 1,
                memory_mib: 1,
                driver: None,
                bus: Vec::new(),
                clock_source: ClockSource::Synchronised,
                model_digest: Digest([0; 32]),
                catalogue_digest: Digest([0; 32]),
                released: false,
                sampler_restarts: 0,
                bus_source: weighbridge::telemetry::BusSource::System,
                former_drivers: Vec::new(),
                switches: Vec::new(),
                traffic: weighbridge::telemetry::HostTraffic::UNTOLD,
                meters: Vec::new(),
                observations: Vec::new(),
                tenants: None,
            },
            accelerators: Vec::new(),
            round: None,
        }
    }

    fn seal(&self, spool: &Spool) -> ChainLink {
        self.sealed.set(self.sealed.get() + 1);
        let draft = self.draft(self.sealed.get());
        let life = Life {
            boot: BootId([2; 16]),
            at: BootNanos(1),
            wall: UnixSeconds(1),
            starts: 0,
            reported_to: None,
        };
        let seal =
            |place: &Place| -> Result<Sealed, SignError> { draft.seal(place, self.key.signer.as_ref()) };
        spool.append(&life, &[], seal).unwrap()
    }

    fn copy_state(&self, to: &str) {
        std::fs::copy(self.dir.path().join("spool.redb"), self.dir.path().join(to)).unwrap();
    }

    fn restore_state(&self, from: &str) {
        std::fs::copy(self.dir.path().join(from), self.dir.path().join("spool.redb")).unwrap();
    }
}

#[tokio::test]
async fn reports_arrive_in_order_once_and_their_checkpoints_follow_each_other() {
    let verifier = Verifier::new();
    let node = Node::new(&verifier);
    let (spool, mut courier) = node.open();
    let mut sealed = vec![node.seal(&spool), node.seal(&spool)];
    let round = courier.round(&verifier).await.unwrap();
    assert_eq!((round.receipted, round.complaint.is_none()), (2, true));
    sealed.push(node.seal(&spool));
    let cited = spool.report_at(None, 3).unwrap().unwrap().1;
    let claims = OpenedReport::open(&cited).unwrap().claims;
    assert_eq!(
        claims.nonce,
        Some(Challenge([3; 32])),
        "it answers the newest challenge"
    );
    assert!(claims.report.checkpoint.is_some());
    assert_eq!(courier.round(&verifier).await.unwrap().receipted, 1);
    assert_eq!(verifier.held(), sealed);
    assert_eq!(spool.fill().unwrap().waiting, 0);
    assert_eq!(spool.standing().unwrap().report_seconds, 120);
    assert_eq!(courier.round(&verifier).await.unwrap(), Round::default());
}

#[tokio::test]
async fn a_cut_costs_no_report() {
    let verifier = Verifier::new();
    let node = Node::new(&verifier);
    let (spool, mut courier) = node.open();
    verifier.inner.borrow_mut().cut = true;
    for _ in 0..20 {
        node.seal(&spool);
        assert!(courier.round(&verifier).await.is_err());
    }
    verifier.inner.borrow_mut().cut = false;
    assert_eq!(courier.round(&verifier).await.unwrap().receipted, 20);
}

#[tokio::test]
async fn a_restored_state_directory_becomes_a_new_chain_and_never_a_fork() {
    let verifier = Verifier::new();
    let node = Node::new(&verifier);
    let (spool, mut courier) = node.open();
    node.seal(&spool);
    courier.round(&verifier).await.unwrap();
    drop((spool, courier));
    node.copy_state("backup");
    let (spool, mut courier) = node.open();
    node.seal(&spool);
    let last = node.seal(&spool);
    courier.round(&verifier).await.unwrap();
    drop((spool, courier));

    node.restore_state("backup");
    let (spool, mut courier) = node.open();
    node.seal(&spool);
    let round = courier.round(&verifier).await.unwrap();
    assert!(round.new_chain);
    assert_eq!(verifier.inner.borrow().forks, 0);
    let newest = *verifier.held().last().unwrap();
    assert_ne!(newest.chain, last.chain);
    let bundle = spool.report_at(None, 1).unwrap().unwrap().1;
    let successor = OpenedReport::open(&bundle)
        .unwrap()
        .claims
        .report
        .successor
        .unwrap();
    assert_eq!(
        (successor.chain, successor.sequence, successor.digest),
        (last.chain, 3, last.digest)
    );
}

#[tokio::test]
async fn a_state_restored_under_a_running_agent_is_found_by_the_fork_and_ends_there() {
    let verifier = Verifier::new();
    let node = Node::new(&verifier);
    let (spool, mut courier) = node.open();
    node.seal(&spool);
    courier.round(&verifier).await.unwrap();
    // Someone else with this node's state writes into the same chain.
    let other = Node {
        dir: tempfile::tempdir().unwrap(),
        key: node.key.clone(),
        enrolment: node.enrolment.clone(),
        sealed: std::cell::Cell::new(90),
    };
    drop((spool, courier));
    std::fs::copy(
        node.dir.path().join("spool.redb"),
        other.dir.path().join("spool.redb"),
    )
    .unwrap();
    let (spool, mut courier) = node.open();
    assert_eq!(courier.round(&verifier).await.unwrap().receipted, 0);
    let (other_spool, mut other_courier) = other.open();
    other.seal(&other_spool);
    other_courier.round(&verifier).await.unwrap();
    node.seal(&spool);
    let round = courier.round(&verifier).await.unwrap();
    assert_eq!((round.receipted, round.refused, round.new_chain), (1, 0, true));
}

#[tokio::test]
async fn lost_state_names_the_chain_that_came_before() {
    let verifier = Verifier::new();
    let node = Node::new(&verifier);
    let (spool, mut courier) = node.open();
    node.seal(&spool);
    courier.round(&verifier).await.unwrap();
    drop((spool, courier));
    std::fs::remove_file(node.dir.path().join("spool.redb")).unwrap();
    let (spool, mut courier) = node.open();
    let round = courier.round(&verifier).await.unwrap();
    assert!(round.new_chain, "known before anything is sealed");
    node.seal(&spool);
    courier.round(&verifier).await.unwrap();
    let bundle = spool.report_at(None, 1).unwrap().unwrap().1;
    assert!(
        OpenedReport::open(&bundle)
            .unwrap()
            .claims
            .report
            .successor
            .is_some()
    );
    assert_eq!(verifier.held().len(), 2);
}

#[tokio::test]
async fn a_verifier_that_lost_reports_gets_them_again() {
    let verifier = Verifier::new();
    let node = Node::new(&verifier);
    let (spool, mut courier) = node.open();
    for _ in 0..4 {
        node.seal(&spool);
    }
    courier.round(&verifier).await.unwrap();
    verifier.forget_above(2);
    drop((spool, courier));
    let (_spool, mut courier) = node.open();
    assert_eq!(courier.round(&verifier).await.unwrap().receipted, 2);
    assert_eq!(verifier.held().len(), 4);
}

#[tokio::test]
async fn a_refused_report_is_kept_and_not_sent_for_ever() {
    let verifier = Verifier::new();
    let node = Node::new(&verifier);
    let (spool, mut courier) = node.open();
    node.seal(&spool);
    verifier.inner.borrow_mut().refuse = Some(RefusalCode::Size);
    assert_eq!(courier.round(&verifier).await.unwrap().refused, 1);
    let fill = spool.fill().unwrap();
    assert_eq!((fill.waiting, fill.refused), (0, 1));
    assert!(spool.report_at(None, 1).unwrap().is_some());

    node.seal(&spool);
    verifier.inner.borrow_mut().refuse = Some(RefusalCode::Node);
    let error = courier.round(&verifier).await.unwrap_err();
    assert!(matches!(error, DeliveryError::NotAdmitted { .. }));
    assert_eq!(spool.fill().unwrap().waiting, 1, "it waits for the approval");
}

#[tokio::test]
async fn a_receipt_counts_only_with_its_proofs() {
    let verifier = Verifier::new();
    let node = Node::new(&verifier);
    let (spool, mut courier) = node.open();
    node.seal(&spool);
    verifier.inner.borrow_mut().forge = true;
    assert!(matches!(
        courier.round(&verifier).await,
        Err(DeliveryError::Receipt(ReceiptError::Inclusion(_)))
    ));
    assert_eq!(spool.fill().unwrap().waiting, 1);
    verifier.inner.borrow_mut().forge = false;
    courier.round(&verifier).await.unwrap();
    // The ledger is rewritten: what was seen no longer stands in it.
    verifier.inner.borrow_mut().leaves = vec![merkle::leaf_hash(b"other"); 5];
    node.seal(&spool);
    assert!(matches!(
        courier.round(&verifier).await,
        Err(DeliveryError::Receipt(ReceiptError::Rewritten(_)))
    ));
    assert_eq!(spool.fill().unwrap().waiting, 1);
}

#[tokio::test]
async fn a_certificate_is_renewed_in_its_last_third_and_after_its_end_by_the_same_key() {
    let verifier = Verifier::new();
    let node = Node::new(&verifier);
    let (_spool, mut courier) = node.open();
    let day = |text: &str| UnixSeconds::parse(text).unwrap();
    let before = courier.enrolment().certificate.clone();
    assert!(!courier.renew_if_due(&verifier, day("2026-01-15")).await.unwrap());
    assert_eq!(courier.enrolment().certificate, before);
    verifier.inner.borrow_mut().forge = true;
    let forged = courier.renew_if_due(&verifier, day("2026-01-25")).await;
    assert!(matches!(forged, Err(DeliveryError::OtherKey)));
    verifier.inner.borrow_mut().forge = false;
    // The clock went back in between: the time that is sent grows all the same.
    assert!(courier.renew_if_due(&verifier, day("2026-01-24")).await.unwrap());
    let stored = Enrolment::load(&node.dir.path().join("enrolment.cbor"))
        .unwrap()
        .unwrap();
    assert_eq!(stored.certificate, courier.enrolment().certificate);
    assert_ne!(stored.certificate, before);

    let mut expired = Node::new(&verifier);
    expired.enrolment.certificate = certificate(1);
    let (_spool, mut courier) = expired.open();
    assert!(courier.renew_if_due(&verifier, day("2026-11-22")).await.unwrap());
}
