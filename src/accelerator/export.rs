//! Total Processing Performance, performance density and the lines of ECCN 3A090.
//!
//! The lines are law, each with its date and citation; they classify a part and fail no site. A limit that can fail a
//! site stands in a licence or a rule set.

use crate::time::UnixSeconds;
use crate::unit::Tpp;
use serde::Serialize;

/// Dense peak rates in giga-operations per second, as the maker prints them. A multiply and an add count as two
/// operations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Rates {
    /// Matrix operations on FP64 inputs.
    pub fp64_matrix: Option<u64>,
    /// TF32: held in 32 bits.
    pub tf32: Option<u64>,
    /// FP16 and BF16.
    pub fp16: Option<u64>,
    /// FP8.
    pub fp8: Option<u64>,
    /// INT8.
    pub int8: Option<u64>,
    /// FP4 or INT4.
    pub fp4: Option<u64>,
}

impl Rates {
    /// Each format that the part runs, with the bit length of the inputs to the multiply and its rate.
    pub fn formats(&self) -> impl Iterator<Item = (u64, u64)> {
        [
            (64, self.fp64_matrix),
            (32, self.tf32),
            (16, self.fp16),
            (8, self.fp8),
            (8, self.int8),
            (4, self.fp4),
        ]
        .into_iter()
        .filter_map(|(bits, rate)| rate.map(|r| (bits, r)))
    }

    /// Total Processing Performance: the largest of rate times bit length over the formats, rounded to the unit
    /// (technical note to ECCN 3A090; `2 x MacTOPS` there is the rate here). `None` where no rate is known.
    #[must_use]
    pub fn tpp(&self) -> Option<Tpp> {
        let giga = self
            .formats()
            .map(|(bits, rate)| bits.saturating_mul(rate))
            .max()?;
        giga.saturating_add(500).checked_div(1_000).map(Tpp)
    }

    /// The narrowest format that the part runs, in bits: what turns bit-operations into the most operations.
    #[must_use]
    pub fn narrowest_bits(&self) -> Option<u64> {
        self.formats().map(|(bits, _)| bits).min()
    }
}

/// The area of all logic dies on a non-planar node, in tenths of a square millimetre.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct DieArea(pub u64);

/// Performance density in thousandths of TPP per square millimetre, rounded down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct MilliDensity(pub u64);

/// TPP divided by the applicable die area; `None` where the area is zero.
#[must_use]
pub fn performance_density(tpp: Tpp, area: DieArea) -> Option<MilliDensity> {
    tpp.0.saturating_mul(10_000).checked_div(area.0).map(MilliDensity)
}

/// Where a part stands under ECCN 3A090.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum ExportClass {
    /// 3A090.a.
    #[serde(rename = "3A090.a")]
    A,
    /// 3A090.b.
    #[serde(rename = "3A090.b")]
    B,
    /// Neither, by these figures.
    #[serde(rename = "not 3A090")]
    Neither,
    /// A figure is missing that would decide it.
    #[serde(rename = "cannot tell")]
    Undetermined,
}

/// The lines that one vintage of the rule draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExportLines {
    /// First day in force.
    pub valid_from: UnixSeconds,
    /// Where it is published.
    pub citation: &'static str,
    /// .a.1: this TPP or more. Also the line of Note 2 for parts not marketed for data centres.
    pub a_tpp: Tpp,
    /// .a.2 and .b.2: this TPP or more, with the density of the line.
    pub density_tpp: Tpp,
    /// .a.2: this density or more.
    pub a_density: MilliDensity,
    /// .b.1: this TPP or more, and below .a.1.
    pub b_tpp: Tpp,
    /// .b.1: this density or more, and below .a.2.
    pub b1_density: MilliDensity,
    /// .b.2: this density or more, and below .a.2.
    pub b2_density: MilliDensity,
}

/// ECCN 3A090.a and .b with Note 2, in force since 17 November 2023 and unchanged in the eCFR of 23 July 2026.
pub const ECCN_3A090_2023: ExportLines = ExportLines {
    valid_from: UnixSeconds(1_700_179_200),
    citation: "88 FR 73458; 15 CFR part 774, supplement 1, ECCN 3A090",
    a_tpp: Tpp(4_800),
    density_tpp: Tpp(1_600),
    a_density: MilliDensity(5_920),
    b_tpp: Tpp(2_400),
    b1_density: MilliDensity(1_600),
    b2_density: MilliDensity(3_200),
};

impl ExportLines {
    /// The class of a part. `datacenter` is whether it is designed or marketed for data centres (Note 2).
    #[must_use]
    pub fn class(&self, tpp: Option<Tpp>, density: Option<MilliDensity>, datacenter: bool) -> ExportClass {
        let Some(tpp) = tpp else {
            return ExportClass::Undetermined;
        };
        if tpp >= self.a_tpp {
            return ExportClass::A;
        }
        if !datacenter || tpp < self.density_tpp {
            return ExportClass::Neither;
        }
        let Some(density) = density else {
            return ExportClass::Undetermined;
        };
        if density >= self.a_density {
            return ExportClass::A;
        }
        let b1 = tpp >= self.b_tpp && density >= self.b1_density;
        if b1 || density >= self.b2_density {
            return ExportClass::B;
        }
        ExportClass::Neither
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worked_example_of_the_technical_note_is_4800() {
        let by_int8 = Rates {
            int8: Some(600_000),
            ..Rates::default()
        };
        let by_fp16 = Rates {
            fp16: Some(300_000),
            ..Rates::default()
        };
        assert_eq!(by_int8.tpp(), Some(Tpp(4_800)));
        assert_eq!(by_fp16.tpp(), Some(Tpp(4_800)));
        assert_eq!(Rates::default().tpp(), None);
    }

    #[test]
    fn each_line_of_the_rule_includes_its_own_value() {
        let class = |tpp, density, dc| ECCN_3A090_2023.class(Some(Tpp(tpp)), Some(MilliDensity(density)), dc);
        assert_eq!(class(4_800, 0, true), ExportClass::A);
        assert_eq!(class(1_600, 5_920, true), ExportClass::A);
        assert_eq!(class(2_400, 1_600, true), ExportClass::B);
        assert_eq!(class(1_600, 3_200, true), ExportClass::B);
        assert_eq!(class(2_399, 3_199, true), ExportClass::Neither);
        assert_eq!(class(1_599, 9_000, true), ExportClass::Neither);
        // Note 2: not for data centres and under 4800; at 4800 the note no longer helps.
        assert_eq!(class(4_799, 9_000, false), ExportClass::Neither);
        assert_eq!(class(4_800, 9_000, false), ExportClass::A);
        assert_eq!(
            ECCN_3A090_2023.class(Some(Tpp(2_000)), None, true),
            ExportClass::Undetermined
        );
    }
}
