//! The end-to-end tests: what a user, an adversary or an auditor would see.
//!
//! One binary, so that the workspace is linked once.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::string_slice,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests: where one panics it fails, and names say what they show"
)]

/// What devices sign, collected by the agent.
mod agent_evidence;
/// What machines read of the agent, against its document.
mod agent_json;
/// Who held which device: the operator's word, from a scheduler's script to the verifier's sums.
mod attribution;
/// A catalogue of accelerators that is newer than the programs.
mod catalogue;
/// What the verifier keeps to appraise devices with.
mod collateral;
/// Forged telemetry, against physics.
mod consistency;
/// What fuzzing found, replayed without the fuzzer.
mod corpus;
/// What an adversary does, one file for each thing.
mod attacks;
/// What devices sign, appraised from files.
mod evidence;
/// TLS, certificates, approval, revocation, renewal, size.
mod gates;
/// Wrong input on the command line.
mod command_line;
/// Programs killed, power and network cut: no receipted report is lost.
mod crash;
/// What goes wrong on a node: devices, driver, sampler.
mod faults;
/// The house: which crate and which module may use which.
mod house;
/// What machines read of the verifier, against its document.
mod verifier_json;
/// Rule sets: loaded, superseded, pinned, and supposed.
mod rule_sets;
/// Keys that are lost, follow each other or lie in tokens, and who is accredited.
mod keys;
/// Licences and statements that are damaged, hostile or nobody's.
mod documents;
/// What the conditions of a site come to, in forms that others read.
mod export;
/// Statements from an empty draft to a checked signature, and through others' tools.
mod statements;
/// What an operator sees on the node, without a verifier.
mod operator;
/// The pipes of GPUs before Hopper, from a DCGM host engine that runs already.
mod host_engine;
/// Power meters and network links, which stand outside the devices.
mod outside;
/// What the workload model makes of recordings, against its card.
mod signatures;
/// Simulated work, and training that tries not to be seen, against the model card.
mod simulated_work;
/// The same bits on x86-64 and wasm32.
mod wasm;
/// What each architecture lets an operator measure.
mod sources;
/// Real recordings through the real path.
mod traces;
/// What `record` writes, and that it can be played again.
mod recorder;
/// A verifier that is reached only through a proxy.
mod proxied;
/// Recordings and synthetic loads through the whole agent, on a clock that is moved by hand.
mod virtual_time;
/// Recordings and synthetic loads of which samples were lost, against the truth.
mod lost_samples;
/// Clocks that are set in step with the agent's ticks.
mod clock_swings;
/// Real work whose operations were counted, against what is reported of it.
mod recorded_work;
/// A recording, read by other means than the replay library's.
mod recording;
/// A site from empty to everything that can be met, by the commands of its guide, and what changes then.
mod worked_site;
/// What goes over the wire: schema, golden bytes, strictness, what may leave a node.
mod wire;
