//! The service: the loop that samples, seals and delivers, and what it is asked while it runs.
//!
//! [`Reporter`] is the engine, driven by frames and the time alone; [`run`] drives it with the kernel's clocks, a supervised
//! sampler and the network. Decides: nothing about what a report means; that is the library's.

mod attribution;
mod checkup;
mod condition;
mod control;
mod courier_task;
mod devices;
mod kept;
mod node;
mod reporter;
mod rounds;
mod salts;
mod signing;
mod survey;

pub use attribution::{Attributed, Attribution, AttributionsError};
pub use checkup::checkup;
pub use condition::{Condition, Delivering, condition};
pub use control::{Answer, Ask, Asked, Control, ControlError, Request, ask};
pub use kept::{KeptLeaves, ShowError, Shown};
pub(crate) use node::now;
pub use node::{RunError, run};
pub use reporter::{Identity, Now, Reporter, ReporterError};
pub use signing::signing;
pub use survey::{LookError, look, survey};
