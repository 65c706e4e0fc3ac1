//! What a device says of itself in a report's opaque data: fields of a type, a length and bytes.
//!
//! Decides: what the fields that are known here mean. Fields that are not known are kept as they are: newer firmware has more of
//! them, and the signature covers them all. The numbers are those of NVIDIA's attestation SDK (Apache-2.0), read against real reports.

use std::collections::BTreeSet;

/// Field types.
mod field {
    pub(super) const DRIVER: u16 = 3;
    pub(super) const VBIOS: u16 = 6;
    pub(super) const NVDEC0: u16 = 11;
    pub(super) const CHIP_SKU: u16 = 15;
    pub(super) const PROJECT: u16 = 17;
    pub(super) const PROJECT_SKU: u16 = 18;
    pub(super) const FWID: u16 = 20;
    pub(super) const PROTECTED_PCIE: u16 = 21;
    pub(super) const SWITCH_PDI: u16 = 22;
    pub(super) const SWITCH_GPU_PDIS: u16 = 26;
    pub(super) const VERSION: u16 = 34;
    pub(super) const CHIP_INFO: u16 = 35;
    pub(super) const FEATURE_FLAG: u16 = 36;
}

/// The newest version of the opaque data that is understood.
const NEWEST: u32 = 1;
/// `enabled` in the status fields; 0x55 is `disabled`.
const ENABLED: u8 = 0xaa;
const DISABLED: u8 = 0x55;
/// The mode of a switch, which has no other.
pub(super) const SWITCH: &str = "switch";
/// GPUs that a switch of this generation names.
const GPUS_OF_SWITCH: usize = 8;

/// Why opaque data cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpaqueError {
    /// It ends within a field.
    #[error("it ends within a field")]
    Truncated,
    /// A field stands there twice.
    #[error("field {0} stands there twice")]
    Twice(u16),
    /// A version that cannot be read.
    #[error("its version is not a number of two or four bytes")]
    NoVersion,
    /// A version that is not known.
    #[error("its version is {found}; those up to {newest} are understood")]
    Version {
        /// As found.
        found: u32,
        /// As understood.
        newest: u32,
    },
}

/// The fields, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opaque(Vec<(u16, Vec<u8>)>);

/// Device identity that switches and links are named by: the last eight bytes of the boot-ROM certificate's serial number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pdi(pub [u8; 8]);

impl std::fmt::Display for Pdi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl std::fmt::Debug for Pdi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pdi({self})")
    }
}

impl serde::Serialize for Pdi {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl Opaque {
    /// Reads the fields, which fill the bytes exactly.
    ///
    /// # Errors
    /// [`OpaqueError`].
    pub fn parse(mut bytes: &[u8]) -> Result<Self, OpaqueError> {
        let mut fields = Vec::new();
        let mut seen = BTreeSet::new();
        while !bytes.is_empty() {
            let Some(([t0, t1, l0, l1], rest)) = bytes.split_first_chunk() else {
                return Err(OpaqueError::Truncated);
            };
            let kind = u16::from_le_bytes([*t0, *t1]);
            let length = usize::from(u16::from_le_bytes([*l0, *l1]));
            let (value, rest) = rest.split_at_checked(length).ok_or(OpaqueError::Truncated)?;
            if !seen.insert(kind) {
                return Err(OpaqueError::Twice(kind));
            }
            fields.push((kind, value.to_vec()));
            bytes = rest;
        }
        let opaque = Self(fields);
        match (opaque.bytes(field::VERSION), opaque.number(field::VERSION)) {
            (Some(_), None) => Err(OpaqueError::NoVersion),
            (_, Some(found)) if found > NEWEST => Err(OpaqueError::Version {
                found,
                newest: NEWEST,
            }),
            _ => Ok(opaque),
        }
    }

    /// The fields as they were read, byte for byte.
    #[must_use]
    pub fn emit(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (kind, value) in &self.0 {
            out.extend(kind.to_le_bytes());
            out.extend(u16::try_from(value.len()).unwrap_or(u16::MAX).to_le_bytes());
            out.extend(value);
        }
        out
    }

    /// The types of the fields, in their order.
    pub fn kinds(&self) -> impl Iterator<Item = u16> + '_ {
        self.0.iter().map(|(kind, _)| *kind)
    }

    /// A field's bytes.
    #[must_use]
    pub fn bytes(&self, kind: u16) -> Option<&[u8]> {
        let (_, value) = self.0.iter().find(|(k, _)| *k == kind)?;
        Some(value)
    }

    /// Printable ASCII up to the first zero byte.
    fn text(&self, kind: u16) -> Option<&str> {
        let bytes = self.bytes(kind)?.split(|b| *b == 0).next()?;
        let text = std::str::from_utf8(bytes).ok()?;
        (!text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic())).then_some(text)
    }

    /// A number, little-endian: two bytes in the reports that are known, four in the SDK's tables.
    fn number(&self, kind: u16) -> Option<u32> {
        match *self.bytes(kind)? {
            [b0, b1] => Some(u16::from_le_bytes([b0, b1]).into()),
            [b0, b1, b2, b3] => Some(u32::from_le_bytes([b0, b1, b2, b3])),
            _ => None,
        }
    }

    fn status(&self, kind: u16) -> Option<u8> {
        self.bytes(kind)?.first().copied()
    }

    /// Driver version of a GPU.
    #[must_use]
    pub fn driver(&self) -> Option<&str> {
        self.text(field::DRIVER)
    }

    /// VBIOS version, or that of a switch's BIOS: `96.00.9F.00.01`. A GPU writes it as eight bytes, a switch as text.
    #[must_use]
    pub fn vbios(&self) -> Option<String> {
        if let Some([b0, b1, b2, b3, b4, 0, 0, 0]) = self.bytes(field::VBIOS) {
            return Some(format!("{b3:02X}.{b2:02X}.{b1:02X}.{b0:02X}.{b4:02X}"));
        }
        self.text(field::VBIOS).map(str::to_owned)
    }

    /// Project, its SKU and the chip's SKU, of which the name of a VBIOS manifest is made.
    #[must_use]
    pub fn board(&self) -> Option<(&str, &str, &str)> {
        Some((
            self.text(field::PROJECT)?,
            self.text(field::PROJECT_SKU)?,
            self.text(field::CHIP_SKU)?,
        ))
    }

    /// `GB100`, `GB202`: Blackwell's chip, where its firmware says so.
    #[must_use]
    pub fn chip(&self) -> Option<&str> {
        self.text(field::CHIP_INFO)
    }

    /// Digest of the first mutable firmware.
    #[must_use]
    pub fn fwid(&self) -> Option<&[u8]> {
        self.bytes(field::FWID)
    }

    /// Whether the first video decoder is off: then its measurement is left out of the comparison.
    #[must_use]
    pub fn nvdec0_disabled(&self) -> bool {
        self.status(field::NVDEC0) == Some(DISABLED)
    }

    /// Whether this is a report of a switch.
    #[must_use]
    pub fn is_switch(&self) -> bool {
        self.bytes(field::SWITCH_GPU_PDIS).is_some()
    }

    /// How the device is used: `spt` alone, `mpt` with others, `ppcie` with protected PCIe. Old firmware, which knows only the first,
    /// says nothing; one that does not even name its driver, or says what is not known here, is `unknown`.
    #[must_use]
    pub fn mode(&self) -> &'static str {
        if self.is_switch() {
            return SWITCH;
        }
        let flag = self
            .bytes(field::FEATURE_FLAG)
            .map(|_| self.number(field::FEATURE_FLAG));
        match (flag, self.status(field::PROTECTED_PCIE)) {
            (Some(Some(0)), _) => "spt",
            (Some(Some(1)), _) => "mpt",
            (Some(Some(2)), _) | (None, Some(ENABLED)) => "ppcie",
            (None, _) if self.driver().is_some() => "spt",
            _ => "unknown",
        }
    }

    /// Whether protected PCIe is on, where the device says so.
    #[must_use]
    pub fn protected_pcie(&self) -> Option<bool> {
        self.status(field::PROTECTED_PCIE).map(|s| s == ENABLED)
    }

    /// Of a GPU: the switch at the other end of each link, in the order of the links; `None` for a link that is off.
    #[must_use]
    pub fn links(&self) -> Option<Vec<Option<Pdi>>> {
        if self.is_switch() {
            return None;
        }
        let bytes = self.bytes(field::SWITCH_PDI)?;
        if bytes.is_empty() || bytes.len().checked_rem(8) != Some(0) {
            return None;
        }
        let link = |chunk: &[u8]| {
            let mut pdi: [u8; 8] = chunk.try_into().ok()?;
            pdi.reverse();
            (pdi != [0; 8]).then_some(Pdi(pdi))
        };
        Some(bytes.chunks(8).map(link).collect())
    }

    /// Of a switch: its own identity.
    #[must_use]
    pub fn switch(&self) -> Option<Pdi> {
        let bytes = self.bytes(field::SWITCH_PDI).filter(|_| self.is_switch())?;
        bytes.try_into().ok().map(Pdi)
    }

    /// Of a switch: the GPUs that it names.
    #[must_use]
    pub fn gpus(&self) -> Option<Vec<Pdi>> {
        let bytes = self.bytes(field::SWITCH_GPU_PDIS)?;
        let named = bytes.get(..GPUS_OF_SWITCH.saturating_mul(8))?;
        let pdis = named.chunks(8).filter_map(|c| c.try_into().ok().map(Pdi));
        Some(pdis.filter(|p| p.0 != [0; 8]).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(fields: &[(u16, &[u8])]) -> Result<Opaque, OpaqueError> {
        let fields = fields.iter().map(|(kind, value)| (*kind, value.to_vec()));
        Opaque::parse(&Opaque(fields.collect()).emit())
    }

    #[test]
    fn a_mode_is_said_only_where_the_device_says_it() {
        let driver: (u16, &[u8]) = (field::DRIVER, b"580.65.06\0");
        let mode = |more: &[(u16, &[u8])]| fields(more).unwrap().mode();
        assert_eq!(mode(&[driver]), "spt");
        assert_eq!(mode(&[driver, (field::PROTECTED_PCIE, &[ENABLED])]), "ppcie");
        assert_eq!(mode(&[driver, (field::FEATURE_FLAG, &[1, 0])]), "mpt");
        assert_eq!(mode(&[driver, (field::FEATURE_FLAG, &[2, 0, 0, 0])]), "ppcie");
        for unknown in [
            &[][..],
            &[driver, (field::FEATURE_FLAG, &[3, 0])],
            &[driver, (field::FEATURE_FLAG, &[0])],
        ] {
            assert_eq!(mode(unknown), "unknown", "{unknown:?}");
        }
    }

    #[test]
    fn a_version_that_is_newer_or_no_number_is_refused() {
        assert!(fields(&[(field::VERSION, &[1, 0])]).is_ok());
        for wrong in [&[2, 0][..], &[2, 0, 0, 0], &[1], &[]] {
            assert!(fields(&[(field::VERSION, wrong)]).is_err(), "{wrong:?}");
        }
    }
}
