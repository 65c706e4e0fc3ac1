//! About deliveries.

use crate::id::Digest;
use crate::statement::value::{At, Country, Line, Prose, tables, words};

words! {
    /// Where something shipped is.
    pub enum ShipmentState {
        /// On its way.
        InTransit = "in transit",
        /// At its site.
        Delivered = "delivered",
        /// In store.
        Spare = "spare",
        /// Back at its maker.
        Returned = "returned",
    }

    /// What a supplier does with shipments.
    pub enum HoldAction {
        /// Holds them back.
        Hold = "hold",
        /// No longer holds them back.
        Release = "release",
    }
}

tables! {
    /// What was shipped (INV-12, CAP-03, PHY-04; 15 CFR part 762).
    pub struct ShipmentList {
        /// The shipment's number.
        shipment: Line = "\"SH-2026-118\"",
        /// Who receives it in the end.
        consignee: Line = "\"Harbour Compute Pte. Ltd.\"",
        /// Where to.
        country: Country = "\"SG\"",
        /// When it was shipped.
        shipped: At = "2026-10-02",
        /// When it arrived.
        arrived: Option<At> = "2026-10-09",
        /// Where it is.
        state: ShipmentState = "\"delivered\"",
        /// Who carried it.
        carrier: Option<Line> = "\"Example Freight\"",
        /// Seals, as they were put on.
        seals: Option<Vec<Line>> = "[\"S-0012\"]",
        /// Whether they were whole on arrival.
        seals_whole: Option<bool> = "true",
        /// What is in it.
        items: Vec<ShippedItem> = "",
    }

    /// Devices of one model in a shipment.
    pub struct ShippedItem {
        /// The model, as the catalogue of accelerators has it.
        model: Line = "\"H100 SXM5 80GB\"",
        /// How many.
        count: u64 = "8",
        /// Their serial numbers.
        serials: Option<Vec<Line>> = "[\"1650123000117\"]",
        /// The lot that they are of, as its test certificate has it.
        lot: Option<Line> = "\"LOT-2026-07\"",
    }

    /// That shipments are held or released (REC-04).
    pub struct ShipmentHold {
        /// Which of the two.
        action: HoldAction = "\"hold\"",
        /// Why.
        reason: Prose = "\"INV-03 was not met at harbour-1 on 2026-11-21.\"",
        /// Shipments that it concerns; left out for all.
        shipments: Option<Vec<Line>> = "[\"SH-2026-131\"]",
        /// Red flags or conditions that it rests on.
        because_of: Option<Vec<Line>> = "[\"INV-03\"]",
    }

    /// What a laboratory measured (SUP-03, CAP-07; 91 FR 1684).
    pub struct TestCertificate {
        /// The lot.
        lot: Line = "\"LOT-2026-07\"",
        /// The model, as the catalogue of accelerators has it.
        model: Line = "\"H200 SXM\"",
        /// How many devices are in the lot.
        count: u64 = "512",
        /// How many of them were tested.
        tested: u64 = "59",
        /// Where the laboratory stands.
        country: Country = "\"US\"",
        /// Whether it is independent of maker, supplier and consignee.
        independent: bool = "true",
        /// Highest Total Processing Performance measured.
        tpp: u64 = "15832",
        /// Highest bandwidth of memory measured, in GB/s.
        bandwidth_gbps: u64 = "4800",
        /// The report: SHA-256 of its bytes.
        report: Option<Digest> = "\"0000000000000000000000000000000000000000000000000000000000000000\"",
    }
}
