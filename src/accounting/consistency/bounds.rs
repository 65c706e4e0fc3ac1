//! The bounds of physics: which disagreement is too large, each with what was measured and its source.
//!
//! Decides: nothing about a site. A bound says when quantities are stated not to fit; what follows from that is for a licence. Trusts
//! the file that ships with this build, whose digest [`digest`] names.

use crate::crypto::sha256;
use crate::document::{Document, Field, Mistakes, Section};
use crate::id::Digest;

/// The bounds that ship with this build.
const EMBEDDED: &str = include_str!("physics.toml");

/// SHA-256 of the bounds that ship with this build.
#[must_use]
pub fn digest() -> Digest {
    sha256(EMBEDDED.as_bytes())
}

macro_rules! bounds {
    ($( $(#[$doc:meta])* $name:ident in $unit:literal ),* $(,)?) => {
        /// Bounds under their names. The file says for each what was measured, and where.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Physics {
            /// Architectures of which power and activity were measured together; for others these are not held against each other, and a
            /// sensor that stands still is only noticed after minutes.
            pub architectures: Vec<String>,
            $( $(#[$doc])* pub $name: u64, )*
        }

        impl Physics {
            /// The names, in the order of the fields.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($name)),*];

            fn read(architectures: Vec<String>, found: &[Bound], root: &mut Section<'_, '_>) -> Option<Self> {
                $( let $name = one(found, stringify!($name), $unit, root); )*
                Some(Self { architectures, $( $name: $name?, )* })
            }
        }
    };
}

bounds! {
    /// Energy counter and power integral may differ by this share of the larger.
    energy_tolerance in "ppm",
    /// And by this many standard errors of their sum, where readings of power are far between.
    energy_scatter in "standard errors",
    /// The energy counter gains at most this share of the design power, or of the limit in force where that is higher.
    energy_most in "ppm",
    /// And at most this where the design power is not known.
    energy_most_unknown in "mW",
    /// A counter of bytes gains at most this, in one direction.
    bytes_most in "GB/s",
    /// In a window of at least so many steps.
    energy_steps in "samples",
    /// Bytes sent by all devices and received by all may differ by this share of the larger.
    link_tolerance in "ppm",
    /// Traffic below this is not compared.
    link_least in "bytes/s",
    /// Activity above this does not go with the driver's idle bit.
    idle_activity in "ppm",
    /// For so many samples on end.
    event_samples in "samples",
    /// A power cap at rest, or a thermal slowdown of a cool device, for so many samples on end.
    event_run in "samples",
    /// Below this share of the limit the power cap does not bind.
    cap_least in "ppm",
    /// At or above this share of the limit, in the mean of a window, the power cap must have bound at some sample.
    cap_most in "ppm",
    /// Samples of a window in which the clock contradicts what is said to hold it back, and changes of such a clock.
    clock_samples in "samples",
    /// A thermal slowdown below this temperature does not fit.
    thermal_event_least in "C",
    /// Activity from which readings are expected to move.
    still_activity in "ppm",
    /// Activity from which that of SMs may stand still, being all.
    still_all in "ppm",
    /// Equal readings of power on end.
    still_power in "samples",
    /// And where nothing runs.
    still_rest in "samples",
    /// Equal readings of residency on end, neither nothing nor all.
    still_residency in "samples",
    /// Equal readings of the energy counter on end.
    still_energy in "samples",
    /// Equal readings of a pipe on end.
    still_pipe in "samples",
    /// Mean power above the limit, as a share of it.
    limit_mean in "ppm",
    /// One reading of power above the limit, as a share of it.
    limit_sample in "ppm",
    /// Change of temperature from sample to sample beyond what power explains.
    temperature_jump in "C",
    /// What a change of power by a kilowatt in the last samples explains.
    temperature_quick in "C/kW",
    /// Standard deviation of power, as a share of the design power, from which temperature must follow.
    temperature_swing in "ppm",
    /// Standard deviation of power from step to step, likewise, where it swings too fast to show in a mean of some seconds.
    temperature_fast in "ppm",
    /// Correlation of temperature with power, at least.
    temperature_follows in "ppm",
    /// Temperature at which cooling can begin.
    temperature_coolant in "C",
    /// What a kilowatt adds to it at least.
    temperature_rise in "C/kW",
    /// Temperature of the warmest cooling.
    temperature_hot in "C",
    /// What a kilowatt adds to it at most.
    temperature_most in "C/kW",
    /// A device is at most this much colder than every other one of its host that draws as much.
    temperature_peers in "C",
    /// And warmer than every other one by this as well, for what it draws.
    temperature_contact in "C/kW",
    /// SMs may be busy by this much more than a kernel was resident.
    utilisation_margin in "ppm",
    /// Residency above which some SM must have been busy.
    utilisation_high in "ppm",
    /// And the least that SMs were, as a share of it.
    utilisation_least in "ppm",
    /// A tensor pipe may be busy by this much more than SMs were.
    pipe_margin in "ppm",
    /// Standard deviation of power, as a share of the design power, from which activity must follow.
    follow_power in "ppm",
    /// Standard deviation of activity from which power and residency must follow.
    follow_activity in "ppm",
    /// Correlation, at least.
    follow_least in "ppm",
    /// Of so many pairs of readings.
    follow_pairs in "samples",
    /// Power at rest, at most.
    base_most in "mW",
    /// Power of a device that answers, at least, as a share of the design power.
    rest_least in "ppm",
    /// Power of a device that works, at least.
    base_least in "mW",
    /// What all SMs take at most without their pipes.
    sm_most in "mW",
    /// What all SMs take at least.
    sm_least in "mW",
    /// What the half-precision tensor pipe takes at most, as if its clock were the highest.
    hmma_most in "mW",
    /// The integer tensor pipe.
    imma_most in "mW",
    /// The FP64 tensor pipe.
    dfma_most in "mW",
    /// All vector pipes.
    vector_most in "mW",
    /// Memory.
    dram_most in "mW",
    /// Each gigabyte per second over NVLink.
    link_most in "mW s/GB",
    /// On top of what pipes take at most.
    envelope_margin in "ppm",
    /// Steps of a block in which power and activity are compared.
    block in "samples",
    /// SMs that are busy for this share keep memory and clocks up.
    work_least in "ppm",
    /// Covered time of a window that has a level.
    window_least in "s",
    /// Levels below these are not compared: power, and energy over time.
    level_power in "mW",
    /// SMs, memory and vector pipes.
    level_pipe in "ppm",
    /// The tensor pipe.
    level_tensor in "ppm",
    /// Residency.
    level_residency in "ppm",
    /// The SM clock.
    level_clock in "MHz",
    /// A quantity has moved where it differs by this share of the larger.
    apart in "ppm",
    /// A quantity has kept where it differs by at most this share.
    agree in "ppm",
    /// Groups of quantities, beside the clock, that must have kept where one moved alone.
    echoes_least in "groups",
    /// Other devices that show how things are, at least.
    peers_least in "devices",
    /// Share of them that must agree in a quantity.
    peers_agree in "ppm",
    /// Quantities moved in one proportion where their ratios lie within this.
    proportion_spread in "ppm",
    /// And the ratio is below the whole by this.
    proportion_least in "ppm",
    /// In so many quantities, at least.
    proportion_quantities in "quantities",
    /// Readings on end that are compared with earlier ones.
    repeat_readings in "samples",
    /// So many such stretches seen before, in a window.
    repeat_matches in "stretches",
    /// A meter outside and a device are compared where they were followed for this share of a report's time.
    meter_covered in "ppm",
    /// What a meter outside reads at least, as a share of what all devices take.
    meter_least in "ppm",
    /// So many of eight stretches seen on another device, in a window.
    shared_matches in "stretches",
}

/// A row of the file.
struct Bound {
    name: String,
    value: u64,
    unit: String,
}

impl Physics {
    /// The bounds that ship with this build.
    ///
    /// # Errors
    /// Every mistake with its line; a test reads them, so this cannot happen in a build that passed its tests.
    pub fn embedded() -> Result<Self, Mistakes> {
        Self::parse(EMBEDDED)
    }

    /// Reads bounds.
    ///
    /// # Errors
    /// Every mistake with its line.
    pub fn parse(text: &str) -> Result<Self, Mistakes> {
        let document = Document::open(text);
        let mut root = document.root();
        root.required("version", |f| f.integer(1..=1_000_000));
        root.required("title", Field::text);
        let architectures = root.required("architectures", |f| f.list(Field::text));
        let found = root.tables("bound", |s| {
            let name = s.required("name", |f| f.word(Self::NAMES).map(str::to_owned));
            let value = s.required("value", |f| f.integer(0..=1_000_000_000));
            let unit = s.required("unit", Field::text);
            s.required("measured", Field::text);
            s.required("source", Field::text);
            Some(Bound {
                name: name?,
                value: value?,
                unit: unit?,
            })
        });
        let physics = Self::read(architectures.unwrap_or_default(), &found, &mut root);
        root.finish();
        document.finish(physics)
    }
}

/// The value of the one row of this name.
fn one(found: &[Bound], name: &str, unit: &str, root: &mut Section<'_, '_>) -> Option<u64> {
    let mut rows = found.iter().filter(|b| b.name == name);
    let row = rows.next();
    match row {
        None => root.mistake(format!("no [[bound]] is named `{name}`")),
        Some(row) if row.unit != unit => {
            root.mistake(format!(
                "`{name}` is in `{unit}`, and the file says `{}`",
                row.unit
            ));
        }
        Some(_) if rows.next().is_some() => root.mistake(format!("`{name}` stands twice")),
        Some(_) => {}
    }
    row.map(|r| r.value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounds_of_this_build_read_without_a_mistake() {
        if let Err(mistakes) = Physics::embedded() {
            panic!("{mistakes}");
        }
    }

    #[test]
    fn a_bound_that_is_missing_doubled_or_in_another_unit_is_a_mistake() {
        let wrong = |from: &str, to: &str| {
            Physics::parse(&EMBEDDED.replacen(from, to, 1))
                .unwrap_err()
                .to_string()
        };
        let said = wrong("name = \"link_tolerance\"", "name = \"energy_tolerance\"");
        assert!(said.contains("no [[bound]] is named `link_tolerance`"), "{said}");
        assert!(said.contains("`energy_tolerance` stands twice"), "{said}");
        let said = wrong("unit = \"bytes/s\"", "unit = \"MB/s\"");
        assert!(
            said.contains("`link_least` is in `bytes/s`, and the file says `MB/s`"),
            "{said}"
        );
        let said = wrong("name = \"still_power\"", "name = \"stil_power\"");
        assert!(said.contains("still_power"), "{said}");
    }
}
