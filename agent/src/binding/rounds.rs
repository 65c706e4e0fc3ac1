//! When a round is due, and on what.
//!
//! Decides: that a round is held once after each start, then once in every period, whenever the verifier draws one, and again where the chain
//! was begun anew since; that each challenge serves one round at most. The time, the standing and the head are arguments. Does not ask a device.

use crate::spool::Standing;
use weighbridge::id::{ChainId, Challenge};
use weighbridge::report::{ChainLink, RoundClaims};
use weighbridge::time::BootNanos;

/// The report that a round freezes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frozen {
    /// Its place and digest.
    pub link: ChainLink,
    /// The end of its time, by the clock of this boot.
    pub covers_to: BootNanos,
}

/// The rounds of one run of the agent.
#[derive(Debug)]
pub struct Rounds {
    /// From round to round, in nanoseconds of boot time; 0 where none is held for its time alone.
    period: u64,
    /// The challenge that served a round last, in this run or in an earlier one.
    served: Option<Challenge>,
    /// When the next one is due for its time; at once after a start.
    next: Option<BootNanos>,
    /// The draw that was followed last.
    followed: Option<Challenge>,
    /// The chain of the round that was held last.
    chain: Option<ChainId>,
    /// The round that is held now, and the draw that it follows.
    held: Option<(RoundClaims, Option<Challenge>)>,
}

impl Rounds {
    /// None was held yet in this run; `served` is the challenge on which one was begun last, in any.
    #[must_use]
    pub fn new(period: u64, served: Option<Challenge>) -> Self {
        Self {
            period,
            served,
            next: Some(BootNanos(0)),
            followed: None,
            chain: None,
            held: None,
        }
    }

    /// Whether a round is due that the standing has a challenge for, on the chain that is written now.
    #[must_use]
    pub fn due(&self, standing: &Standing, chain: ChainId, now: BootNanos) -> bool {
        let challenged = standing.challenge.is_some() && standing.challenge != self.served;
        let timely = self.next.is_some_and(|at| now >= at);
        let drawn = standing.drawn.is_some() && standing.drawn != self.followed;
        let elsewhere = self.chain.is_some_and(|last| last != chain);
        self.held.is_none() && challenged && (timely || drawn || elsewhere)
    }

    /// Begins a round at `now`, if one is due. Its end is not known yet, and stands as its beginning.
    pub fn begin(&mut self, standing: &Standing, frozen: &Frozen, now: BootNanos) -> Option<RoundClaims> {
        if !self.due(standing, frozen.link.chain, now) {
            return None;
        }
        let challenge = standing.challenge?;
        let claims = RoundClaims {
            challenge,
            chain: frozen.link.chain,
            sequence: frozen.link.sequence,
            digest: frozen.link.digest,
            covers_to: frozen.covers_to,
            begun: now,
            ended: now,
        };
        self.served = Some(challenge);
        self.held = Some((claims.clone(), standing.drawn));
        Some(claims)
    }

    /// The round was held to its end, at `ended`: the devices answered, or it is known why they did not. Returns its claims.
    pub fn finish(&mut self, ended: BootNanos) -> Option<RoundClaims> {
        let (claims, followed) = self.held.take()?;
        self.next = (self.period > 0).then(|| claims.begun.plus(self.period));
        self.followed = followed.or(self.followed);
        self.chain = Some(claims.chain);
        Some(RoundClaims { ended, ..claims })
    }

    /// The round was given up half way: it is due again, on another challenge.
    pub fn give_up(&mut self) {
        self.held = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weighbridge::id::Digest;
    use weighbridge::time::SECOND;

    const DAY: u64 = 86_400 * SECOND;

    fn frozen(chain: u8, sequence: u64) -> Frozen {
        Frozen {
            link: ChainLink {
                chain: ChainId([chain; 16]),
                sequence,
                digest: Digest([sequence as u8; 32]),
            },
            covers_to: BootNanos(sequence * 300 * SECOND),
        }
    }

    fn told(challenge: u8) -> Standing {
        Standing {
            challenge: Some(Challenge([challenge; 32])),
            ..Standing::default()
        }
    }

    fn drawn(challenge: u8) -> Standing {
        Standing {
            drawn: Some(Challenge([challenge; 32])),
            ..told(challenge)
        }
    }

    fn seconds(count: u64) -> BootNanos {
        BootNanos(count * SECOND)
    }

    /// Whether a round is held now, from its beginning to its end.
    fn holds(rounds: &mut Rounds, standing: &Standing, frozen: Frozen, now: BootNanos) -> bool {
        let begun = rounds.begin(standing, &frozen, now);
        begun.is_some() && rounds.finish(now).is_some()
    }

    #[test]
    fn a_round_says_where_it_froze_the_chain_and_when_it_was_held() {
        let mut rounds = Rounds::new(DAY, None);
        let begun = rounds.begin(&told(7), &frozen(1, 4), seconds(1_205)).unwrap();
        assert_eq!(begun.challenge, Challenge([7; 32]));
        assert_eq!((begun.chain, begun.sequence), (ChainId([1; 16]), 4));
        assert_eq!((begun.digest, begun.covers_to), (Digest([4; 32]), seconds(1_200)));
        assert_eq!(begun.begun, seconds(1_205));
        let ended = rounds.finish(seconds(1_209)).unwrap();
        assert_eq!(
            ended,
            RoundClaims {
                ended: seconds(1_209),
                ..begun
            }
        );
    }

    #[test]
    fn one_is_held_after_a_start_and_the_next_when_its_time_has_come() {
        let mut rounds = Rounds::new(DAY, None);
        assert!(holds(&mut rounds, &told(1), frozen(1, 1), seconds(100)));
        assert!(!holds(&mut rounds, &told(2), frozen(1, 2), seconds(400)));
        assert!(!holds(&mut rounds, &told(3), frozen(1, 3), seconds(86_499)));
        assert!(holds(&mut rounds, &told(4), frozen(1, 4), seconds(86_500)));
        assert!(!holds(&mut rounds, &told(5), frozen(1, 5), seconds(86_800)));
        // Without a period there is the one after the start.
        let mut rounds = Rounds::new(0, None);
        assert!(holds(&mut rounds, &told(1), frozen(1, 1), seconds(100)));
        assert!(!holds(&mut rounds, &told(2), frozen(1, 2), seconds(10_000_000)));
    }

    #[test]
    fn a_challenge_serves_one_round_at_most_in_all_runs() {
        let mut rounds = Rounds::new(DAY, Some(Challenge([1; 32])));
        assert!(!holds(&mut rounds, &told(1), frozen(1, 1), seconds(100)));
        assert!(holds(&mut rounds, &told(2), frozen(1, 1), seconds(100)));
        assert!(!holds(&mut rounds, &drawn(2), frozen(1, 1), seconds(100)));
        assert!(!holds(
            &mut rounds,
            &Standing::default(),
            frozen(1, 1),
            BootNanos(2 * DAY)
        ));
    }

    #[test]
    fn a_draw_is_followed_once_on_the_newest_challenge() {
        let mut rounds = Rounds::new(0, None);
        assert!(holds(&mut rounds, &drawn(1), frozen(1, 1), seconds(100)));
        assert!(holds(&mut rounds, &drawn(2), frozen(1, 2), seconds(400)));
        // The draw stays in the standing until the next one; the challenge goes on.
        let later = Standing {
            challenge: Some(Challenge([3; 32])),
            ..drawn(2)
        };
        assert!(!holds(&mut rounds, &later, frozen(1, 3), seconds(700)));
        // One that fell while its challenge was used up is followed on the next.
        let used_up = Standing {
            challenge: None,
            ..drawn(4)
        };
        assert!(!holds(&mut rounds, &used_up, frozen(1, 4), seconds(1_000)));
        let next = Standing {
            challenge: Some(Challenge([5; 32])),
            ..drawn(4)
        };
        assert!(holds(&mut rounds, &next, frozen(1, 5), seconds(1_300)));
    }

    #[test]
    fn one_that_was_given_up_is_due_again_on_another_challenge() {
        let mut rounds = Rounds::new(DAY, None);
        assert!(rounds.begin(&told(1), &frozen(1, 1), seconds(100)).is_some());
        assert!(
            rounds.begin(&told(2), &frozen(1, 2), seconds(400)).is_none(),
            "one at a time"
        );
        rounds.give_up();
        assert!(!holds(&mut rounds, &told(1), frozen(1, 1), seconds(101)));
        assert!(holds(&mut rounds, &told(2), frozen(1, 2), seconds(400)));
    }

    #[test]
    fn a_chain_that_was_begun_anew_wants_a_round_of_its_own() {
        let mut rounds = Rounds::new(DAY, None);
        assert!(holds(&mut rounds, &told(1), frozen(1, 8), seconds(100)));
        assert!(holds(&mut rounds, &told(2), frozen(2, 1), seconds(400)));
        assert!(!holds(&mut rounds, &told(3), frozen(2, 2), seconds(700)));
    }
}
