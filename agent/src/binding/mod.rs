//! Binding: rounds of hardware evidence, tied to the node's key and to its chain of reports.
//!
//! A round freezes the chain at its newest report, makes a nonce of that and of the verifier's newest challenge
//! ([`weighbridge::hardware::binding`]), and has every GPU sign it. The asking is done by the **collector**, a process of its own that is
//! started for one round: it opens the driver, asks device after device and says through a pipe what came of it. So a device that does not answer
//! costs that process and its own answer; the sampler goes on, and the other devices are asked by another collector.
//!
//! Decides: when a round is due ([`rounds`]), and what a device that gave no evidence is said to have done. Trusts nothing that comes out of the
//! collector beyond its shape and size. Does not look into the evidence, which is for the verifier to appraise.
//!
//! Only GPUs are asked. The reports of NVSwitches come through another library (NSCQ, `libnvidia-nscq`), which the agent does not
//! load: a round holds no evidence of switches.

pub mod collection;
pub mod collector;
pub mod message;
pub mod rounds;

pub use collection::{Collected, Collection, CollectorOptions};
pub use message::Attestee;
pub use rounds::{Frozen, Rounds};
