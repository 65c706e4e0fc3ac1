//! What assessors find, what they and suppliers ask, and what is answered.

use crate::id::Digest;
use crate::statement::value::{Line, Prose, Share, Until, tables, words};

words! {
    /// How something was examined (NIST SP 800-53A).
    pub enum Method {
        /// Documents and things were looked at.
        Examine = "examine",
        /// People were asked.
        Interview = "interview",
        /// It was tried.
        Test = "test",
    }

    /// What an assessor found.
    pub enum FindingResult {
        /// It holds.
        Satisfied = "satisfied",
        /// It does not.
        NotSatisfied = "not satisfied",
        /// It could not be told.
        CannotTell = "cannot tell",
    }

    /// What became of a red flag.
    pub enum FlagState {
        /// It was explained.
        Resolved = "resolved",
        /// It stands.
        Stands = "stands",
        /// Someone else decides.
        Escalated = "escalated",
    }

    /// A red flag (BIS guidance of May 2025; Supp. 3 to 15 CFR part 732).
    pub enum RedFlag {
        /// No purchases of advanced accelerators before October 2022.
        Flg01 = "FLG-01",
        /// A sharp rise in orders since.
        Flg02 = "FLG-02",
        /// Incorporated after October 2022, outside group A:1 or in D:5.
        Flg03 = "FLG-03",
        /// Headquarters or ultimate parent in D:5 or Macau, or unknown.
        Flg04 = "FLG-04",
        /// A residential or vague address.
        Flg05 = "FLG-05",
        /// Little or no presence in public.
        Flg06 = "FLG-06",
        /// Contacts shared with a listed party.
        Flg07 = "FLG-07",
        /// Place or use are not told.
        Flg08 = "FLG-08",
        /// Power, cooling and space are not affirmed.
        Flg09 = "FLG-09",
        /// Security of the data centre is lacking.
        Flg10 = "FLG-10",
        /// The product does not fit the business.
        Flg11 = "FLG-11",
        /// A forwarder or reseller as final consignee, or an odd route.
        Flg12 = "FLG-12",
        /// Training help for a model of ECCN 4E091.
        Flg13 = "FLG-13",
        /// A listed owner of unknown share.
        Flg14 = "FLG-14",
        /// What telemetry itself shows.
        Flg15 = "FLG-15",
    }
}

tables! {
    /// A sample that was looked at on site (INV-07).
    pub struct SampleInspection {
        /// The seed from which the sample was drawn, so that both sides can draw it again.
        seed: Line = "\"harbour-1 2026-11-20\"",
        /// The inventory that it was drawn from: SHA-256.
        inventory: Digest = "\"0000000000000000000000000000000000000000000000000000000000000000\"",
        /// How many devices were in it.
        population: u64 = "1024",
        /// The confidence that was asked for.
        confidence: Share = "0.95",
        /// The share of wrong devices that it should find.
        defect: Share = "0.05",
        /// How many devices were drawn.
        drawn: u64 = "59",
        /// How many of them were seen.
        inspected: u64 = "59",
        /// How many of these did not match.
        mismatched: u64 = "0",
        /// What did not match, and what else was noticed.
        notes: Option<Prose> = "\"All plates and seals as in the inventory.\"",
    }

    /// A visit.
    pub struct VisitLog {
        /// Who visited, by function and not by name.
        visitors: Vec<Line> = "[\"lead assessor\", \"engineer\"]",
        /// Where they were.
        places: Vec<Line> = "[\"hall 1\", \"hall 2\", \"loading dock\"]",
        /// What they looked at.
        checks: Vec<Line> = "[\"plates and seals of 59 devices\", \"visitor book\", \"cameras\"]",
        /// Whether every place that they asked for was opened.
        all_opened: bool = "true",
        /// What they noticed.
        notes: Option<Prose> = "\"Nothing to add.\"",
    }

    /// What an assessor found about one condition.
    pub struct AssessorFinding {
        /// The condition.
        condition: Line = "\"PHY-04\"",
        /// What was found.
        result: FindingResult = "\"satisfied\"",
        /// How it was examined.
        methods: Vec<Method> = "[\"examine\", \"interview\"]",
        /// What was seen.
        observed: Prose = "\"Custody records of the last 40 deliveries are whole; seals are checked by two people.\"",
        /// What should be done.
        recommended: Option<Prose> = "\"Keep photographs of the seals.\"",
    }

    /// That an assessor is accredited and independent (EVI-03; NIST SP 800-53 CA-2(1), CA-7(1)).
    pub struct Independence {
        /// Who accredited it.
        accredited_by: Line = "\"A2LA\"",
        /// For what.
        scope: Prose = "\"ISO/IEC 17020, cyber security of data centres.\"",
        /// Whether it neither owns nor is owned by, nor otherwise works for, those it assesses.
        independent: bool = "true",
        /// What might be held against that.
        ties: Option<Prose> = "\"None.\"",
    }

    /// What is asked for.
    pub struct EvidenceRequest {
        /// For which conditions.
        conditions: Vec<Line> = "[\"INV-02\"]",
        /// What.
        wanted: Prose = "\"The return record of the device that has not been seen since 2026-11-13.\"",
        /// Until when.
        due: Until = "2026-12-05",
    }

    /// What an operator says to a finding.
    pub struct FindingResponse {
        /// The condition.
        condition: Line = "\"INV-03\"",
        /// The finding: SHA-256 of it, as `status --why` prints.
        finding: Option<Digest> = "\"0000000000000000000000000000000000000000000000000000000000000000\"",
        /// Whether it is disputed.
        disputed: bool = "false",
        /// What there is to say.
        response: Prose = "\"The board was moved during a repair and the record was late.\"",
        /// What is done about it.
        action: Option<Prose> = "\"Moves are recorded before they begin.\"",
        /// Until when.
        due: Option<Until> = "2026-12-15",
    }

    /// How a red flag was looked into (REC-04).
    pub struct FlagResolution {
        /// The flag.
        flag: RedFlag = "\"FLG-02\"",
        /// What became of it.
        state: FlagState = "\"resolved\"",
        /// On what grounds.
        grounds: Prose = "\"The order replaces V100 that were sold to a school; bills are attached.\"",
    }

    /// That a condition is waived.
    pub struct WaiverStatement {
        /// The condition.
        condition: Line = "\"INV-11\"",
        /// Until when.
        until: Until = "2026-12-31",
        /// Why.
        reason: Prose = "\"Four boards of a test bench report from January on.\"",
    }
}
