//! `weighbridge-agent`: measures the compute that this node delivers and reports it.

use std::process::ExitCode;

fn main() -> ExitCode {
    weighbridge_agent::cli::run()
}
