//! One newtype per identity.
//!
//! Decides: what an identity looks like and how it is written. Does not establish that an identity is genuine: a
//! device UUID is what a driver said.

use crate::unit::serialize_hex;
use data_encoding::HEXLOWER_PERMISSIVE;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

macro_rules! byte_identity {
    ($(#[$doc:meta])* $name:ident[$len:literal]) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// Length in bytes.
            pub const LEN: usize = $len;

            /// Reads the hexadecimal form.
            ///
            /// # Errors
            /// [`ParseIdError`] unless exactly this many bytes are written in hexadecimal.
            pub fn parse(text: &str) -> Result<Self, ParseIdError> {
                HEXLOWER_PERMISSIVE
                    .decode(text.as_bytes())
                    .ok()
                    .and_then(|b| <[u8; $len]>::try_from(b).ok())
                    .map(Self)
                    .ok_or(ParseIdError { kind: stringify!($name), expected: $len })
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    };
}

macro_rules! written_in_hexadecimal {
    ($($name:ident),*) => { $(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                serialize_hex(&self.0, s)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = String::deserialize(d)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    )* };
}

written_in_hexadecimal!(
    Digest,
    VerifierId,
    NodeId,
    ChainId,
    BootId,
    Challenge,
    TenantPseudonym
);

/// A text that is not the identity it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a {kind} is {expected} bytes in hexadecimal")]
pub struct ParseIdError {
    /// The identity that was expected.
    pub kind: &'static str,
    /// Its length in bytes.
    pub expected: usize,
}

byte_identity! {
    /// A SHA-256 digest.
    Digest[32]
}
byte_identity! {
    /// The verifier: SHA-256 of its CA's SubjectPublicKeyInfo, the value that an enrolment token pins.
    VerifierId[32]
}
byte_identity! {
    /// A node, as a UEID of type RAND (RFC 9711 section 4.2.1): the byte 0x01 and 16 random bytes drawn at enrolment.
    NodeId[17]
}
byte_identity! {
    /// A chain of reports: 16 random bytes drawn with the agent's state.
    ChainId[16]
}
byte_identity! {
    /// The kernel's boot id.
    BootId[16]
}
byte_identity! {
    /// A verifier's challenge: 32 random bytes for one node, used once.
    Challenge[32]
}
byte_identity! {
    /// The UUID that a driver reports for a device, without its `GPU-` or `MIG-` prefix.
    DeviceUuid[16]
}

byte_identity! {
    /// A tenant, as reports name it: the first half of an HMAC-SHA-256 over its name, under a key that only the operator has.
    TenantPseudonym[16]
}

impl DeviceUuid {
    /// Reads `GPU-xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx`, with or without the prefix.
    ///
    /// # Errors
    /// [`ParseIdError`] where it is not a UUID.
    pub fn parse_nvml(text: &str) -> Result<Self, ParseIdError> {
        let bare = text
            .strip_prefix("GPU-")
            .or_else(|| text.strip_prefix("MIG-"))
            .unwrap_or(text);
        let hex: String = bare.chars().filter(|c| *c != '-').collect();
        Self::parse(&hex)
    }

    /// The driver's spelling, `GPU-…` with hyphens.
    #[must_use]
    pub fn nvml(&self) -> String {
        self.spelt("GPU-")
    }

    /// The driver's spelling of a MIG device, `MIG-…` with hyphens.
    #[must_use]
    pub fn nvml_mig(&self) -> String {
        self.spelt("MIG-")
    }

    fn spelt(&self, prefix: &str) -> String {
        let mut out = String::with_capacity(prefix.len().saturating_add(36));
        out.push_str(prefix);
        for (i, byte) in self.0.iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                out.push('-');
            }
            let digits = [byte >> 4, byte & 0xf].map(|digit| char::from_digit(digit.into(), 16));
            out.extend(digits.into_iter().flatten());
        }
        out
    }
}

/// As licences and people write it.
impl Serialize for DeviceUuid {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.nvml())
    }
}

/// The four PCI identifiers of a function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct PciId {
    /// Vendor, 0x10de for NVIDIA.
    #[serde(serialize_with = "four_digits")]
    pub vendor: u16,
    /// Device.
    #[serde(serialize_with = "four_digits")]
    pub device: u16,
    /// Subsystem vendor.
    #[serde(serialize_with = "four_digits")]
    pub subsystem_vendor: u16,
    /// Subsystem device.
    #[serde(serialize_with = "four_digits")]
    pub subsystem_device: u16,
}

/// A PCI identifier as every list of them has it.
fn four_digits<S: Serializer>(id: &u16, s: S) -> Result<S::Ok, S::Error> {
    s.collect_str(&format_args!("{id:04x}"))
}

impl std::fmt::Display for PciId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:04x}:{:04x} ({:04x}:{:04x})",
            self.vendor, self.device, self.subsystem_vendor, self.subsystem_device
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_uuid_survives_the_round_trip() {
        let text = "GPU-1653b042-3c11-4d21-9a00-0123456789ab";
        assert_eq!(DeviceUuid::parse_nvml(text).unwrap().nvml(), text);
        assert!(DeviceUuid::parse_nvml("GPU-1653").is_err());
        let json = serde_json::to_string(&DeviceUuid::parse_nvml(text).unwrap()).unwrap();
        assert_eq!(json, format!("\"{text}\""));
    }

    #[test]
    fn pci_identifiers_are_written_as_everywhere() {
        let id = PciId {
            vendor: 0x10de,
            device: 0x2330,
            subsystem_vendor: 0x10de,
            subsystem_device: 0x00c1,
        };
        assert_eq!(
            serde_json::to_value(id).unwrap(),
            serde_json::json!({ "vendor": "10de", "device": "2330", "subsystem_vendor": "10de", "subsystem_device": "00c1" })
        );
    }

    #[test]
    fn an_identity_of_the_wrong_length_names_its_kind() {
        assert_eq!(
            ChainId::parse("00").unwrap_err().to_string(),
            "a ChainId is 16 bytes in hexadecimal"
        );
    }
}
