//! The tenants of a report: their pseudonyms, and what each device did while they held it.
//!
//! Decides: that a report names each tenant once and each device names each of its tenants once, in one order. Trusts nothing. Does
//! not establish who a tenant is: only the operator, who has the key, can show the name behind a pseudonym. Nor that it was the one
//! who computed: the operator says who held a device.

use crate::accounting::tpp_hours;
use crate::cbor::{DecodeError, Decoder, Encoder, Wire};
use crate::id::TenantPseudonym;
use crate::unit::MicroTppHours;

/// The tenants that held a device in the report's time: one at least, each once, in the order of their bytes.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(transparent)]
pub struct TenantList(Vec<TenantPseudonym>);

impl TenantList {
    /// The most in one report: as many as its devices can tell of.
    pub const MOST: usize = 512;

    /// The list of these; `None` where there are none. Beyond the most, the last in the order are left out.
    #[must_use]
    pub fn of(mut tenants: Vec<TenantPseudonym>) -> Option<Self> {
        tenants.sort_unstable();
        tenants.dedup();
        tenants.truncate(Self::MOST);
        (!tenants.is_empty()).then_some(Self(tenants))
    }

    /// The tenant at a place.
    #[must_use]
    pub fn get(&self, place: u16) -> Option<&TenantPseudonym> {
        self.0.get(usize::from(place))
    }

    /// The place of a tenant.
    #[must_use]
    pub fn place(&self, tenant: &TenantPseudonym) -> Option<u16> {
        let at = self.0.binary_search(tenant).ok()?;
        u16::try_from(at).ok()
    }
}

impl Wire for TenantList {
    fn encode(&self, e: &mut Encoder<&mut Vec<u8>>) {
        self.0.encode(e);
    }

    fn decode(d: &mut Decoder<'_>, what: &'static str) -> Result<Self, DecodeError> {
        ordered(d, what, Self::MOST, |tenant: &TenantPseudonym| *tenant).map(Self)
    }
}

crate::row! {
    /// What a device did while a tenant held it.
    ///
    /// The bounds are zero where the device's own compute is absent: then nothing bounds it.
    pub struct TenantShare {
        /// The tenant's place in the host's list.
        place: u16,
        /// Time for which it held the device, or an instance of it, in milliseconds.
        attributed_ms: u64,
        /// Time in which a kernel was resident, as far as it was read, in milliseconds; in equal parts where several held the device, and by
        /// its part where it held an instance.
        busy_ms: u64,
        /// Compute: not below. Of time in which it alone held the whole device.
        #[serde(serialize_with = "tpp_hours")]
        lower: MicroTppHours,
        /// What the counters say of that time.
        #[serde(serialize_with = "tpp_hours")]
        counter: MicroTppHours,
        /// Compute: not above, if the driver tells the truth.
        #[serde(serialize_with = "tpp_hours")]
        upper: MicroTppHours,
        /// Compute: not above, whatever the driver tells.
        #[serde(serialize_with = "tpp_hours")]
        upper_unconditional: MicroTppHours,
    }
}

/// What a device did while tenants held it: one at least, each once, in the order of the host's list.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(transparent)]
pub struct TenantShares(Vec<TenantShare>);

impl TenantShares {
    /// The most of one device in one report.
    pub const MOST: usize = 8;

    /// These; `None` where there are none. Of two of one tenant the second is left out, and so is what is beyond the most.
    #[must_use]
    pub fn of(mut shares: Vec<TenantShare>) -> Option<Self> {
        shares.sort_by_key(|s| s.place);
        shares.dedup_by_key(|s| s.place);
        shares.truncate(Self::MOST);
        (!shares.is_empty()).then_some(Self(shares))
    }

    /// One by one.
    pub fn iter(&self) -> impl Iterator<Item = &TenantShare> {
        self.0.iter()
    }
}

impl Wire for TenantShares {
    fn encode(&self, e: &mut Encoder<&mut Vec<u8>>) {
        self.0.encode(e);
    }

    fn decode(d: &mut Decoder<'_>, what: &'static str) -> Result<Self, DecodeError> {
        ordered(d, what, Self::MOST, |share: &TenantShare| share.place).map(Self)
    }
}

/// Reads a list that is not empty, no longer than `most`, and strictly ascending by its key: so nothing stands in it twice.
fn ordered<T: Wire, K: Ord>(
    d: &mut Decoder<'_>,
    what: &'static str,
    most: usize,
    key: impl Fn(&T) -> K,
) -> Result<Vec<T>, DecodeError> {
    let at = d.position();
    let list = Vec::<T>::decode(d, what)?;
    if list.len() > most {
        return Err(DecodeError::TooMany {
            what,
            found: u64::try_from(list.len()).unwrap_or(u64::MAX),
            limit: u64::try_from(most).unwrap_or(u64::MAX),
        });
    }
    let ascending = list.windows(2).all(|pair| match pair {
        [a, b] => key(a) < key(b),
        _ => true,
    });
    if list.is_empty() || !ascending {
        let expected = "a list of one tenant at least, each once and in order";
        return Err(DecodeError::Shape { what, expected, at });
    }
    Ok(list)
}

impl TenantPseudonym {
    /// What the name of a tenant becomes under the operator's key: the first 16 bytes of HMAC-SHA-256 over
    /// `"weighbridge/tenant/v1" ‖ 0x00 ‖ name`.
    #[must_use]
    pub fn of(key: &[u8; 32], name: &str) -> Self {
        let message = [b"weighbridge/tenant/v1\0".as_slice(), name.as_bytes()].concat();
        let crate::id::Digest(whole) = crate::crypto::hmac_sha256(key, &message);
        let mut half = [0; 16];
        for (to, from) in half.iter_mut().zip(whole) {
            *to = from;
        }
        Self(half)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cbor;

    fn share(place: u16) -> TenantShare {
        TenantShare {
            place,
            attributed_ms: 1,
            busy_ms: 1,
            lower: MicroTppHours(0),
            counter: MicroTppHours(0),
            upper: MicroTppHours(1),
            upper_unconditional: MicroTppHours(2),
        }
    }

    #[test]
    fn a_tenant_stands_once_and_in_order_or_the_list_is_refused() {
        let [a, b] = [1, 2].map(|n| TenantPseudonym([n; 16]));
        let list = TenantList::of(vec![b, a, b]).unwrap();
        assert_eq!((list.place(&a), list.place(&b)), (Some(0), Some(1)));
        assert_eq!(
            cbor::decode_strict::<TenantList>(&cbor::encode(&list)).unwrap(),
            list
        );
        for wrong in [vec![], vec![b, a], vec![a, a]] {
            let bytes = cbor::encode(&wrong);
            assert!(cbor::decode_strict::<TenantList>(&bytes).is_err(), "{wrong:?}");
        }
        for wrong in [vec![], vec![share(1), share(0)], vec![share(1), share(1)]] {
            let bytes = cbor::encode(&wrong);
            assert!(cbor::decode_strict::<TenantShares>(&bytes).is_err(), "{wrong:?}");
        }
        let many: Vec<_> = (0..9).map(share).collect();
        assert!(matches!(
            cbor::decode_strict::<TenantShares>(&cbor::encode(&many)),
            Err(DecodeError::TooMany { limit: 8, .. })
        ));
        assert_eq!(TenantShares::of(many).unwrap().iter().count(), TenantShares::MOST);
    }

    #[test]
    fn a_pseudonym_is_the_same_under_one_key_and_another_under_another() {
        let of = |key: u8, name: &str| TenantPseudonym::of(&[key; 32], name).to_string();
        // As `openssl dgst -sha256 -mac HMAC` has it.
        assert_eq!(of(0x2a, "acme"), "5a75c9e9188e2ce54cdac8ffd31ecb1f");
        assert_eq!(of(7, "acme"), of(7, "acme"));
        assert_ne!(of(7, "acme"), of(8, "acme"));
        assert_ne!(of(7, "acme"), of(7, "acme "));
    }
}
