//! About sites.

use crate::id::Digest;
use crate::statement::value::{At, Country, Line, Prose, Share, tables, words};

words! {
    /// A field of security.
    pub enum SecurityArea {
        /// Walls, doors, visitors, cameras.
        Physical = "physical",
        /// Networks, hosts, identities.
        Cyber = "cyber",
        /// The people who have access.
        Personnel = "personnel",
        /// Where hardware and software come from.
        SupplyChain = "supply-chain",
    }

    /// What was examined against.
    pub enum Standard {
        /// FedRAMP, high baseline.
        FedrampHigh = "fedramp-high",
        /// NIST SP 800-53.
        Nist80053 = "nist-800-53",
        /// ISO/IEC 27001.
        Iso27001 = "iso-27001",
        /// SOC 2, type II.
        Soc2TypeII = "soc-2-type-ii",
        /// Another, which `standard_named` names.
        Other = "other",
    }

    /// With what result.
    pub enum Opinion {
        /// It holds.
        Satisfied = "satisfied",
        /// It holds but for what is named.
        Qualified = "qualified",
        /// It does not hold.
        NotSatisfied = "not satisfied",
    }

    /// Under which title a site is held.
    pub enum Title {
        /// Its own land.
        Owned = "owned",
        /// A lease.
        Leased = "leased",
        /// Space in another's data centre.
        Colocated = "colocated",
    }
}

tables! {
    /// That a data centre was examined (PHY-01, SEC-07, PER-01; Supp. 10 to 15 CFR part 748, paragraphs 14 to 18).
    pub struct SecurityAttestation {
        /// What was examined.
        areas: Vec<AreaExamined> = "",
    }

    /// One field of security that was examined.
    pub struct AreaExamined {
        /// Which.
        area: SecurityArea = "\"physical\"",
        /// Against which standard.
        standard: Standard = "\"nist-800-53\"",
        /// The standard's name, where it is another.
        standard_named: Option<Line> = "\"TIA-942-C\"",
        /// With what result.
        opinion: Opinion = "\"satisfied\"",
        /// What it is qualified by, or why it does not hold.
        exceptions: Option<Prose> = "\"Two cameras were out of order; mended on 2026-11-12.\"",
        /// The report behind it: SHA-256 of its bytes.
        report: Option<Digest> = "\"0000000000000000000000000000000000000000000000000000000000000000\"",
        /// Whether the report's scope includes the site.
        scope_includes_site: bool = "true",
    }

    /// Where a site lies and what it has (LOC-01, PHY-02).
    pub struct SiteDeclaration {
        /// The country in which it lies.
        country: Country = "\"SG\"",
        /// Its address.
        address: Prose = "\"1 Harbour Road, Singapore\"",
        /// Under which title it is held.
        title: Title = "\"leased\"",
        /// Deed or lease: SHA-256 of its bytes.
        deed: Option<Digest> = "\"0000000000000000000000000000000000000000000000000000000000000000\"",
        /// Power that it is rated for, in kilowatts.
        rated_kw: u64 = "12000",
        /// Heat that its cooling can take away, in kilowatts.
        cooling_kw: Option<u64> = "11000",
        /// Racks that it has room for.
        racks: Option<u64> = "128",
    }

    /// Screening and training of people (PER-01; NIST SP 800-53 PS-3, PS-7; Supp. 10 to 15 CFR part 748, paragraphs 2 and 18).
    pub struct PersonnelDeclaration {
        /// How many people have access.
        people: u64 = "24",
        /// How many of them were screened within the time that the operator's rules set.
        screened: u64 = "24",
        /// How many of them were trained in export control and security.
        trained: u64 = "24",
        /// Whether none of them has a tie to a barred party or to a military or intelligence end user.
        no_barred_ties: bool = "true",
        /// How that was found out.
        method: Prose = "\"Screening by Example Checks Ltd. on entry and each year.\"",
    }

    /// What is kept and what was delivered (REC-01, REC-02, REC-03; 15 CFR 748.15, 762.6).
    pub struct RecordKeeping {
        /// For how many years records are kept after the last event that they concern.
        years: u64 = "5",
        /// Whether nothing is destroyed while an agency's request is open.
        kept_while_requested: bool = "true",
        /// When the last periodic report was delivered.
        last_report: Option<At> = "2026-10-31",
        /// To whom.
        reported_to: Option<Line> = "\"Bureau of Industry and Security\"",
        /// Whether the agreement lets the supplier or an agency review the site.
        review_admitted: bool = "true",
        /// When the site was last reviewed.
        last_review: Option<At> = "2026-06-15",
    }

    /// Rest for a time (INV-02, OPS-02).
    pub struct Maintenance {
        /// Why.
        reason: Prose = "\"Replacement of the cooling of hall 2.\"",
        /// Whether devices are without power.
        powered_off: bool = "true",
    }

    /// What a meter read (PHY-02, PHY-03).
    pub struct PowerReading {
        /// The meter, by the number on it.
        meter: Line = "\"MTR-77120\"",
        /// What it measures.
        measures: Line = "\"hall 2, all racks, after the UPS\"",
        /// Energy in the period, in kilowatt-hours.
        energy_kwh: u64 = "1204331",
        /// The highest power in the period, in kilowatts, where the meter keeps it.
        peak_kw: Option<u64> = "1911",
        /// Power that what it measures is rated for, in kilowatts.
        rated_kw: Option<u64> = "2400",
        /// How far the meter may be off.
        error: Option<Share> = "0.01",
        /// The number of its seal.
        seal: Option<Line> = "\"S-0099812\"",
    }

    /// That nodes may report for a site (PER-02).
    pub struct EnrolmentApproval {
        /// The nodes, by the ids that `node list` prints.
        nodes: Vec<Line> = "[\"0100112233445566778899aabbccddeeff\"]",
        /// How it was made sure that they are what they should be.
        basis: Prose = "\"Their endorsement keys and serial numbers were read on site on 2026-11-18.\"",
    }
}
