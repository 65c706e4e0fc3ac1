//! A sampler's frames through the agent's meter, and all that comes out, as text: the same on every machine.
//!
//! Decides: nothing. As wasm32 it is called by `tests/client/wasm.mjs`, which gives and takes single bytes, so that no memory is shared.

use std::fmt::Write;
use weighbridge::accelerator::Catalogue;
use weighbridge::accounting::consistency::Physics;
use weighbridge::cbor::{decode_strict, encode};
use weighbridge::report::{ClosedWindow, Meter, MeterSettings};
use weighbridge::telemetry::Frame;
use weighbridge::time::{BootNanos, SECOND};
use weighbridge::workload::{Features, Model, Run, explain_run};

/// Frames as one sequence of bytes: each with its length before it, in four bytes, the least first.
#[must_use]
pub fn packed(frames: &[Frame]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for frame in frames {
        let encoded = encode(frame);
        bytes.extend(u32::try_from(encoded.len()).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend(encoded);
    }
    bytes
}

fn unpacked(mut bytes: &[u8]) -> Result<Vec<Frame>, String> {
    let mut frames = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
        let (frame, rest) = rest.split_at_checked(length).ok_or("a frame is cut off")?;
        frames.push(decode_strict(frame).map_err(|e| e.to_string())?);
        bytes = rest;
    }
    Ok(frames)
}

/// What a node of these frames gives: each leaf of each window in hexadecimal, its score, and for each device the verdict and its reasons.
#[must_use]
pub fn told(bytes: &[u8]) -> String {
    unpacked(bytes)
        .and_then(|frames| play(&frames))
        .unwrap_or_else(|what| format!("error: {what}\n"))
}

fn play(frames: &[Frame]) -> Result<String, String> {
    let model = Model::embedded().map_err(|e| e.to_string())?;
    let inventory = frames.iter().find_map(|f| f.inventory.as_ref());
    let inventory = inventory.ok_or("no frame has an inventory")?;
    let settings = MeterSettings {
        nominal_ns: SECOND,
        window_ns: SECOND.saturating_mul(60),
    };
    let mut meter = Meter::new(
        inventory,
        inventory.at,
        settings,
        Catalogue::embedded().map_err(|e| e.to_string())?,
        model.clone(),
        Physics::embedded().map_err(|e| e.to_string())?,
    );
    let mut out = format!("model {}\n", model.digest());
    let mut devices: Vec<(Run, Vec<Features>)> = vec![Default::default(); inventory.devices.len()];
    let mut last = inventory.at;
    let mut close = |meter: &mut Meter, end: BootNanos| {
        let closed = meter.close_window(end, &mut || [0x5a; 16]);
        for (window, (run, all)) in closed.into_iter().zip(&mut devices) {
            let features = window.sums.features.clone();
            let scored = model.score(&features);
            run.add(&model, &features, &scored);
            write_window(&mut out, &window);
            writeln!(out, "{scored:?}").ok();
            all.push(features);
        }
    };
    for tick in frames.iter().filter_map(|f| f.tick.as_ref()) {
        if tick.at > meter.window_end() {
            let end = meter.window_end();
            close(&mut meter, end);
        }
        meter.push_tick(tick);
        last = tick.at;
    }
    close(&mut meter, last);
    for (run, all) in &devices {
        writeln!(out, "{:?}", run.verdict(&model)).ok();
        writeln!(out, "{:?}", explain_run(&model, all)).ok();
    }
    Ok(out)
}

fn write_window(out: &mut String, window: &ClosedWindow) {
    writeln!(out, "window {:?} of {}", window.start, window.index).ok();
    for leaf in &window.leaves {
        for byte in leaf {
            write!(out, "{byte:02x}").ok();
        }
        out.push('\n');
    }
    writeln!(out, "{:?}", window.sums.features).ok();
}

/// What node calls.
#[cfg(target_arch = "wasm32")]
#[expect(
    unsafe_code,
    reason = "a name that is exported is unsafe by its attribute; nothing in here is"
)]
mod exports {
    use std::sync::Mutex;

    /// What was given, then what comes of it.
    static BYTES: Mutex<Vec<u8>> = Mutex::new(Vec::new());

    /// Takes a byte.
    #[unsafe(no_mangle)]
    extern "C" fn take(byte: u32) {
        if let (Ok(mut bytes), Ok(byte)) = (BYTES.lock(), u8::try_from(byte)) {
            bytes.push(byte);
        }
    }

    /// Plays what was taken, and says how many bytes come of it.
    #[unsafe(no_mangle)]
    extern "C" fn play() -> u32 {
        let Ok(mut bytes) = BYTES.lock() else { return 0 };
        *bytes = super::told(&bytes).into_bytes();
        u32::try_from(bytes.len()).unwrap_or(0)
    }

    /// Gives the byte at a place.
    #[unsafe(no_mangle)]
    extern "C" fn give(place: u32) -> u32 {
        let byte = BYTES
            .lock()
            .ok()
            .and_then(|bytes| bytes.get(usize::try_from(place).ok()?).copied());
        byte.map_or(0, u32::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_frames_are_said_to_be_none() {
        assert_eq!(told(&[9, 0, 0, 0, 1]), "error: a frame is cut off\n");
        assert_eq!(told(&[]), "error: no frame has an inventory\n");
        assert!(told(&[1, 0, 0, 0, 0xff]).starts_with("error: "));
    }
}
