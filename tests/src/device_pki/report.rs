//! Reports.

use super::{Chip, Device, Said, measurement, sign_fixed};
use weighbridge::hardware::nvidia::Pdi;

impl Device {
    /// A signed report.
    #[must_use]
    pub fn report(&self, said: &Said) -> Vec<u8> {
        let count: u8 = if self.chip == Chip::Ls10 { 31 } else { 64 };
        let mut record = Vec::new();
        for index in 0..count {
            let mut value = measurement(index);
            if said.altered == Some(index) {
                value[0] ^= 1;
            }
            record.extend([index + 1, 1, 51, 0, 1, 48, 0]);
            record.extend(value);
        }
        let mut opaque = Vec::new();
        let mut field = |kind: u16, value: &[u8]| {
            opaque.extend(kind.to_le_bytes());
            opaque.extend((value.len() as u16).to_le_bytes());
            opaque.extend(value);
        };
        let eights = |pdis: &mut dyn Iterator<Item = [u8; 8]>, room: usize| {
            let mut bytes: Vec<u8> = pdis.flatten().collect();
            bytes.resize(room * 8, 0);
            bytes
        };
        if self.chip == Chip::Ls10 {
            field(6, b"96.10.73.00.01\0");
            field(22, &self.pdi.0);
            let mut named = eights(&mut said.peers.iter().map(|p| p.0), 8);
            named.extend([0xff; 64]);
            field(26, &named);
        } else {
            field(
                3,
                format!("{}\0", said.driver.as_deref().unwrap_or_default()).as_bytes(),
            );
            field(6, &version(&said.vbios));
            field(11, &[0x55]);
            field(15, b"882\0");
            field(17, b"1010\0");
            field(18, b"0200\0");
            field(20, &self.fwid);
            if self.chip == Chip::Gh100 {
                field(21, &[if said.feature == 2 { 0xaa } else { 0x55 }]);
                let reversed = |p: &Pdi| {
                    let mut bytes = p.0;
                    bytes.reverse();
                    bytes
                };
                field(22, &eights(&mut said.peers.iter().map(reversed), 18));
            } else {
                field(35, b"GB100\0");
            }
            field(34, &1u16.to_le_bytes());
            field(36, &said.feature.to_le_bytes());
        }
        let mut report = vec![0x11, 0xe0, 0x01, 0xff];
        report.extend(said.nonce);
        report.extend([0, 0x11, 0x60, 0, 0, count]);
        report.extend(&(record.len() as u32).to_le_bytes()[..3]);
        report.extend(record);
        report.extend([9; 32]);
        report.extend((opaque.len() as u16).to_le_bytes());
        report.extend(opaque);
        let signature = sign_fixed(&self.key, &report);
        report.extend(signature);
        report
    }
}

/// A VBIOS version as a GPU writes it: the first four bytes reversed, then the fifth.
fn version(text: &str) -> [u8; 8] {
    let bytes: Vec<u8> = text
        .split('.')
        .map(|b| u8::from_str_radix(b, 16).unwrap())
        .collect();
    [bytes[3], bytes[2], bytes[1], bytes[0], bytes[4], 0, 0, 0]
}
