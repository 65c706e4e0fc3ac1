//! What goes wrong on a node: each fault is a state with a name in the report, never an end of the agent.
//!
//! Every function of the driver is taken away in turn, in-process on a virtual clock; what concerns processes (a call that hangs, a
//! sampler that is killed, a driver that is let go of) is done to the real agent.

/// Every function of the driver refused in turn.
mod functions;
/// What each kind of device offers, and what its reports say of the rest.
mod profiles;
/// The real agent, its sampler and its driver.
mod service;
