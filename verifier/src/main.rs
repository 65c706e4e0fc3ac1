//! The verifier's binary. All of it is in the library, so that tests can run it in their own process.

use std::process::ExitCode;

fn main() -> ExitCode {
    weighbridge_verifier::command::run(std::env::args_os())
}
