//! The verifier's binary. All of it is in the library, so that tests can run it in their own process.

use mimalloc::MiMalloc;
use std::process::ExitCode;

/// A verifier holds thousands of connections and the sums of as many nodes for months, on few threads. The C library's allocator walks
/// such a heap when it looks for room: with 10,000 nodes that was a tenth of all CPU time.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    weighbridge_verifier::command::run(std::env::args_os())
}
