//! An enrolment token is used a second time, by someone who read it over a shoulder.

use super::Stage;
use weighbridge::crypto::{Algorithm, Entropy, SecretKey};
use weighbridge::protocol::{EnrolmentToken, RefusalCode};
use weighbridge_testbed::node::{self, SimulatedNode};

#[tokio::test]
async fn a_token_for_one_node_admits_one_node() {
    let stage = Stage::new();
    let line = stage.verifier.token("harbour-1", &[]);
    let _first = SimulatedNode::enrol(&line, 1, super::now()).await;
    let token = EnrolmentToken::parse(&line).unwrap();
    let key = SecretKey::generate(Algorithm::EcdsaP256, &Entropy::system()).unwrap();
    let refusal = node::enrol(&token, &node::enrol_request(&token, &key))
        .await
        .refused();
    assert_eq!(refusal.code, RefusalCode::Token);
}

#[tokio::test]
async fn a_node_that_crashed_while_enrolling_may_ask_again_with_the_same_key() {
    let stage = Stage::new();
    let token = EnrolmentToken::parse(&stage.verifier.token("harbour-1", &[])).unwrap();
    let key = SecretKey::generate(Algorithm::EcdsaP256, &Entropy::system()).unwrap();
    let request = node::enrol_request(&token, &key);
    let first = node::enrol(&token, &request).await.accepted();
    let second = node::enrol(&token, &request).await.accepted();
    assert_eq!(first.node, second.node);
}

#[tokio::test]
async fn a_guessed_secret_admits_nobody() {
    let stage = Stage::new();
    let mut token = EnrolmentToken::parse(&stage.verifier.token("harbour-1", &[])).unwrap();
    token.secret = [0; 16];
    let key = SecretKey::generate(Algorithm::EcdsaP256, &Entropy::system()).unwrap();
    let refusal = node::enrol(&token, &node::enrol_request(&token, &key))
        .await
        .refused();
    assert_eq!(refusal.code, RefusalCode::Token);
}
