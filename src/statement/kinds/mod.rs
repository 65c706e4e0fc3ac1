//! The kinds of statement: what each says, key by key.
//!
//! Decides: which kinds there are, who may give each, and which conditions each can settle. A key is declared once, with its type, the
//! sentence that the manual and the template print, and an example; a change to a kind that was published is a new version of its predicate type.

mod assessment;
mod delivery;
mod device;
mod party;
mod site;
mod training;

pub use assessment::*;
pub use delivery::*;
pub use device::*;
pub use party::*;
pub use site::*;
pub use training::*;

use super::shape::{Member, Shape, Shaped};
use super::value::{At, Device, Line, Until, tables, words};
use super::{InToto, Kind, Predicate};
use crate::id::Digest;

words! {
    /// Who says something.
    pub enum Role {
        /// Runs the hosts.
        Operator = "operator",
        /// Supplied the devices, or issued the licence.
        Supplier = "supplier",
        /// Third party who examines the site.
        Assessor = "assessor",
        /// Receives the devices, where that is not the operator.
        Consignee = "consignee",
        /// A government agency.
        Authority = "authority",
        /// Tests devices.
        Laboratory = "laboratory",
    }
}

tables! {
    /// What every statement says beside its claims.
    pub struct Header {
        /// The statement's own number, as its issuer counts.
        id: Line = "\"2026-0001\"",
        /// Who says it.
        issuer: Line = "\"Harbour Compute Pte. Ltd.\"",
        /// As what.
        role: Role = "\"operator\"",
        /// The number under which its issuer is accredited, as the checker's list has it.
        accreditation: Option<Line> = "\"A-1234\"",
        /// When it was written.
        issued: At = "2026-11-20T08:00:00Z",
        /// From when it holds, where that is later.
        valid_from: Option<At> = "2026-12-01",
        /// Until when it holds, that day included.
        valid_to: Until = "2027-11-30",
        /// The sites that it concerns, by the ids that the licence has.
        sites: Option<Vec<Line>> = "[\"harbour-1\"]",
        /// The licence that it concerns, by its id.
        licence: Option<Line> = "\"HX-2026-0042\"",
        /// The devices that it concerns, by UUID.
        devices: Option<Vec<Device>> = "[\"GPU-1653b042-3c11-4d21-9a00-000000000117\"]",
        /// The statement that this one replaces, by the SHA-256 that `statement show` prints.
        supersedes: Option<Digest> = "\"0000000000000000000000000000000000000000000000000000000000000000\"",
        /// The time that it speaks of.
        period: Option<Period> = "",
        /// Files that belong to it, such as reports and photographs; they travel beside it.
        attachments: Option<Vec<Attachment>> = "",
    }

    /// A time that a statement speaks of.
    pub struct Period {
        /// Its first day.
        from: At = "2026-11-01",
        /// Its last day.
        to: Until = "2026-11-30",
    }

    /// A file that belongs to a statement.
    pub struct Attachment {
        /// What it is, for people.
        name: Line = "\"audit report\"",
        /// Its media type.
        media_type: Line = "\"application/pdf\"",
        /// SHA-256 of its bytes.
        sha256: Digest = "\"0000000000000000000000000000000000000000000000000000000000000000\"",
        /// How many bytes it has.
        bytes: u64 = "123456",
    }
}

const fn predicate(claims: Shape) -> [Member; 2] {
    const fn part(key: &'static str, doc: &'static [&'static str], shape: Shape) -> Member {
        Member {
            key,
            doc,
            required: true,
            shape,
            example: "",
        }
    }
    [
        part(
            "header",
            &["What every statement says."],
            <Header as Shaped>::SHAPE,
        ),
        part("claims", &["What this one says."], claims),
    ]
}

/// What a kind of statement says.
pub trait Said: Sized {
    /// Its kind.
    const KIND: Kind;

    /// The claims, where they are of this kind.
    fn of(claims: &Claims) -> Option<&Self>;
}

/// Declares the kinds: name, type of the claims, title, what it says, who may give it, what it must be bound to, what it can settle.
macro_rules! kinds {
    ($($name:literal => $claims:ident: $title:literal, $says:literal; by $roles:expr; bound to $binds:expr; settles $settles:expr;)*) => {
        /// What a statement says, by its kind.
        #[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
        #[serde(untagged)]
        pub enum Claims {
            $(#[doc = $title] $claims(Box<$claims>),)*
        }

        $(impl Said for $claims {
            const KIND: Kind = Kind {
                name: $name,
                title: $title,
                says: $says,
                settles: $settles,
                roles: $roles,
                binds: $binds,
                predicate: Shape::Table(&const { predicate(<$claims as Shaped>::SHAPE) }),
            };

            fn of(claims: &Claims) -> Option<&Self> {
                match claims {
                    Claims::$claims(said) => Some(said),
                    _ => None,
                }
            }
        })*

        impl Kind {
            /// Every kind, in the order in which the manual lists them.
            pub const ALL: &'static [Self] = &[$($claims::KIND),*];

            /// Reads a payload whose predicate is of this kind; a key that stands there twice is an error.
            pub(super) fn read(&self, payload: &[u8]) -> Result<(Header, Claims), serde_json::Error> {
                match self.name {
                    $($name => {
                        let read: InToto<Predicate<$claims>> = serde_json::from_slice(payload)?;
                        Ok((read.predicate.header, Claims::$claims(Box::new(read.predicate.claims))))
                    })*
                    _ => Err(serde::de::Error::custom("no such kind")),
                }
            }
        }

        impl Claims {
            /// The kind.
            #[must_use]
            pub fn kind(&self) -> &'static Kind {
                match self { $(Self::$claims(_) => &$claims::KIND,)* }
            }
        }
    };
}

use Role::{Assessor, Authority, Consignee, Laboratory, Operator, Supplier};

kinds! {
    "security-attestation" => SecurityAttestation:
        "security attestation", "That a data centre was examined for its physical, cyber, personnel and supply-chain security, against which standard and with what result";
        by &[Assessor]; bound to &["sites", "period", "accreditation"];
        settles &["PHY-01", "PHY-04", "PER-01", "SEC-07", "LOC-01", "EVI-01"];
    "site-declaration" => SiteDeclaration:
        "site declaration", "Where a site lies, under which title it is held, and what power, cooling and space it has";
        by &[Operator, Consignee]; bound to &["sites"];
        settles &["LOC-01", "PHY-02"];
    "personnel-declaration" => PersonnelDeclaration:
        "personnel declaration", "That people with access to a site were screened and trained, and have no barred ties";
        by &[Operator]; bound to &["sites", "period"];
        settles &["PER-01"];
    "record-keeping" => RecordKeeping:
        "record-keeping declaration", "How long records are kept, which periodic reports were delivered, and how a site may be reviewed";
        by &[Operator, Consignee, Supplier]; bound to &[];
        settles &["REC-01", "REC-02", "REC-03"];
    "maintenance" => Maintenance:
        "maintenance window", "That devices or a site are at rest for a time, and why";
        by &[Operator]; bound to &["sites", "period"];
        settles &["INV-02", "OPS-02"];
    "power-reading" => PowerReading:
        "power reading", "What a meter outside the devices read, and what the site is rated for";
        by &[Operator, Assessor]; bound to &["sites", "period"];
        settles &["PHY-02", "PHY-03"];
    "enrolment-approval" => EnrolmentApproval:
        "approval of enrolments", "That whoever signs it agrees to nodes that report for a site; two keys make an approval by two";
        by &[Operator, Supplier, Consignee]; bound to &["sites"];
        settles &["PER-02"];
    "end-user-certificate" => EndUserCertificate:
        "end-user certificate", "What a consignee will do with devices, and what it will not";
        by &[Consignee, Operator]; bound to &["sites"];
        settles &["TEN-04"];
    "tenant-kyc" => TenantKyc:
        "tenant attestation", "Who a tenant is, by its pseudonym: headquarters, ultimate parent, owners and end use, without its name";
        by &[Operator]; bound to &["sites"];
        settles &["TEN-01", "TEN-02", "TRN-06"];
    "due-diligence" => DueDiligence:
        "customer due diligence", "What a supplier found about a customer before it shipped: the facts behind the red flags";
        by &[Supplier, Assessor]; bound to &["licence"];
        settles &["REC-04"];
    "ownership" => Ownership:
        "ownership and control", "Who owns and controls a party, up to its ultimate parent";
        by &[Operator, Consignee]; bound to &[];
        settles &["SUP-01"];
    "screening" => Screening:
        "screening record", "That parties were held against a list of barred parties, which list and with what result";
        by &[Operator, Supplier, Assessor]; bound to &[];
        settles &["TEN-03"];
    "access-agreement" => AccessAgreement:
        "access agreement", "Who may reach the devices or the models from afar, from where, and who is bound to the same checks";
        by &[Operator]; bound to &["sites"];
        settles &["TEN-05", "TEN-07"];
    "authorisation" => Authorisation:
        "authorisation", "Under which licence or other authorisation items may be where they are";
        by &[Authority, Supplier, Consignee, Operator]; bound to &[];
        settles &["SUP-02", "INV-04", "INV-10", "TEN-02"];
    "training-declaration" => TrainingDeclaration:
        "training declaration", "That a tenant trains a model, on how many devices and with how many operations";
        by &[Operator]; bound to &["sites", "period"];
        settles &["TRN-05", "TRN-07", "TRN-08"];
    "weight-custody" => WeightCustody:
        "custody of model weights", "Where weights of a model are held or went, and whether they are controlled";
        by &[Operator, Assessor]; bound to &["sites"];
        settles &["TRN-09", "SEC-08"];
    "shipment-list" => ShipmentList:
        "shipment list", "What was shipped, to whom, and where it is";
        by &[Supplier, Consignee]; bound to &["licence"];
        settles &["INV-12", "CAP-03", "PHY-04"];
    "shipment-hold" => ShipmentHold:
        "hold or release of shipments", "That a supplier holds shipments back, or no longer does, and why";
        by &[Supplier]; bound to &["licence"];
        settles &["REC-04"];
    "test-certificate" => TestCertificate:
        "test certificate", "That a laboratory tested a lot of devices, and what it measured";
        by &[Laboratory]; bound to &["devices"];
        settles &["SUP-03", "CAP-07", "INV-08"];
    "transfer" => Transfer:
        "transfer", "That devices move from one site to another";
        by &[Operator, Supplier]; bound to &["devices"];
        settles &["INV-03", "INV-04"];
    "rma" => Rma:
        "return or replacement", "That devices went back to their maker, and what took their place";
        by &[Operator, Supplier]; bound to &["sites", "devices"];
        settles &["INV-02", "INV-09", "INV-12"];
    "disposal" => Disposal:
        "disposal", "That devices were destroyed or put out of use, and how";
        by &[Operator, Assessor]; bound to &["sites", "devices"];
        settles &["INV-02", "INV-09", "INV-12"];
    "loss" => Loss:
        "loss", "That devices are missing, stolen or destroyed by accident";
        by &[Operator]; bound to &["sites", "devices"];
        settles &["INV-02", "INV-09", "INV-12"];
    "sample-inspection" => SampleInspection:
        "sample inspection", "That a drawn sample of devices was looked at on site, and how many did not match";
        by &[Assessor]; bound to &["sites", "period", "accreditation"];
        settles &["INV-05", "INV-07", "INV-10"];
    "visit-log" => VisitLog:
        "visit log", "Who was at a site and what was looked at";
        by &[Assessor, Supplier]; bound to &["sites", "period"];
        settles &["REC-03", "LOC-01"];
    "assessor-finding" => AssessorFinding:
        "assessor's finding", "What an assessor found about one condition, by which method";
        by &[Assessor]; bound to &["sites", "period", "accreditation"];
        settles &[
            "INV-02", "INV-05", "INV-07", "INV-09", "INV-10", "LOC-01", "TRN-09", "SEC-08", "PHY-01", "PHY-02", "PHY-03",
            "PHY-04", "PER-01", "REC-01", "REC-03",
            "LOC-02", "LOC-03", "LOC-04", "SEC-03", "PER-02",
        ];
    "independence" => Independence:
        "declaration of independence", "That an assessor is accredited and has no stake in what it assesses";
        by &[Assessor]; bound to &["accreditation"];
        settles &["EVI-03"];
    "evidence-request" => EvidenceRequest:
        "request for evidence", "What a supplier or an assessor asks for, for which condition and until when";
        by &[Supplier, Assessor, Authority]; bound to &["sites"];
        settles &[];
    "finding-response" => FindingResponse:
        "response to a finding", "What an operator says to a finding, and what it does about it";
        by &[Operator, Consignee]; bound to &["sites"];
        settles &["EVI-02"];
    "flag-resolution" => FlagResolution:
        "resolution of a red flag", "How a red flag was looked into, and whether it stands";
        by &[Supplier, Assessor]; bound to &["licence"];
        settles &["REC-04"];
    "waiver" => WaiverStatement:
        "waiver", "That the issuer of a licence waives a condition for a time, and why";
        by &[Supplier, Authority]; bound to &["licence"];
        settles &[];
}
