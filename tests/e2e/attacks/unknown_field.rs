//! A report carries a field that the schema does not know: an operator pushed to send more, or a smuggler.

use super::Stage;
use weighbridge::cbor::{self, Bytes, Wire};
use weighbridge::crypto::{Signer, cose, sha256};
use weighbridge::protocol::RefusalCode;
use weighbridge::report::{AcceleratorSubmodule, Bundle, Envelope, SubmoduleDigest, Submodules};

#[tokio::test]
async fn a_signed_report_with_one_field_more_is_refused_by_name() {
    let stage = Stage::new();
    let node = stage.node().await;
    let (mut token, accelerators) = node.next_claims();
    let mut claims = cbor::encode(&AcceleratorSubmodule {
        accelerator: accelerators.into_iter().next().unwrap(),
    });
    // The device's claims have four entries (0xa4): make it five, and append {4: "tenant-7"}.
    let at = claims.iter().position(|b| *b == 0xa4).unwrap();
    claims[at] = 0xa5;
    4u8.encode(&mut cbor::Encoder::new(&mut claims));
    "tenant-7".to_owned().encode(&mut cbor::Encoder::new(&mut claims));
    token.submods.accelerators = vec![SubmoduleDigest(sha256(&claims))];
    let payload = cbor::encode(&token);
    let signature = node
        .key
        .sign(&cose::to_be_signed(cose::Content::Report, &payload))
        .unwrap();
    let bundle = Bundle {
        token: Envelope { payload, signature },
        detached: vec![(Submodules::name(0), Bytes(claims))],
    };
    let mut node = node;
    let refusal = node.deliver(cbor::encode(&bundle)).await.refused();
    assert_eq!(refusal.code, RefusalCode::Field);
    assert!(
        refusal.found.contains("AcceleratorClaims") && refusal.found.contains('4'),
        "{}",
        refusal.found
    );
    // Nobody is held to what his key did not sign.
    let mut damaged = bundle;
    damaged.token.signature[0] ^= 1;
    let refusal = node.deliver(cbor::encode(&damaged)).await.refused();
    assert_eq!(refusal.code, RefusalCode::Form);
    let (outcome, sentence) = stage.verifier.finding("OPS-05");
    assert_eq!(outcome, "not met", "{sentence}");
}
