//! Signatures of work: teaching the model, and judging it by recordings that it has not seen.
//!
//! Decides: which recordings teach, which are judged, and what is held out of the teaching where a recording is judged. The committed model is
//! taught by the project's own recordings alone. Real and simulated recordings never meet in one figure.
//!
//! A simulator of work and what an operator does so as not to be seen have their place here, as teachers and as recordings with `real` 0.

mod control;
mod evaluate;
mod figures;
mod index;
mod play;
mod recording;
mod teach;
mod train;

pub use control::{Controls, controls};
pub use evaluate::{Corpus, Evaluation, Judges, Options, control_line, evaluate, heading, line, played, run};
pub use figures::{Figures, Judged};
pub use index::{Index, Row, Split, Truth, corpus, traces};
pub use play::{play, verdict};
pub use recording::{Device, Levels, Recording, RecordingError, parse, read};
pub use teach::{Options as TeachOptions, Teacher, file, own, run as teach, teachers};
pub use train::{Example, train};
