//! Signatures of work: teaching the model, and judging it by recordings that it has not seen.
//!
//! Decides: which recordings teach, which are judged, and what is held out of the teaching where a recording is judged. The committed model is
//! taught by the project's own recordings alone. Real and simulated recordings never meet in one figure.
//!
//! A simulator of work and what an operator does so as not to be seen have their place in `simulate`: recordings with `real` 0, which teach nothing.

mod control;
mod evaluate;
mod figures;
mod index;
mod instants;
mod play;
mod recording;
mod runs;
mod simulate;
mod strategy;
mod teach;
mod train;

pub use control::{Controls, controls};
pub use evaluate::{Corpus, Evaluation, Judges, Options, control_line, evaluate, heading, line, played, run};
pub use figures::{Figures, Judged};
pub use index::{Index, Row, Split, Truth, corpus, traces};
pub use play::play;
pub use recording::{Device, Levels, Recording, RecordingError, parse, read};
pub use runs::verdict;
pub use simulate::{
    Options as SimulateOptions, run as simulate, simulated, simulated_on, simulated_teachers,
};
pub use strategy::{Strategies, Strategy, heading as strategy_heading, time_line};
pub use teach::{Options as TeachOptions, Teacher, file, own, run as teach, teachers};
pub use train::{Example, train};
