//! What goes over the wire.

mod fields;
mod golden;
mod schema;
mod strictness;

use weighbridge::crypto::{Algorithm, Entropy, SecretKey};
use weighbridge::id::{ChainId, Challenge, Digest, NodeId, VerifierId};
use weighbridge::time::UnixSeconds;
use weighbridge_testbed::fixture::{self, Place};

/// A place in the middle of a chain.
fn place() -> Place {
    Place {
        verifier: VerifierId([0xee; 32]),
        node: NodeId([1; 17]),
        chain: ChainId([0xc4; 16]),
        sequence: 42,
        previous: Some(Digest([0x9d; 32])),
        wall_end: UnixSeconds(1_795_320_600),
        challenge: Some(Challenge([0x44; 32])),
        seconds: 300,
    }
}

fn key() -> SecretKey {
    SecretKey::generate(Algorithm::EcdsaP256, &Entropy::system()).unwrap()
}

/// A signed bundle of `gpus` accelerators, and the key that signed it.
fn bundle(gpus: u16) -> (Vec<u8>, SecretKey) {
    let key = key();
    let place = place();
    let (bytes, _) = weighbridge::report::sign(
        fixture::token(&place, gpus),
        fixture::accelerators(gpus, 300),
        &key,
    )
    .unwrap();
    (bytes, key)
}
