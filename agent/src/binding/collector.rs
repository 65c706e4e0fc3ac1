//! The collector's process: opens the driver, asks device after device what it signs, says what came of it, and ends.
//!
//! Decides: nothing. It has neither network nor keys; a call that hangs ends with the process, which the parent kills. Trusts the parent for the
//! question. The end of its input is its end, after the call that it is in, so it never outlives its parent by more than that.

use super::message::{Question, Told};
use crate::devices::nvml::EvidenceSource;
use crate::devices::system;
use crate::sampler::child::{self, Preloaded};
use crate::sampler::pipe::{self, PipeError};
use crate::sentence::Sentence;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// Why a collector could not work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CollectorError {
    /// Someone put other code in front of the driver's library.
    #[error(transparent)]
    Preloaded(#[from] Preloaded),
    /// Standard output could not be taken.
    #[error("the collector's standard output could not be set up")]
    Output(#[source] io::Error),
    /// The question could not be read.
    #[error("the collector was not told what to ask: it is started by `weighbridge-agent run`, not by hand")]
    NoQuestion(#[source] PipeError),
    /// The thread could not be started.
    #[error("the collector could not start a thread")]
    Thread(#[source] io::Error),
}

/// Runs the collector's process: the question comes from standard input, answers go to standard output.
///
/// # Errors
/// [`CollectorError`] where it cannot begin.
pub fn run() -> Result<(), CollectorError> {
    system::ignore_stop_signals();
    child::preloaded()?;
    let output = system::take_stdout().map_err(CollectorError::Output)?;
    serve(io::stdin(), output)
}

/// Works as the collector between these two ends.
pub(super) fn serve(
    mut input: impl Read + Send + 'static,
    mut output: impl Write,
) -> Result<(), CollectorError> {
    let question: Question = pipe::read(&mut input).map_err(CollectorError::NoQuestion)?;
    let stop = Arc::new(AtomicBool::new(false));
    let told_to = Arc::clone(&stop);
    thread::Builder::new()
        .name("stop".into())
        .spawn(move || {
            // Nothing more is said to a collector: whatever comes, it is told to end.
            input.read_exact(&mut [0]).ok();
            told_to.store(true, Ordering::Relaxed);
        })
        .map_err(CollectorError::Thread)?;
    // An error means that nobody reads any more.
    ask(&question, &stop, &mut output).ok();
    Ok(())
}

fn ask(question: &Question, stop: &AtomicBool, output: &mut impl Write) -> io::Result<()> {
    let library = question.nvml.as_deref().map(Path::new);
    let source = match EvidenceSource::open(library, &question.library) {
        Ok(source) => source,
        Err(e) => return pipe::write(output, &Told::trouble(Sentence(&e).to_string())),
    };
    let asked = (0u16..).zip(&question.devices).try_for_each(|(place, device)| {
        if stop.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        pipe::write(output, &Told::asking(place))?;
        let answer = source.attest(device.index, &device.uuid, &question.nonce);
        pipe::write(output, &Told::answer(answer))
    });
    source.close();
    asked
}
