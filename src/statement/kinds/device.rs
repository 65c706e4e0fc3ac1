//! About devices that move, break or go.

use crate::statement::value::{At, Country, Device, Line, Prose, tables, words};

words! {
    /// What became of devices that are gone.
    pub enum LossKind {
        /// Nobody knows where they are.
        Missing = "missing",
        /// They were stolen.
        Stolen = "stolen",
        /// Fire, water or the like.
        Destroyed = "destroyed",
    }

    /// How devices were put out of use.
    pub enum DisposalMethod {
        /// In pieces.
        Shredded = "shredded",
        /// Recycled by a named business.
        Recycled = "recycled",
        /// Kept, and made useless.
        Disabled = "disabled",
    }
}

tables! {
    /// That devices move (INV-03, INV-04; 15 CFR 748.15).
    pub struct Transfer {
        /// From which site.
        from_site: Line = "\"harbour-1\"",
        /// To which.
        to_site: Line = "\"harbour-2\"",
        /// The country of the first.
        from_country: Country = "\"SG\"",
        /// The country of the second.
        to_country: Country = "\"SG\"",
        /// When they leave.
        leaves: At = "2026-12-04",
        /// When they arrive.
        arrives: At = "2026-12-05",
        /// When those who must know were told.
        notified: Option<At> = "2026-10-01",
        /// Under which authorisation, where they cross a border.
        authorisation: Option<Line> = "\"D1234567\"",
        /// Why.
        reason: Option<Prose> = "\"Hall 2 is full.\"",
    }

    /// That devices went back (INV-02, INV-09, INV-12).
    pub struct Rma {
        /// The maker's number of the return.
        number: Line = "\"RMA-88120\"",
        /// Who has them.
        returned_to: Line = "\"Example Accelerators Inc.\"",
        /// When they left.
        left: At = "2026-11-13",
        /// When they came back, where they do.
        back: Option<At> = "2026-12-20",
        /// What took their place.
        replaced_by: Option<Vec<Device>> = "[\"GPU-1653b042-3c11-4d21-9a00-000000001404\"]",
        /// What was wrong.
        fault: Option<Prose> = "\"Uncorrectable errors of memory.\"",
    }

    /// That devices were put out of use (INV-09; NIST SP 800-53 MP-6, SR-12; Supp. 10 to 15 CFR part 748, paragraph 17).
    pub struct Disposal {
        /// How.
        method: DisposalMethod = "\"shredded\"",
        /// When.
        on: At = "2026-11-18",
        /// By whom.
        by: Line = "\"Example Recycling Ltd.\"",
        /// Who saw it.
        witnesses: Vec<Line> = "[\"A. Assessor\"]",
        /// Whether nothing could be read from them before.
        sanitised: bool = "true",
    }

    /// That devices are gone (INV-09).
    pub struct Loss {
        /// What became of them.
        kind: LossKind = "\"missing\"",
        /// When that was noticed.
        noticed: At = "2026-11-18",
        /// When they were last seen.
        last_seen: Option<At> = "2026-11-09",
        /// What is known of it.
        circumstances: Prose = "\"Two boards were not in the store at the count of November.\"",
        /// Who was told.
        reported_to: Option<Vec<Line>> = "[\"Example Accelerators Inc.\"]",
    }
}
