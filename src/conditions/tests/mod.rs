//! Each condition against sites that meet it, do not meet it, and leave it open.

mod activity;
mod allocation;
mod bus;
mod capacity;
mod contradiction;
mod days;
mod engine;
mod evaluation;
mod evidence;
mod firmware;
mod flags;
mod group;
mod holds;
mod inventory;
mod message_tests;
mod moves;
mod operations;
mod overview;
mod own;
#[cfg(feature = "rego")]
mod own_facts;
mod papers;
mod performance;
mod place;
mod places;
mod power;
mod properties;
mod published_tests;
mod purpose;
mod records;
mod revocation;
mod sample;
mod security;
mod standing;
mod statements;
mod stock;
mod supply;
mod tenants;
mod training;
mod verdict;
mod waiver;

use super::*;
use crate::appraisal::fixture::{Lab, answer, gpu};
use crate::appraisal::{Estate, HeardStatement, NodeAtSite, NodeStatus, Sighting, Span};
use crate::id::Digest;
use crate::licence::Standing;
use crate::report::AcceleratorClaims;
use std::sync::Arc;

pub(super) fn start() -> UnixSeconds {
    UnixSeconds::parse("2026-11-20").unwrap()
}

/// Two nodes with two H100 each, one hour of reports, and a licence that suits them.
pub(super) struct Scene {
    pub(super) licence: String,
    pub(super) labs: Vec<Lab>,
    pub(super) statuses: Vec<NodeStatus>,
    pub(super) elsewhere: Vec<Sighting>,
    /// Licences beside the one that is judged.
    pub(super) beside: Vec<String>,
    /// Older serials of the one that is judged.
    pub(super) older: Vec<String>,
    /// Statements on file.
    pub(super) statements: Vec<Arc<HeardStatement>>,
    /// How many issuers signed the licence, where that is known.
    pub(super) issuers: Option<u32>,
    /// What is held of all sites together.
    pub(super) estate: Estate,
    /// What the checker holds of those who signed them.
    pub(super) standing: Standing,
    pub(super) now: UnixSeconds,
}

const LICENCE: &str = r#"
licence_id = "L-1"
serial = 1
issuer = "Issuer"
consignee = "Consignee"
valid_from = 2026-11-20
valid_to = 2027-11-19
ruleset_id = "us-ear-enforced-2026-05"
approved_agents = ["0101010101010101010101010101010101010101010101010101010101010101"]
countries_allowed = ["SG"]
licensed_tpp = 63_328
tpp_hours_max = 50_000
reported_bounds_suffice = true
tpp_hours_period = "term"
[[site]]
id = "harbour-1"
country = "SG"
[[models]]
catalogue_id = "H100 SXM5 80GB"
count = 4
"#;

impl Scene {
    /// The scene without reports.
    pub(super) fn empty() -> Self {
        let mut licence = LICENCE.to_owned();
        for n in 1..=4u8 {
            licence.push_str(&device(n, "H100 SXM5 80GB"));
        }
        Self {
            licence,
            labs: vec![Lab::new(1, start()), Lab::new(2, start())],
            statuses: [1, 2].map(status).to_vec(),
            elsewhere: Vec::new(),
            beside: Vec::new(),
            older: Vec::new(),
            statements: Vec::new(),
            issuers: Some(2),
            estate: Estate::default(),
            standing: Standing::default(),
            now: start().plus(3_610),
        }
    }

    /// The scene with an honest hour: each node holds a round of evidence in the middle of it and at its end.
    pub(super) fn honest() -> Self {
        let mut scene = Self::empty();
        for _ in 0..2 {
            scene.labs[0].run(6, &[gpu(1), gpu(2)]);
            scene.labs[0].prove(vec![answer(1), answer(2)]);
            scene.labs[1].run(6, &[gpu(3), gpu(4)]);
            scene.labs[1].prove(vec![answer(3), answer(4)]);
        }
        scene
    }

    /// An hour of reports from both nodes.
    pub(super) fn hour(&mut self, first: &[AcceleratorClaims], second: &[AcceleratorClaims]) {
        self.labs[0].run(12, first);
        self.labs[1].run(12, second);
    }

    /// So many reports of both nodes, each with half of four devices.
    pub(super) fn hour_of(&mut self, reports: u32, devices: &[AcceleratorClaims; 4]) {
        self.labs[0].run(reports, &devices[..2]);
        self.labs[1].run(reports, &devices[2..]);
    }

    /// Changes the licence's text.
    pub(super) fn with(mut self, old: &str, new: &str) -> Self {
        assert!(self.licence.contains(old), "{old} is not in the licence");
        self.licence = self.licence.replace(old, new);
        self
    }

    pub(super) fn facts(&self) -> SiteFacts {
        SiteFacts {
            site: "harbour-1".to_owned(),
            nodes: self
                .labs
                .iter()
                .zip(&self.statuses)
                .map(|(lab, status)| NodeAtSite {
                    status: status.clone(),
                    record: lab.record.clone(),
                })
                .collect(),
            elsewhere: self.elsewhere.clone(),
            licences: std::iter::once(&self.licence)
                .chain(&self.beside)
                .map(|text| Arc::new(Licence::parse(text).unwrap()))
                .collect(),
            former: {
                let older: Vec<_> = self
                    .older
                    .iter()
                    .map(|text| Licence::parse(text).unwrap())
                    .collect();
                Licence::parse(&self.licence).unwrap().former(&older)
            },
            statements: self.statements.clone(),
            issuers: self
                .issuers
                .map(|n| (crate::crypto::sha256(self.licence.as_bytes()), n))
                .into_iter()
                .collect(),
            estate: self.estate.clone(),
            standing: Arc::new(self.standing.clone()),
        }
    }

    pub(super) fn findings(&self) -> Vec<Finding> {
        self.judged(evaluate)
    }

    pub(super) fn judgement(&self) -> Judgement {
        self.judged(judge)
    }

    pub(super) fn overview(&self) -> Overview {
        self.judged(overview)
    }

    fn judged<T>(&self, by: fn(&Licence, &RuleSet, &Catalogue, &SiteFacts, UnixSeconds) -> T) -> T {
        let licence = match Licence::parse(&self.licence) {
            Ok(licence) => licence,
            Err(mistakes) => panic!("{mistakes}"),
        };
        let rules = RuleSet::carried(&licence.ruleset_id).unwrap();
        let catalogue = Catalogue::embedded().unwrap();
        by(&licence, &rules, &catalogue, &self.facts(), self.now)
    }

    pub(super) fn finding(&self, id: &str) -> Finding {
        self.findings().into_iter().find(|f| f.condition == id).unwrap()
    }

    /// The finding of a condition, after checking its outcome and that its sentence says something.
    #[track_caller]
    pub(super) fn expect(&self, id: &str, outcome: Outcome, says: &str) -> Finding {
        let finding = self.finding(id);
        assert_eq!(finding.outcome, outcome, "{id}: {}", finding.sentence);
        assert!(finding.sentence.contains(says), "{id}: {}", finding.sentence);
        finding
    }
}

pub(super) fn device(n: u8, model: &str) -> String {
    let uuid = gpu(n).identity.uuid.nvml();
    format!("[[device]]\nuuid = \"{uuid}\"\nserial = \"S{n}\"\npci = \"10de:2330\"\nmodel = \"{model}\"\n")
}

pub(super) fn status(n: u8) -> NodeStatus {
    NodeStatus {
        name: format!("n-{n}"),
        approved: Some(start()),
        revoked_from: None,
        revoked_at: None,
        succeeded_from: None,
        key_certified: true,
    }
}

/// A stretch between two times after the start, of which each report came five seconds after its end.
pub(super) fn stretch(from: i64, to: i64) -> Span {
    Span {
        from: start().plus(from),
        to: start().plus(to),
        first_received: start().plus(from).plus(305),
        last_received: start().plus(to).plus(5),
        lag: 5,
        first_report: Digest([5; 32]),
        last_report: Digest([6; 32]),
    }
}
