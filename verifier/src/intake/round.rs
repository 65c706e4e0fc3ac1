//! How the round of hardware evidence stands that a report carries.
//!
//! Decides: whether it answers a challenge that its node was given lately and no round has answered before, and whether it froze a report that is held
//! of this node and names that report's times. Says why where it does not; the report is accepted either way. Does not establish that a
//! device signed anything: the appraisal does.

use super::{Intake, Standing};
use crate::fleet::Copy;
use crate::store::{JudgedRound, StoreError};
use weighbridge::appraisal::evidence::RoundStanding;
use weighbridge::report::{ReportClaims, RoundClaims, VerifiedReport};
use weighbridge::time::UnixSeconds;

/// How many reports after the one that it froze a round may be carried: a device that hangs holds up those that answer, for ten minutes at most, and the
/// shortest reports are of one.
const SLOWEST: u64 = 16;

impl Intake {
    /// Judges the round of a report, if it carries one, and says when its challenge was given. A round is asked for once a day or so, and may cost
    /// queries.
    pub(super) async fn judge_round(
        &self,
        standing: &Standing,
        report: &VerifiedReport,
    ) -> Result<Option<(JudgedRound, Option<UnixSeconds>)>, StoreError> {
        let claims = &report.claims().report;
        let Some(round) = &claims.round else {
            return Ok(None);
        };
        let (found, given) = self.stand_of(standing, claims, round).await?;
        if found != RoundStanding::Good {
            tracing::warn!(node = %standing.node.id, sequence = claims.sequence, "a round of hardware evidence does not count: it {found}");
        }
        let judged = JudgedRound {
            standing: found,
            challenge: round.challenge,
        };
        Ok(Some((judged, given)))
    }

    async fn stand_of(
        &self,
        standing: &Standing,
        claims: &ReportClaims,
        round: &RoundClaims,
    ) -> Result<(RoundStanding, Option<UnixSeconds>), StoreError> {
        let node = &standing.node;
        if self.store.is_answered(node.id, round.challenge).await? {
            return Ok((RoundStanding::ChallengeUsed, None));
        }
        let held = self.store.at_place(node.id, round.chain, round.sequence).await?;
        let held = held.filter(|held| held.digest == round.digest);
        let secret = &self.standings.secret;
        let after = claims.sequence.checked_sub(round.sequence);
        let is_near = claims.chain == round.chain && after.is_some_and(|n| (1..=SLOWEST).contains(&n));
        let after_it = held
            .as_ref()
            .filter(|h| is_near && standing.gave_after(secret, h.leaf, round.challenge));
        let lately = standing.gave(secret, round.challenge);
        let Some(given) = lately.or_else(|| after_it.map(|h| h.at)) else {
            return Ok((RoundStanding::ChallengeUnknown, None));
        };
        let stands = |standing| Ok((standing, Some(given)));
        let frozen = held.map(|held| Copy::of(held.body.as_deref(), &held.digest, node));
        let Some(Copy::Whole(frozen)) = frozen else {
            return stands(RoundStanding::PlaceUnknown);
        };
        let frozen = &frozen.claims().report;
        let fits = frozen.boot == claims.boot && frozen.time.end == round.covers_to;
        if !fits || !round.is_in_order(&claims.time) {
            return stands(RoundStanding::TimesWrong);
        }
        stands(RoundStanding::Good)
    }
}
