//! Rounds of hardware evidence, and what they come to.
//!
//! Decides: nothing. A node's rounds are found over an index that holds nothing else, however long its past.

use super::super::{EvidenceRow, HeldReport, StoreError, UnappraisedRow};
use super::rows::{bytes, column, number, optional_number, report};
use super::{SqliteStore, failed, int};
use weighbridge::id::{Challenge, NodeId};

pub(super) const IS_ANSWERED: &str = "SELECT EXISTS (SELECT 1 FROM entry INDEXED BY entry_round \
     WHERE round IS NOT NULL AND node = ? AND challenge = ?)";
pub(super) const ROUNDS: &str = "SELECT leaf, salt, digest, at, chain, sequence, continuity, round, given, body FROM entry \
     WHERE leaf IN (SELECT leaf FROM entry INDEXED BY entry_round WHERE node = ? AND round = 0 AND leaf > ? \
                    ORDER BY leaf LIMIT ?) ORDER BY leaf";
pub(super) const UNAPPRAISED: &str = "SELECT held.node, evidence.upto IS NULL OR evidence.upto < held.last FROM \
     (SELECT node, max(leaf) AS last FROM entry INDEXED BY entry_round WHERE round = 0 GROUP BY node) AS held \
     LEFT JOIN evidence ON evidence.node = held.node \
     WHERE evidence.upto IS NULL OR evidence.upto < held.last OR evidence.open IS NOT NULL";

impl SqliteStore {
    pub(super) async fn find_answer(&self, node: NodeId, challenge: Challenge) -> Result<bool, StoreError> {
        let row = sqlx::query(IS_ANSWERED)
            .bind(node.0.to_vec())
            .bind(challenge.0.to_vec())
            .fetch_one(&self.readers)
            .await
            .map_err(failed("look up a challenge"))?;
        Ok(number::<u64>(&row, 0, "answered challenge")? > 0)
    }

    pub(super) async fn read_rounds(
        &self,
        node: NodeId,
        leaf: Option<u64>,
        limit: usize,
    ) -> Result<Vec<HeldReport>, StoreError> {
        sqlx::query(ROUNDS)
            .bind(node.0.to_vec())
            .bind(leaf.map(|l| int(l, "a leaf's index")).transpose()?.unwrap_or(-1))
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch_all(&self.readers)
            .await
            .map_err(failed("read a node's rounds"))?
            .iter()
            .map(report)
            .collect()
    }

    pub(super) async fn list_unappraised(&self) -> Result<Vec<UnappraisedRow>, StoreError> {
        sqlx::query(UNAPPRAISED)
            .fetch_all(&self.readers)
            .await
            .map_err(failed("list rounds that were not appraised"))?
            .iter()
            .map(|r| {
                Ok(UnappraisedRow {
                    node: NodeId(bytes(r, 0, "report's node")?),
                    new: number::<u8>(r, 1, "round")? != 0,
                })
            })
            .collect()
    }

    pub(super) async fn read_evidence(&self, node: NodeId) -> Result<Option<EvidenceRow>, StoreError> {
        sqlx::query("SELECT upto, open, body FROM evidence WHERE node = ?")
            .bind(node.0.to_vec())
            .fetch_optional(&self.readers)
            .await
            .map_err(failed("read a node's evidence"))?
            .map(|r| {
                Ok(EvidenceRow {
                    node,
                    upto: number(&r, 0, "evidence's leaf")?,
                    open: optional_number(&r, 1, "evidence's leaf")?,
                    body: column(&r, 2, "evidence")?,
                })
            })
            .transpose()
    }
}
