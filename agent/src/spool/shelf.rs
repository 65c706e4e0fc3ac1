//! The tables, and how rows are written, read and dropped.

use super::open::SpoolError;
use super::record::{Counters, Entry, Fate};
use redb::{ReadableTable, Table, TableDefinition, WriteTransaction};
use weighbridge::cbor::{self, Wire};
use weighbridge::time::SECOND;

/// Nanoseconds in a day.
const DAY: u64 = 86_400 * SECOND;

/// Records by name.
pub(super) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
/// [`Entry`] by ordinal: the order in which reports were sealed, over all chains.
pub(super) const ENTRIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("entries");
/// Sealed bundles by ordinal.
pub(super) const BUNDLES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("bundles");
/// Windows and bursts that stay here, by the ordinal of the report that carries their root.
pub(super) const WINDOWS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("windows");
/// What the verifier answered (receipt or refusal), by ordinal.
pub(super) const ANSWERS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("answers");
/// Ordinals without an answer.
pub(super) const QUEUE: TableDefinition<'_, u64, ()> = TableDefinition::new("queue");
/// Ordinal by chain and number.
pub(super) const PLACES: TableDefinition<'_, (&[u8; 16], u64), u64> = TableDefinition::new("places");

pub(super) const CHAIN: &str = "chain";
pub(super) const STANDING: &str = "standing";
pub(super) const ROUND: &str = "round";
pub(super) const LIFE: &str = "life";
pub(super) const COUNTERS: &str = "counters";

pub(super) fn store(
    txn: &WriteTransaction,
    ordinal: u64,
    entry: &Entry,
    bundle: &[u8],
) -> Result<(), SpoolError> {
    txn.open_table(ENTRIES)?
        .insert(ordinal, cbor::encode(entry).as_slice())?;
    txn.open_table(BUNDLES)?.insert(ordinal, bundle)?;
    txn.open_table(PLACES)?
        .insert((&entry.chain.0, entry.sequence), ordinal)?;
    Ok(())
}

/// Drops what is out of date, and the oldest while the bound is exceeded: answered reports first, then those that wait.
pub(super) fn prune(
    txn: &WriteTransaction,
    counters: &mut Counters,
    limit: u64,
    kept_days: u32,
) -> Result<(), SpoolError> {
    let kept = u64::from(kept_days).saturating_mul(DAY);
    let mut entries = txn.open_table(ENTRIES)?;
    for spare_waiting in [true, false] {
        let mut from = 0;
        while let Some((ordinal, entry)) = first_entry(&entries, from)? {
            from = ordinal.saturating_add(1);
            let waits = entry.fate == Fate::Waiting;
            let over = counters.bytes > limit;
            let dated = spare_waiting && counters.spanned.saturating_sub(entry.spanned) > kept;
            // The newest stays whatever the bound: there is nothing to gain by losing it before it was tried.
            if !(over || dated) || from >= counters.next {
                break;
            }
            if waits && spare_waiting {
                continue;
            }
            entries.remove(ordinal)?;
            txn.open_table(BUNDLES)?.remove(ordinal)?;
            txn.open_table(WINDOWS)?.remove(ordinal)?;
            txn.open_table(ANSWERS)?.remove(ordinal)?;
            txn.open_table(QUEUE)?.remove(ordinal)?;
            txn.open_table(PLACES)?.remove((&entry.chain.0, entry.sequence))?;
            counters.bytes = counters.bytes.saturating_sub(entry.bytes);
            counters.lost = counters.lost.saturating_add(u64::from(waits));
            counters.cut_short = counters.cut_short.saturating_add(u64::from(!waits && !dated));
        }
    }
    Ok(())
}

pub(super) fn first_entry(
    entries: &Table<'_, u64, &[u8]>,
    from: u64,
) -> Result<Option<(u64, Entry)>, SpoolError> {
    match entries.range(from..)?.next() {
        None => Ok(None),
        Some(row) => {
            let (ordinal, bytes) = row?;
            Ok(Some((ordinal.value(), cbor::decode_strict(bytes.value())?)))
        }
    }
}

pub(super) fn entry(
    entries: &impl ReadableTable<u64, &'static [u8]>,
    ordinal: u64,
) -> Result<Entry, SpoolError> {
    let bytes = entries
        .get(ordinal)?
        .ok_or(SpoolError::Incomplete("report's entry"))?;
    Ok(cbor::decode_strict(bytes.value())?)
}

pub(super) fn read<T: Wire>(
    meta: &impl ReadableTable<&'static str, &'static [u8]>,
    name: &'static str,
) -> Result<Option<T>, SpoolError> {
    match meta.get(name)? {
        None => Ok(None),
        Some(bytes) => Ok(Some(cbor::decode_strict(bytes.value())?)),
    }
}

pub(super) fn write<T: Wire>(
    meta: &mut Table<'_, &'static str, &'static [u8]>,
    name: &'static str,
    value: &T,
) -> Result<(), SpoolError> {
    meta.insert(name, cbor::encode(value).as_slice())?;
    Ok(())
}

pub(super) fn size(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
