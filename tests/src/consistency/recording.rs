//! Recordings of a node as series of readings at one sample a second, so that each can be forged alone.

use std::io::Read;
use std::path::Path;
use weighbridge::accounting::consistency::Part;
use weighbridge::telemetry::{Activity, DeviceSample, DeviceState, Fastest, Reading};
use weighbridge::time::{BootNanos, SECOND};
use weighbridge::unit::Ppm;

/// A series of readings. Counters are held as what they gained, so that a forger can continue them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// Power at the sample, mW.
    Power,
    /// Energy gained, mJ.
    Energy,
    /// Share of time in which a kernel was resident, ppm.
    Utilisation,
    /// SMs, ppm; the pipes below likewise.
    Sm,
    /// Any tensor pipe.
    Tensor,
    /// Memory.
    Dram,
    /// Half-precision tensor pipe.
    Hmma,
    /// Integer tensor pipe.
    Imma,
    /// FP64 tensor pipe.
    Dfma,
    /// FP64.
    Fp64,
    /// FP32.
    Fp32,
    /// FP16.
    Fp16,
    /// Integer.
    Integer,
    /// SM clock, MHz.
    Clock,
    /// Temperature, degrees Celsius.
    Temperature,
    /// Clock-event bits.
    Events,
    /// NVLink bytes sent.
    Sent,
    /// NVLink bytes received.
    Received,
}

/// How many there are.
pub const CHANNELS: usize = 18;

/// The shares of the pipes.
pub const ACTIVITY: [Channel; 10] = [
    Channel::Sm,
    Channel::Tensor,
    Channel::Dram,
    Channel::Hmma,
    Channel::Imma,
    Channel::Dfma,
    Channel::Fp64,
    Channel::Fp32,
    Channel::Fp16,
    Channel::Integer,
];

/// One device.
#[derive(Debug, Clone)]
pub struct Device {
    /// When each sample was taken, in nanoseconds.
    pub at: Vec<u64>,
    /// For each channel one value per sample; none where the recording has none.
    pub values: Vec<Vec<Option<f64>>>,
}

impl Device {
    pub(super) fn new() -> Self {
        Self {
            at: Vec::new(),
            values: vec![Vec::new(); CHANNELS],
        }
    }

    /// The series of a channel.
    #[must_use]
    pub fn of(&self, channel: Channel) -> &[Option<f64>] {
        &self.values[channel as usize]
    }

    /// The series of a channel, to be forged.
    pub fn of_mut(&mut self, channel: Channel) -> &mut Vec<Option<f64>> {
        &mut self.values[channel as usize]
    }

    pub(super) fn push(&mut self, at: u64, values: &[(Channel, f64)]) {
        self.at.push(at);
        for series in &mut self.values {
            series.push(None);
        }
        for (channel, value) in values {
            *self.values[*channel as usize].last_mut().unwrap() = Some(*value);
        }
    }

    /// The samples that an agent would have taken.
    #[must_use]
    pub fn samples(&self, index: u16) -> Vec<DeviceSample> {
        let mut sums = [4e9; CHANNELS];
        let mut before = None;
        (0..self.at.len())
            .map(|i| {
                let value = |c: Channel| self.of(c)[i];
                let mut counter = |c: Channel| {
                    value(c).map_or(Reading::Unsupported, |gain| {
                        sums[c as usize] += gain;
                        Reading::Value(sums[c as usize] as u64)
                    })
                };
                let (energy_mj, sent, received) = (
                    counter(Channel::Energy),
                    counter(Channel::Sent),
                    counter(Channel::Received),
                );
                let whole = |c: Channel| value(c).map_or(Reading::Unsupported, |v| Reading::Value(v as u32));
                let share =
                    |c: Channel| value(c).map_or(Reading::Unsupported, |v| Reading::Value(Ppm(v as u32)));
                let interval_ns = before.map_or(SECOND, |b| self.at[i] - b);
                before = Some(self.at[i]);
                let activity = value(Channel::Sm).map_or(Reading::Unsupported, |_| {
                    Reading::Value(Activity {
                        interval_ns,
                        sm: share(Channel::Sm),
                        tensor_any: share(Channel::Tensor),
                        dfma: share(Channel::Dfma),
                        hmma: share(Channel::Hmma),
                        imma: share(Channel::Imma),
                        dram: share(Channel::Dram),
                        fp64: share(Channel::Fp64),
                        fp32: share(Channel::Fp32),
                        fp16: share(Channel::Fp16),
                        integer: share(Channel::Integer),
                    })
                });
                DeviceSample {
                    device: index,
                    state: DeviceState::Present,
                    at: BootNanos(self.at[i]),
                    energy_mj,
                    power_mw: whole(Channel::Power),
                    sm_clock_mhz: whole(Channel::Clock),
                    memory_clock_mhz: Reading::Unsupported,
                    utilisation: share(Channel::Utilisation),
                    memory_used_mib: Reading::Unsupported,
                    temperature_c: value(Channel::Temperature)
                        .map_or(Reading::Unsupported, |v| Reading::Value(v as i32)),
                    clock_events: value(Channel::Events)
                        .map_or(Reading::Unsupported, |v| Reading::Value(v as u64)),
                    nvlink_tx_bytes: sent,
                    nvlink_rx_bytes: received,
                    pcie_tx_bytes: Reading::Unsupported,
                    pcie_rx_bytes: Reading::Unsupported,
                    activity,
                    pcie_tx_rate: Reading::Unsupported,
                    pcie_rx_rate: Reading::Unsupported,
                    cycles: Reading::Unsupported,
                    power_ring: Reading::Unsupported,
                    busy_mean: Reading::Unsupported,
                    jobs: None,
                    by_host_engine: false,
                    clock_looks: Reading::Unsupported,
                }
            })
            .collect()
    }
}

/// A node.
#[derive(Debug, Clone)]
pub struct Recording {
    /// Its name.
    pub name: String,
    /// What its devices are.
    pub part: Part,
    /// Its devices, in step with each other.
    pub devices: Vec<Device>,
}

/// H100 and H200 with SXM: 700 W, 1,980 MHz.
pub const SXM: Part = Part {
    design_mw: Some(700_000),
    measured: true,
    limit_mw: Some(700_000),
    highest_mhz: Some(1_980),
    fastest: Fastest::ANY,
};

/// The text of a file, unpacked where its name ends in `.gz`.
fn text(path: &Path) -> std::io::Result<String> {
    let mut out = String::new();
    let mut file = std::fs::File::open(path)?;
    if path.extension().is_some_and(|e| e == "gz") {
        flate2::read::MultiGzDecoder::new(file).read_to_string(&mut out)?;
    } else {
        file.read_to_string(&mut out)?;
    }
    Ok(out)
}

/// What a device did since the last sample that was taken of it.
#[derive(Default)]
struct Since {
    rows: usize,
    last_s: Option<f64>,
    energy: Option<f64>,
    shares: [f64; 10],
    shared: [u32; 10],
    bytes: [f64; 2],
}

/// Reads a recording at 10 Hz, of `h100-dcgm-10hz` or of the agent's own format, taking every tenth row from row `phase` on. Rates become
/// counters, and activity the mean of the second before, as an agent reads them.
///
/// # Errors
/// Where the file cannot be read.
pub fn dcgm(path: &Path, name: &str, phase: usize) -> std::io::Result<Recording> {
    let mut devices = Vec::new();
    take(&text(path)?, 0.0, phase, &mut devices);
    Ok(named(name, devices))
}

/// Reads recordings of the agent's own format that were made one after the other on the same devices, as the one that an agent would have
/// made of them: in the order in which they were begun, with what lies between as gaps.
///
/// # Errors
/// Where one cannot be read, or does not say when it was begun.
pub fn strung(dir: &Path, name: &str, phase: usize) -> std::io::Result<Recording> {
    let mut texts = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let text = text(&entry?.path())?;
        let begun = text.lines().find_map(|l| l.strip_prefix("# begun="));
        let begun = begun.and_then(|t| weighbridge::time::UnixSeconds::parse(t).ok());
        let begun =
            begun.ok_or_else(|| std::io::Error::other("a recording does not say when it was begun"))?;
        texts.push((begun.0, text));
    }
    texts.sort();
    let first = texts.first().map_or(0, |(begun, _)| *begun);
    let mut devices = Vec::new();
    for (begun, text) in &texts {
        take(text, (begun - first) as f64, phase, &mut devices);
    }
    Ok(named(name, devices))
}

fn named(name: &str, devices: Vec<(Device, Since)>) -> Recording {
    Recording {
        name: name.to_owned(),
        part: SXM,
        devices: devices.into_iter().map(|(device, _)| device).collect(),
    }
}

/// Takes the rows of a recording that began at `offset_s`. Of what came before, the energy counter goes on.
fn take(text: &str, offset_s: f64, phase: usize, devices: &mut Vec<(Device, Since)>) {
    const PIPES: [&str; 10] = [
        "sm_active",
        "tensor_active",
        "dram_active",
        "hmma_active",
        "imma_active",
        "dfma_active",
        "fp64_active",
        "fp32_active",
        "fp16_active",
        "integer_active",
    ];
    const LEVELS: [(Channel, &str, f64); 5] = [
        (Channel::Power, "power_w", 1e3),
        (Channel::Utilisation, "gpu_util_pct", 1e4),
        (Channel::Temperature, "temp_c", 1.0),
        (Channel::Events, "throttle_reasons", 1.0),
        (Channel::Clock, "sm_clock_mhz", 1.0),
    ];
    let mut lines = text.lines().filter(|l| !l.starts_with('#'));
    let header: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
    let column = |name: &str| header.iter().position(|h| *h == name);
    let [time, gpu, energy] = ["timestamp", "gpu", "energy_mj"].map(column);
    let links = ["nvlink_tx_bytes_s", "nvlink_rx_bytes_s"].map(column);
    let pipes = PIPES.map(column);
    let levels = LEVELS.map(|(channel, name, scale)| (channel, column(name), scale));
    for (_, since) in devices.iter_mut() {
        *since = Since {
            energy: since.energy,
            ..Since::default()
        };
    }
    let mut start = None;
    for line in lines {
        let cells: Vec<&str> = line.split(',').collect();
        let number = |i: Option<usize>| cells.get(i?).and_then(|c| c.parse::<f64>().ok());
        let (Some(t), Some(g)) = (number(time), number(gpu)) else {
            continue;
        };
        let t = t - *start.get_or_insert(t) + offset_s;
        let g = g as usize;
        while devices.len() <= g {
            devices.push((Device::new(), Since::default()));
        }
        let (device, s) = &mut devices[g];
        let dt = (t - s.last_s.replace(t).unwrap_or(t)).clamp(0.0, 0.3);
        for (sum, c) in s.bytes.iter_mut().zip(links) {
            *sum += number(c).unwrap_or(0.0) * dt;
        }
        for (i, c) in pipes.iter().enumerate() {
            if let Some(share) = number(*c) {
                s.shares[i] += share;
                s.shared[i] += 1;
            }
        }
        let due = s.rows % 10 == phase;
        s.rows += 1;
        if !due {
            continue;
        }
        let mut values: Vec<(Channel, f64)> = levels
            .iter()
            .filter_map(|(channel, c, scale)| Some((*channel, number(*c)? * scale)))
            .collect();
        if let Some(e) = number(energy) {
            values.push((Channel::Energy, e - s.energy.replace(e).unwrap_or(e)));
        }
        for ((channel, c), bytes) in [Channel::Sent, Channel::Received]
            .into_iter()
            .zip(links)
            .zip(s.bytes)
        {
            // A column that stands empty is a reading that the device does not have.
            if number(c).is_some() {
                values.push((channel, bytes));
            }
        }
        for ((channel, sum), n) in ACTIVITY.iter().zip(s.shares).zip(s.shared) {
            if n > 0 {
                values.push((*channel, sum / f64::from(n) * 1e6));
            }
        }
        (s.shares, s.shared, s.bytes) = ([0.0; 10], [0; 10], [0.0; 2]);
        device.push((t * 1e9) as u64 + SECOND, &values);
    }
}

/// Reads a recording of `h100-train-nvsmi-100ms` or `titanx-train-nvsmi-100ms`: power and utilisation alone, so many devices in turn.
///
/// # Errors
/// Where the file cannot be read.
pub fn nvsmi(path: &Path, name: &str, count: usize, phase: usize) -> std::io::Result<Recording> {
    let text = text(path)?;
    let mut devices: Vec<Device> = (0..count).map(|_| Device::new()).collect();
    let mut tick_ms = 0.0;
    let mut start = None;
    for (i, line) in text.lines().skip(1).enumerate() {
        let cells: Vec<&str> = line.split(", ").collect();
        let number = |i: usize| {
            let cell = cells.get(i)?;
            cell.split(' ').next().and_then(|c| c.parse::<f64>().ok())
        };
        let (row, device) = (i / count, i % count);
        if device == 0 {
            // `2025/07/27 00:22:27.858`: the recordings stay within a day.
            let clock = cells
                .first()
                .and_then(|c| c.split(' ').nth(1))
                .unwrap_or_default();
            let ms: f64 = clock
                .split(':')
                .filter_map(|p| p.parse::<f64>().ok())
                .fold(0.0, |sum, p| sum * 60.0 + p)
                * 1e3;
            tick_ms = ms - *start.get_or_insert(ms);
            if tick_ms < 0.0 {
                tick_ms += 86_400e3;
            }
        }
        if row % 10 != phase {
            continue;
        }
        let mut values = Vec::new();
        if let Some(w) = number(1) {
            values.push((Channel::Power, w * 1e3));
        }
        if let Some(u) = number(2) {
            values.push((Channel::Utilisation, u * 1e4));
        }
        devices[device].push((tick_ms * 1e6) as u64 + SECOND, &values);
    }
    Ok(Recording {
        name: name.to_owned(),
        part: Part {
            measured: count == 8,
            ..SXM
        },
        devices,
    })
}
