//! Power meters outside the devices: the host's BMC, a PDU in the rack, asked over Redfish.
//!
//! Decides: what an answer of a meter is worth, and which stretch of time its readings cover. Trusts the certificate that
//! the operator configured to be the meter's, and the meter for its watts. Does not establish that the meter measures this
//! host, nor that it measures right: it is a second source, from another maker, that has to agree with the first. A meter
//! that does not answer is a state with a name, and costs no report. Its address, name and serial number stay on the node.

mod client;
mod config;
mod redfish;
mod tally;
mod watch;

pub use client::{MeterClient, MeterError};
pub use config::{MeterConfig, MeterTrust, read};
pub use redfish::{ShapeError, milliwatts};
pub use tally::Tally;
pub use watch::{Meters, Told, look};
