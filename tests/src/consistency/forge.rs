//! Forgeries: what an operator might do to the readings of a device.

use super::recording::{ACTIVITY, CHANNELS, Channel, Device, Recording};

/// The four kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Readings stay as they were.
    Frozen,
    /// Readings are halved.
    Halved,
    /// An earlier stretch is shown again.
    Replayed,
    /// One channel is made up.
    Edited,
}

/// What one channel is replaced by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum With {
    /// Its mean in another workload's recording, always the same.
    Constant,
    /// Seven tenths of what it was.
    Lower,
    /// What another device of the node shows.
    Neighbour,
    /// What a device of another recording shows.
    Stranger,
}

/// A forgery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Forgery {
    /// These channels stay as they were at the first forged sample.
    Frozen(&'static str, Vec<Channel>),
    /// These channels are halved.
    Halved(&'static str, Vec<Channel>),
    /// All channels show again what they showed so many seconds before, over and over.
    Replayed(usize),
    /// One channel is made up.
    Edited(Channel, With),
}

/// All channels.
#[must_use]
pub fn all() -> Vec<Channel> {
    let mut all = ACTIVITY.to_vec();
    all.extend([
        Channel::Power,
        Channel::Energy,
        Channel::Utilisation,
        Channel::Clock,
        Channel::Temperature,
        Channel::Sent,
        Channel::Received,
    ]);
    all
}

/// What a channel can span, to judge how large an edit is.
#[must_use]
pub fn range(channel: Channel) -> f64 {
    match channel {
        Channel::Power | Channel::Energy => 700e3,
        Channel::Clock => 1_980.0,
        Channel::Temperature => 100.0,
        Channel::Events => 1.0,
        // A tenth of what the links of a device carry.
        Channel::Sent | Channel::Received => 45e9,
        _ => 1e6,
    }
}

impl Kind {
    /// All of them.
    pub const ALL: &'static [Self] = &[Self::Frozen, Self::Replayed, Self::Halved, Self::Edited];

    /// Its name in the table.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Frozen => "frozen",
            Self::Halved => "scaled by 0.5",
            Self::Replayed => "replayed",
            Self::Edited => "one channel edited",
        }
    }
}

impl Forgery {
    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Frozen(..) => Kind::Frozen,
            Self::Halved(..) => Kind::Halved,
            Self::Replayed(_) => Kind::Replayed,
            Self::Edited(..) => Kind::Edited,
        }
    }

    /// Its name in the table.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Frozen(what, _) => format!("{what} stay as they were"),
            Self::Halved(what, _) => format!("{what} halved"),
            Self::Replayed(seconds) => format!("the last {seconds} s again"),
            Self::Edited(channel, with) => {
                let with = match with {
                    With::Constant => "always the mean of another workload",
                    With::Lower => "seven tenths of it",
                    With::Neighbour => "that of another device",
                    With::Stranger => "that of another workload",
                };
                format!("{}: {with}", format!("{channel:?}").to_lowercase())
            }
        }
    }

    /// The forgeries that are tried.
    #[must_use]
    pub fn tried() -> Vec<Self> {
        let electric = vec![Channel::Power, Channel::Energy];
        let mut tried = vec![
            Self::Frozen("all readings", all()),
            Self::Frozen("power and energy", electric.clone()),
            Self::Frozen("activity readings", ACTIVITY.to_vec()),
            Self::Halved("power", vec![Channel::Power]),
            Self::Halved("energy", vec![Channel::Energy]),
            Self::Halved("power and energy", electric),
            Self::Halved("activity", ACTIVITY.to_vec()),
            Self::Halved("all readings", all()),
        ];
        for (name, channel) in [
            ("readings of power", Channel::Power),
            ("readings of energy", Channel::Energy),
            ("readings of SMs", Channel::Sm),
            ("readings of the tensor pipe", Channel::Tensor),
        ] {
            tried.push(Self::Frozen(name, vec![channel]));
        }
        tried.extend([60, 90, 120, 180, 240, 300].map(Self::Replayed));
        let channels = [
            Channel::Power,
            Channel::Energy,
            Channel::Utilisation,
            Channel::Sm,
            Channel::Tensor,
            Channel::Clock,
            Channel::Temperature,
            Channel::Sent,
            Channel::Received,
            Channel::Events,
        ];
        for channel in channels {
            for with in [With::Constant, With::Lower, With::Neighbour, With::Stranger] {
                tried.push(Self::Edited(channel, with));
            }
        }
        tried
    }

    /// Forges one device from sample `from` on, after `genuine`. The size is the mean change of the channel that was changed most, in
    /// shares of its genuine mean and of its range; `None` where the forgery cannot be made of this recording.
    #[must_use]
    pub fn apply(
        &self,
        forged: &mut Device,
        genuine: &Recording,
        place: usize,
        from: usize,
        stranger: &Recording,
    ) -> Option<(f64, f64)> {
        let own = &genuine.devices[place];
        let n = own.at.len();
        match self {
            Self::Frozen(_, channels) => {
                for c in channels {
                    let series = forged.of_mut(*c);
                    let counter = matches!(c, Channel::Energy | Channel::Sent | Channel::Received);
                    let held = if counter {
                        series[from].map(|_| 0.0)
                    } else {
                        series[from]
                    };
                    for v in series.iter_mut().skip(from) {
                        *v = v.and(held);
                    }
                }
                Some(size(forged, own, channels, from))
            }
            Self::Halved(_, channels) => {
                for c in channels {
                    let step = match c {
                        Channel::Clock => 15.0,
                        Channel::Temperature => 1.0,
                        Channel::Utilisation => 1e4,
                        _ => 1e-9,
                    };
                    for v in forged.of_mut(*c).iter_mut().skip(from) {
                        *v = v.map(|v| (v * 0.5 / step).round() * step);
                    }
                }
                Some(size(forged, own, channels, from))
            }
            Self::Replayed(length) => {
                // At least half a minute must be left to be forged.
                if from < *length || n < from + 30 {
                    return None;
                }
                for c in 0..CHANNELS {
                    for i in from..n {
                        forged.values[c][i] = forged.values[c][i - length];
                    }
                }
                Some((1.0, 1.0))
            }
            Self::Edited(channel, with) => {
                own.of(*channel).iter().flatten().next()?;
                let source: Option<&Device> = match with {
                    With::Neighbour => {
                        let other = (place + 1) % genuine.devices.len();
                        (other != place).then(|| &genuine.devices[other])
                    }
                    With::Constant | With::Stranger => {
                        Some(&stranger.devices[place % stranger.devices.len()])
                    }
                    With::Lower => None,
                };
                if *with != With::Lower {
                    source?.of(*channel).iter().flatten().next()?;
                }
                let steady = source.map(|s| {
                    let values: Vec<f64> = s.of(*channel).iter().flatten().copied().collect();
                    let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
                    // Bits have no mean: the commonest value stands for them.
                    if *channel == Channel::Events {
                        let count = |x: f64| values.iter().filter(|v| (**v - x).abs() < 0.5).count();
                        values.iter().copied().max_by_key(|x| count(*x)).unwrap_or(0.0)
                    } else {
                        mean.round()
                    }
                });
                for i in from..n {
                    let v = &mut forged.of_mut(*channel)[i];
                    *v = match with {
                        With::Lower if *channel == Channel::Events => v.map(|_| 0.0),
                        With::Lower => v.map(|v| (v * 0.7).round()),
                        With::Constant => v.and(steady),
                        With::Neighbour | With::Stranger => {
                            let s = source?.of(*channel);
                            let i = if *with == With::Stranger {
                                (i + 60) % s.len()
                            } else {
                                i
                            };
                            v.and(s.get(i).copied().flatten())
                        }
                    };
                }
                Some(size(forged, own, &[*channel], from))
            }
        }
    }
}

/// The mean change over the forged samples: of the genuine mean, and of the range; the largest of the channels.
fn size(forged: &Device, own: &Device, channels: &[Channel], from: usize) -> (f64, f64) {
    channels
        .iter()
        .map(|c| {
            let pairs = || {
                let genuine = own.of(*c).iter().skip(from);
                genuine
                    .zip(forged.of(*c).iter().skip(from))
                    .filter_map(|(a, b)| Some(((*a)?, (*b)?)))
            };
            let n = pairs().count().max(1) as f64;
            if *c == Channel::Events {
                let changed = pairs().filter(|(a, b)| (a - b).abs() > 0.5).count() as f64 / n;
                return (changed, changed);
            }
            let mean = pairs().map(|(a, _)| a).sum::<f64>() / n;
            let change = pairs().map(|(a, b)| (a - b).abs()).sum::<f64>() / n;
            (if mean > 0.0 { change / mean } else { 0.0 }, change / range(*c))
        })
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .unwrap_or((0.0, 0.0))
}
