//! From rows to values.
//!
//! Decides: whether a row holds what this program writes. A column of another type or length is damage, never a default.

use super::super::{FindingRow, HeldEntry, HeldReport, NodeRow, StoreError, TokenRow};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use weighbridge::appraisal::evidence::RoundStanding;
use weighbridge::conditions::Outcome;
use weighbridge::crypto::PublicKey;
use weighbridge::id::{ChainId, Digest, NodeId};
use weighbridge::protocol::EnrolmentState;
use weighbridge::report::{Continuity, KeyProtection};
use weighbridge::time::UnixSeconds;

pub(super) fn column<'r, T>(row: &'r SqliteRow, at: usize, what: &'static str) -> Result<T, StoreError>
where
    T: sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
{
    row.try_get(at).map_err(|_| StoreError::Damaged { what })
}

pub(super) fn text(row: &SqliteRow, at: usize, what: &'static str) -> Result<String, StoreError> {
    column(row, at, what)
}

pub(super) fn number<T: TryFrom<i64>>(
    row: &SqliteRow,
    at: usize,
    what: &'static str,
) -> Result<T, StoreError> {
    let value: i64 = column(row, at, what)?;
    T::try_from(value).map_err(|_| StoreError::Damaged { what })
}

pub(super) fn optional_number<T: TryFrom<i64>>(
    row: &SqliteRow,
    at: usize,
    what: &'static str,
) -> Result<Option<T>, StoreError> {
    let value: Option<i64> = column(row, at, what)?;
    value
        .map(|v| T::try_from(v).map_err(|_| StoreError::Damaged { what }))
        .transpose()
}

pub(super) fn bytes<const N: usize>(
    row: &SqliteRow,
    at: usize,
    what: &'static str,
) -> Result<[u8; N], StoreError> {
    let value: &[u8] = column(row, at, what)?;
    value.try_into().map_err(|_| StoreError::Damaged { what })
}

pub(super) fn optional_bytes<const N: usize>(
    row: &SqliteRow,
    at: usize,
    what: &'static str,
) -> Result<Option<[u8; N]>, StoreError> {
    let value: Option<&[u8]> = column(row, at, what)?;
    value
        .map(|v| v.try_into().map_err(|_| StoreError::Damaged { what }))
        .transpose()
}

pub(super) fn coded<T: Copy>(
    row: &SqliteRow,
    at: usize,
    all: &[T],
    code: fn(T) -> u8,
    what: &'static str,
) -> Result<T, StoreError> {
    meant(number(row, at, what)?, all, code, what)
}

fn meant<T: Copy>(found: u8, all: &[T], code: fn(T) -> u8, what: &'static str) -> Result<T, StoreError> {
    all.iter()
        .copied()
        .find(|v| code(*v) == found)
        .ok_or(StoreError::Damaged { what })
}

pub(super) fn lines(row: &SqliteRow, at: usize, what: &'static str) -> Result<Vec<String>, StoreError> {
    Ok(text(row, at, what)?
        .lines()
        .filter(|l| !l.is_empty())
        .map(str::to_owned)
        .collect())
}

pub(super) fn time(
    row: &SqliteRow,
    at: usize,
    what: &'static str,
) -> Result<Option<UnixSeconds>, StoreError> {
    Ok(column::<Option<i64>>(row, at, what)?.map(UnixSeconds))
}

pub(super) fn entry(row: &SqliteRow) -> Result<HeldEntry, StoreError> {
    Ok(HeldEntry {
        leaf: number(row, 0, "leaf index")?,
        at: UnixSeconds(column(row, 1, "entry's time")?),
        digest: Digest(bytes(row, 2, "entry's digest")?),
        node: optional_bytes(row, 3, "entry's node")?.map(NodeId),
        body: column(row, 4, "entry's body")?,
    })
}

/// A report, from the columns leaf, salt, digest, at, chain, sequence, continuity, round, given, and maybe a body after them.
pub(super) fn report(row: &SqliteRow) -> Result<HeldReport, StoreError> {
    Ok(HeldReport {
        leaf: number(row, 0, "report's leaf")?,
        salt: bytes(row, 1, "report's salt")?,
        digest: Digest(bytes(row, 2, "report's digest")?),
        at: UnixSeconds(column(row, 3, "report's time")?),
        chain: ChainId(bytes(row, 4, "report's chain")?),
        sequence: number(row, 5, "report's number")?,
        continuity: continuity_of(column(row, 6, "report's continuity")?),
        round: optional_number(row, 7, "report's round")?
            .map(|found| meant(found, RoundStanding::ALL, RoundStanding::code, "report's round"))
            .transpose()?,
        given: time(row, 8, "report's challenge")?,
        body: if row.len() > 9 {
            column(row, 9, "report")?
        } else {
            None
        },
    })
}

pub(super) fn node(r: &SqliteRow) -> Result<NodeRow, StoreError> {
    let key: &[u8] = column(r, 3, "node's key")?;
    Ok(NodeRow {
        id: NodeId(bytes(r, 0, "node's id")?),
        site: text(r, 1, "node's site")?,
        state: coded(r, 2, EnrolmentState::ALL, EnrolmentState::code, "node's state")?,
        key: PublicKey::from_spki(key).map_err(|_| StoreError::Damaged { what: "node's key" })?,
        key_protection: coded(
            r,
            4,
            KeyProtection::ALL,
            KeyProtection::code,
            "node's key protection",
        )?,
        token: Digest(bytes(r, 5, "node's token")?),
        predecessor: optional_bytes(r, 6, "node's predecessor")?.map(NodeId),
        serials: lines(r, 7, "node's serials")?,
        enrolled_at: UnixSeconds(column(r, 8, "node's enrolment")?),
        approved_at: time(r, 9, "node's approval")?,
        revoked_at: time(r, 10, "node's revocation")?,
        revoked_from: time(r, 11, "node's revocation")?,
        renewed_at: time(r, 12, "node's renewal")?,
    })
}

pub(super) fn token(r: &SqliteRow) -> Result<TokenRow, StoreError> {
    Ok(TokenRow {
        digest: Digest(bytes(r, 0, "token")?),
        site: text(r, 1, "token's site")?,
        count: number(r, 2, "token's count")?,
        used: number(r, 3, "token's use")?,
        expires: UnixSeconds(column(r, 4, "token's expiry")?),
        serials: lines(r, 5, "token's serials")?,
        approve: number::<i64>(r, 6, "token")? != 0,
        made_at: UnixSeconds(column(r, 7, "token's time")?),
        revoked_at: time(r, 8, "token's revocation")?,
    })
}

pub(super) fn finding(r: &SqliteRow) -> Result<FindingRow, StoreError> {
    Ok(FindingRow {
        site: text(r, 0, "finding's site")?,
        licence: text(r, 1, "finding's licence")?,
        condition: text(r, 2, "finding's condition")?,
        outcome: coded(r, 3, Outcome::ALL, Outcome::code, "finding's outcome")?,
        gist: Digest(bytes(r, 4, "finding's gist")?),
        digest: Digest(bytes(r, 5, "finding's digest")?),
        since: UnixSeconds(column(r, 6, "finding's time")?),
    })
}

/// A report's continuity as one number: 0 first, 1 follows, 2 late, 3 + n after a gap of n. Forks and repeats are not recorded as reports.
pub(super) fn continuity_code(how: Continuity) -> i64 {
    match how {
        Continuity::First => 0,
        Continuity::Follows => 1,
        Continuity::Late | Continuity::Repeated | Continuity::Fork { .. } => 2,
        Continuity::Gap { missing } => i64::try_from(missing).unwrap_or(i64::MAX).saturating_add(3),
    }
}

fn continuity_of(code: i64) -> Continuity {
    match code {
        0 => Continuity::First,
        1 => Continuity::Follows,
        2 => Continuity::Late,
        more => Continuity::Gap {
            missing: u64::try_from(more.saturating_sub(3)).unwrap_or(0),
        },
    }
}
